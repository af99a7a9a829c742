"""The head without its hair: skull, ears, eyes, brows, nose, mouth, beard and marks, painted from back to front."""

from collections.abc import Callable

import numpy as np

from magicapture.world.canvas import Canvas, Linear, Mask, Points, Radial, disc, ellipse, luminance, mix, ribbon, smooth
from magicapture.world.figure import Figure
from magicapture.world.hair_lines import LONG

_INK = np.array([0.13, 0.075, 0.07])


def paint_ears(canvas: Canvas, f: Figure) -> None:
    p = f.person
    for side, label in ((-1, 7), (1, 8)):
        s = p.ear_size
        # under long hair the ears lie flat, or they would stick out of it
        tucked = p.hair_style in (*LONG, "dreadlocks")
        x = side * (p.cheek + (-0.25 if tucked else 0.26) * s)
        shape = np.array([(-0.5, -0.9), (0.1, -1.1), (0.62, -0.75), (0.6, -0.1), (0.3, 0.55), (0.0, 0.95), (-0.35, 0.9), (-0.5, 0.2)])
        points = shape * (side * s, s * 0.95) + (x, p.ear_y)
        outline = f.head(smooth(points, 4), -0.22)
        inner = f.head(smooth(shape * (side * s * 0.52, s * 0.58) + (x, p.ear_y - 0.02), 4), -0.22)
        a, b = f.head((x - side * s * 0.6, p.ear_y), -0.22), f.head((x + side * s * 0.7, p.ear_y), -0.22)
        canvas.draw(outline, f.shade, label=label, to=mix(f.skin, (0.9, 0.4, 0.35), 0.08), along=Linear(a, b))
        canvas.draw(inner, f.deep, 0.42, blur=0.003)
        if p.earrings == "stud":
            c = f.head((x - side * 0.02, p.ear_y + s * 0.85), -0.22)
            canvas.draw(disc(c, 0.05 * f.head.unit), (0.93, 0.86, 0.62), label=9, to=(0.62, 0.5, 0.25), along=Radial(c, 0.06 * f.head.unit))
        elif p.earrings == "hoop":
            c = f.head((x, p.ear_y + s * 0.9 + 0.13), -0.22)
            u = f.head.unit
            ring = np.concatenate(
                [
                    disc(c, 0.105 * u, 0.145 * u),
                    disc(c, 0.105 * u, 0.145 * u)[:1],
                    disc(c, 0.06 * u, 0.095 * u)[::-1],
                    disc(c, 0.06 * u, 0.095 * u)[-1:],
                ]
            )
            canvas.draw(ring, (0.97, 0.85, 0.45), label=9, to=(0.66, 0.46, 0.16), along=Linear(c - (0, 0.14 * u), c + (0, 0.14 * u)))
        elif p.earrings == "drop":
            top = np.array((x - side * 0.02, p.ear_y + s * 0.85))
            drop = np.array(
                [(0, 0.02), (0.05, 0.14), (0.085, 0.24), (0.05, 0.32), (0, 0.335), (-0.05, 0.32), (-0.085, 0.24), (-0.05, 0.14)]
            )
            gem = np.asarray(p.eye_rgb) * 0.6 + (0.25, 0.30, 0.35)
            ends = Linear(f.head(top, -0.22), f.head(top + (0, 0.34), -0.22))
            canvas.draw(f.head(smooth(drop + top, 3), -0.22), np.minimum(gem * 1.4 + 0.1, 1), label=9, to=gem * 0.55, along=ends)
            canvas.draw(disc(f.head(top + (-0.02, 0.22), -0.22), 0.02 * f.head.unit), (1, 1, 1), 0.85)
            canvas.draw(disc(f.head(top, -0.22), 0.035 * f.head.unit), (0.93, 0.82, 0.5), label=9)


def paint_head(canvas: Canvas, f: Figure) -> Mask:
    """The skin of the head with its large shading; returns its mask, to which everything on the face is clipped."""
    p, u = f.person, f.head.unit
    top, bottom = f.head((0, -0.9)), f.head((0, f.chin))
    skin = canvas.draw(f.outline, mix(f.skin, f.glow, 0.45), label=1, to=mix(f.skin, f.shade, 0.35), along=Linear(top, bottom))
    if skin is None:
        raise ValueError(
            f"the head lies outside the picture: dx {f.nuisance.dx}, dy {f.nuisance.dy}; keep both within half a picture width"
        )
    side = -1 if f.light > 0 else 1
    amount = 0.25 + 0.55 * abs(f.light)
    edge, inner = f.head((side * p.cheek * 1.02, 0.3)), f.head((side * p.cheek * (0.45 - 0.35 * abs(f.light)), 0.2))
    canvas.paint(skin, f.shade, amount, fade=Linear(edge, inner))
    edge, inner = f.head((-side * p.cheek * 1.02, 0.2)), f.head((-side * p.cheek * 0.72, 0.1))
    canvas.paint(skin, f.shade, 0.35, fade=Linear(edge, inner))
    canvas.paint(skin, mix(f.shade, f.deep, 0.3), 0.42, fade=Linear(f.head((0, f.chin + 0.02)), f.head((0, f.chin - 0.22))))
    # forehead, cheeks and the hollows under the cheekbones
    lit = -side * 0.18 * (0.4 + abs(f.light))
    canvas.draw(f.head.face(ellipse(lit, -0.42, 0.36, 0.22)), f.glow, 0.5, blur=0.055 * u / 0.3, clip=skin)
    red = mix(f.skin, (0.93, 0.30, 0.28), 0.5)
    for s in (-1, 1):
        y = 0.36 - 0.03 * f.expression.cheeks
        canvas.draw(f.head.face(ellipse(s * p.cheek * 0.62, y, 0.17, 0.115)), red, 0.14 + 0.42 * p.blush, blur=0.1 * u, clip=skin)
        hollow = ellipse(s * p.cheek * 0.80, 0.52, 0.08, 0.2, s * 0.35)
        canvas.draw(f.head.face(hollow), mix(f.shade, f.deep, 0.2), 0.10 + 0.42 * p.cheekbone, blur=0.075 * u, clip=skin)
        canvas.draw(
            f.head.face(ellipse(s * p.cheek * 0.56, 0.265, 0.12, 0.04, -s * 0.2)),
            f.glow,
            0.25 + 0.3 * p.cheekbone,
            blur=0.05 * u,
            clip=skin,
        )
    if p.birthmark is not None:
        x, y, size = p.birthmark
        t = np.linspace(0, 2 * np.pi, 9, endpoint=False)
        radius = size * (1 + np.random.default_rng([p.seed, 6]).uniform(-0.32, 0.32, 9))
        patch = smooth(np.stack([x + radius * np.cos(t), y + 0.8 * radius * np.sin(t)], 1), 4)
        canvas.draw(f.head.face(patch), mix(f.skin * (0.80, 0.48, 0.46), (0.55, 0.10, 0.16), 0.3), 0.66, blur=0.006 * u, clip=skin)
    return skin


def eye_line(f: Figure, side: int, offset_y: float = 0.0) -> Callable[..., np.ndarray]:
    """Maps eye coordinates (u: -1 inner corner .. 1 outer corner, v down, both in head units x width) onto the face."""
    p = f.person
    c, s = np.cos(p.eye_tilt), np.sin(p.eye_tilt)

    def place(points: Points, out: float = 0.0) -> np.ndarray:
        q = np.asarray(points, float)
        x, y = c * q[..., 0] + s * q[..., 1], -s * q[..., 0] + c * q[..., 1]
        return f.head.face(np.stack([side * (p.eye_x + x), p.eye_y + offset_y + y], -1), out)

    return place


def paint_eye(canvas: Canvas, f: Figure, side: int, skin: Mask) -> None:
    """One eye with lid, lashes and catch-light; `side` -1 is the picture's left."""
    p, u = f.person, f.head.unit
    place = eye_line(f, side)
    w, h = p.eye_width, p.eye_height * f.expression.eyes
    t = np.linspace(-1, 1, 13)
    bend = t - 0.25 * p.eye_peak * (1 - t * t)
    upper = np.stack([t * w, -h * 0.98 * np.clip(1 - np.abs(bend) ** 2.2, 0, 1)], 1)
    squint = 1 - 0.45 * f.expression.cheeks
    lower = np.stack([t * w, h * 0.62 * squint * np.clip(1 - np.abs(t) ** 2.4, 0, 1)], 1)
    shape = place(np.concatenate([upper, lower[::-1]]))
    # the socket: a soft shadow towards nose and brow lets the eye sit in the head
    canvas.draw(place(ellipse(-0.25 * w, -0.55 * h, w * 1.15, h * 1.15)), mix(f.shade, f.deep, 0.35), 0.5, blur=0.05 * u, clip=skin)
    if p.feminine > 0.6:
        shadow = np.concatenate([upper * (1.05, 1.0), (upper * (1.12, 1.45) - (0, 0.25 * h))[::-1]])
        canvas.draw(place(shadow), mix(f.deep, p.lip_rgb, 0.3), 0.4 * (p.feminine - 0.4), blur=0.012 * u, clip=skin)
    white = mix((0.985, 0.98, 0.97), f.skin, 0.05)
    ball = canvas.draw(
        shape,
        mix(white, (0.62, 0.62, 0.70), 0.45),
        label=4 if side < 0 else 5,
        to=white,
        along=Linear(place((0, -h)), place((0, -0.25 * h))),
    )
    if ball is not None:
        gx, gy = f.nuisance.gaze
        r = p.eye_height * 0.80 * p.iris
        r = min(max(r, w * 0.5), w * 0.66)
        local = (side * gx * w * 0.38, -0.14 * h + gy * h * 0.4)
        c = place(local)
        colour = np.asarray(p.eye_rgb)
        ring = disc(c, r * u * np.cos(f.head.turn), r * u)
        canvas.draw(ring, colour * 0.42, clip=ball)
        canvas.draw(
            disc(c, r * 0.86 * u * np.cos(f.head.turn), r * 0.86 * u),
            colour * 0.72,
            clip=ball,
            to=np.minimum(colour * 1.5 + 0.10, 1),
            along=Linear(c - (0, r * u * 0.7), c + (0, r * u)),
        )
        canvas.draw(disc(c, r * 0.44 * u), (0.03, 0.025, 0.03), clip=ball)
        canvas.draw(
            ellipse(c[0], c[1] + 0.5 * r * u, r * 0.42 * u, r * 0.22 * u),
            np.minimum(colour * 1.6 + 0.2, 1),
            0.45,
            blur=0.015 * u,
            clip=ball,
        )
        lid_shadow = np.concatenate([upper, (upper * (1, 0.55) + (0, 0.02))[::-1]])
        canvas.draw(place(lid_shadow), (0.10, 0.06, 0.09), 0.38, blur=0.012 * u, clip=ball)
        glint = c + np.array([0.36 * r * u * (1 if f.light > 0 else -1), -0.34 * r * u])
        canvas.draw(disc(glint, r * 0.25 * u), (1, 1, 1), 0.95, clip=ball)
        canvas.draw(disc((2 * c - glint), r * 0.12 * u), (1, 1, 1), 0.5, clip=ball)
        canvas.draw(place(ellipse(-w * 0.93, 0.01, 0.02, 0.02)), (0.85, 0.5, 0.48), 0.8, clip=ball)
    lash = mix(_INK, p.brow_rgb, 0.15)
    thick = 0.024 + 0.022 * p.feminine
    wing = np.concatenate([upper, [upper[-1] + (0.035 + 0.05 * p.feminine, -0.02 - 0.06 * p.feminine)]])
    canvas.draw(ribbon(place(wing + (0, -0.006)), thick * u, (0.25, 0.3), 2), lash, 0.95)
    if p.feminine > 0.55:
        for k in (12, 11, 10, 8):
            root = upper[k]
            tip = root + np.array([0.045 + 0.03 * (k - 8) / 4, -0.06 - 0.012 * (12 - k)]) * (0.6 + 0.6 * p.feminine)
            canvas.draw(ribbon(place(np.array([root, (root + tip) / 2 + (0.012, 0.008), tip])), 0.02 * u, (1, 0), 2), lash, 0.9)
    canvas.draw(ribbon(place(lower[5:] + (0, 0.008)), 0.014 * u, (0.1, 0.9), 2), mix(f.deep, _INK, 0.3), 0.65)
    crease = upper[1:] * (1.0, 1.22) + (0, -0.035 - 0.01 * p.lid)
    canvas.draw(ribbon(place(crease), (0.012 + 0.014 * p.lid) * u, (0.2, 0.5), 2), f.deep, 0.25 + 0.5 * p.lid, clip=skin)
    bag = lower[2:-2] * (1, 1.15) + (0, 0.055)
    canvas.draw(
        ribbon(place(bag), 0.02 * u, (0, 0), 2), f.deep, 0.16 + 0.45 * p.wrinkles + 0.2 * f.expression.cheeks, blur=0.008 * u, clip=skin
    )


def paint_brow(canvas: Canvas, f: Figure, side: int) -> None:
    p, e, u = f.person, f.expression, f.head.unit
    y = p.eye_y - p.brow_y - e.brow_raise
    tilt = p.brow_tilt + e.brow_tilt
    t = np.linspace(-1, 1, 7)
    x = p.eye_x + t * p.brow_length + 0.01
    rise = -t * p.brow_length * tilt - p.brow_arch * (1 - (t - 0.3) ** 2)
    # angry brows come down at the inner end, which a tilt alone about the middle would not show
    line = np.stack([side * x, y + rise + 0.35 * p.brow_arch], 1)
    place = f.head.face(line, 0.03)
    stroke = ribbon(place, p.brow_thickness * u * 1.12, (0.85, 0.1), 3)
    colour = np.asarray(p.brow_rgb)
    canvas.draw(stroke, colour, 0.95, label=2 if side < 0 else 3, to=colour * 0.78, along=Linear(place[0], place[-1]))
    canvas.draw(
        ribbon(place[1:] - (0, 0.25 * p.brow_thickness * u), p.brow_thickness * 0.3 * u, (0, 0), 2),
        np.minimum(colour * 1.35 + 0.04, 1),
        0.45,
    )


def paint_nose(canvas: Canvas, f: Figure, skin: Mask) -> None:
    p, u, face = f.person, f.head.unit, f.head.face
    w, y, b = p.nose_width, p.nose_y, p.bridge
    top = p.eye_y - 0.06
    region = [
        (-b, top),
        (-b * 1.15, y * 0.6 + top * 0.4),
        (-w * 0.98, y - 0.07),
        (-w * 1.02, y),
        (-w * 0.6, y + 0.045),
        (0, y + 0.065),
        (w * 0.6, y + 0.045),
        (w * 1.02, y),
        (w * 0.98, y - 0.07),
        (b * 1.15, y * 0.6 + top * 0.4),
        (b, top),
    ]
    out = np.array([0.03, 0.08, 0.08, 0.06, 0.1, 0.16, 0.1, 0.06, 0.08, 0.08, 0.03])
    shape = smooth(np.stack([face(q, o) for q, o in zip(region, out)]), 4)
    canvas.paint(canvas.mask(shape, clip=skin), f.skin, 0.0, label=10)
    dark = -1 if f.light > 0 else 1
    flank = np.array(
        [
            (dark * b * 0.9, top),
            (dark * b * 1.5, top + 0.02),
            (dark * (b + w) * 0.62, y * 0.55 + top * 0.45),
            (dark * w * 1.05, y - 0.06),
            (dark * w * 0.5, y - 0.02),
            (dark * b * 0.8, y * 0.5 + top * 0.5),
        ]
    )
    canvas.draw(face(smooth(flank, 3), 0.08), mix(f.shade, f.deep, 0.25), 0.28 + 0.26 * abs(f.light), blur=0.03 * u, clip=skin)
    canvas.draw(face(ellipse(0, y + 0.045, w * 0.95, 0.05), 0.1), mix(f.shade, f.deep, 0.4), 0.48, blur=0.022 * u, clip=skin)
    tip = 0.055 + 0.05 * p.nose_tip
    canvas.draw(
        face(ellipse(0, y - 0.045, max(w * 0.5, tip * 0.8), tip * 0.85), 0.14),
        mix(f.skin, (0.92, 0.42, 0.34), 0.16),
        0.75,
        blur=0.022 * u,
        clip=skin,
    )
    for s in (-1, 1):
        wing = np.array([(s * w * 0.80, y - 0.085), (s * w * 1.06, y - 0.035), (s * w * 0.96, y + 0.022), (s * w * 0.62, y + 0.03)])
        canvas.draw(ribbon(face(wing, 0.07), 0.026 * u, (0.1, 0.2), 3), f.deep, 0.55 + (0.2 if s == dark else 0), blur=0.005 * u, clip=skin)
        canvas.draw(face(ellipse(s * w * 0.46, y + 0.03, w * 0.22, 0.018, s * 0.3), 0.11), f.deep * 0.72, 0.75, clip=skin)
    ridge = np.array([(-dark * b * 0.3, top + 0.1), (-dark * b * 0.4, y * 0.6 + top * 0.4), (-dark * b * 0.3, y - 0.1)])
    canvas.draw(ribbon(face(ridge, 0.1), (0.5 * b + 0.02) * u, (0.3, 0.8), 3), f.glow, 0.55, blur=0.014 * u, clip=skin)
    canvas.draw(
        face(ellipse(-dark * w * 0.22, y - 0.065, 0.036 + 0.018 * p.nose_tip, 0.026), 0.16),
        mix(f.glow, (1, 1, 1), 0.45),
        0.75,
        blur=0.009 * u,
        clip=skin,
    )


def paint_marks(canvas: Canvas, f: Figure, skin: Mask) -> None:
    """Freckles, moles and lines: what a person keeps through every look."""
    p, u = f.person, f.head.unit
    rng = np.random.default_rng([p.seed, 3])
    if p.freckles:
        count = int(12 + 34 * p.freckles)
        x = rng.uniform(-1, 1, count) * p.cheek * 0.72
        y = 0.27 + rng.normal(0, 0.085, count) + 0.04 * np.abs(x)
        radius = rng.uniform(0.011, 0.024, count)
        dots = [f.head.face(ellipse(a, b, r, count=8)) for a, b, r in zip(x, y, radius)]
        canvas.draw(dots, mix(f.skin, (0.45, 0.18, 0.08), 0.62), 0.72, clip=skin)
    for mole_x, mole_y, size in p.moles:
        canvas.draw(f.head.face(ellipse(mole_x, mole_y, size, count=14)), mix(f.deep, (0.12, 0.05, 0.04), 0.65), 0.95, clip=skin)
        canvas.draw(f.head.face(ellipse(mole_x - 0.3 * size, mole_y - 0.35 * size, 0.35 * size, count=8)), f.glow, 0.35, clip=skin)
    if p.wrinkles > 0.15:
        _wrinkles(canvas, f, skin)
    if p.scar is not None:
        at, angle = np.array(p.scar[:2]), p.scar[2]
        side = 1 if at[0] > 0 else -1
        way = np.array((np.cos(angle) * side, np.sin(angle)))
        across = np.array((-way[1], way[0]))
        line = np.array([at - 0.16 * way, at + 0.018 * across, at + 0.16 * way])
        canvas.draw(ribbon(f.head.face(line, 0.02) + (0, 0.012 * u), 0.06 * u, (0.1, 0.1)), f.deep, 0.6, blur=0.006 * u, clip=skin)
        pale = mix(f.glow, (1.0, 0.80, 0.76), 0.55)
        canvas.draw(ribbon(f.head.face(line, 0.02), 0.042 * u, (0.2, 0.2)), pale, 0.95, clip=skin)
        ticks = [np.array([at + k * way - 0.045 * across, at + k * way + 0.045 * across]) for k in (-0.085, 0.0, 0.085)]
        canvas.draw([ribbon(f.head.face(t, 0.02), 0.018 * u, (0.6, 0.6), 2) for t in ticks], f.deep, 0.5, clip=skin)
    if p.dimples:
        for s in (-1, 1):
            corner = s * (p.mouth_width * f.expression.wide + 0.13)
            pit = np.array([(corner, p.mouth_y - 0.12), (corner + s * 0.035, p.mouth_y - 0.05), (corner + s * 0.01, p.mouth_y + 0.03)])
            canvas.draw(ribbon(f.head.face(pit, 0.02), 0.034 * u, (0, 0)), f.deep, 0.75 * p.dimples, blur=0.004 * u, clip=skin)
            canvas.draw(
                ribbon(f.head.face(pit + (s * 0.03, 0), 0.02), 0.03 * u, (0, 0)), f.glow, 0.5 * p.dimples, blur=0.006 * u, clip=skin
            )
    depth = 0.04 + 0.5 * p.wrinkles + 0.22 * f.expression.cheeks
    for s in (-1, 1):
        fold = np.array(
            [
                (s * (p.nose_width + 0.03), p.nose_y - 0.03),
                (s * (p.nose_width + 0.11), p.nose_y + 0.09),
                (s * (p.mouth_width * f.expression.wide + 0.07), p.mouth_y - 0.03),
            ]
        )
        canvas.draw(ribbon(f.head.face(fold, 0.03), 0.024 * u, (0.2, 0)), f.deep, min(depth, 0.6), blur=0.008 * u, clip=skin)


def _wrinkles(canvas: Canvas, f: Figure, skin: Mask) -> None:
    """Forehead, crow's feet, bags and marionette lines; each fold is a dark line with light beside it, so that it shows when small."""
    p, u, face = f.person, f.head.unit, f.head.face
    lines = []
    middle = p.eye_y - p.brow_y
    for k in range(3):
        y = middle - 0.13 - 0.085 * k
        lines.append(np.array([(-0.34 + 0.04 * k, y + 0.02), (-0.12, y - 0.012), (0.14, y - 0.004), (0.34 - 0.05 * k, y + 0.022)]))
    for s in (-1, 1):
        x, y = s * (p.eye_x + p.eye_width), p.eye_y
        lines += [
            np.array([(x + s * 0.035, y + 0.02 + 0.35 * d), (x + s * 0.085, y + 0.03 + 0.6 * d), (x + s * 0.14, y + 0.03 + d)])
            for d in (-0.1, 0.0, 0.1)
        ]
        bag = p.eye_y + 0.62 * p.eye_height + 0.065
        lines.append(
            np.array(
                [
                    (s * (p.eye_x - 0.7 * p.eye_width), bag - 0.03),
                    (s * p.eye_x, bag + 0.015),
                    (s * (p.eye_x + 0.75 * p.eye_width), bag - 0.03),
                ]
            )
        )
        corner = s * (p.mouth_width * f.expression.wide + 0.02)
        lines.append(np.array([(corner, p.mouth_y + 0.05), (corner + s * 0.025, p.mouth_y + 0.13), (corner + s * 0.01, p.mouth_y + 0.2)]))
    folds = [ribbon(face(line), 0.03 * u, (0.1, 0.1), 3) for line in lines]
    # on dark skin the light beside a fold shows more than the fold
    lit = 0.45 + 0.5 * (1 - luminance(f.skin))
    canvas.draw([fold + (0, 0.02 * u) for fold in folds], np.minimum(f.glow * 1.12, 1), lit * p.wrinkles, blur=0.004 * u, clip=skin)
    canvas.draw(folds, mix(f.shade, f.deep, 0.9), 0.8 * p.wrinkles, blur=0.003 * u, clip=skin)
