"""Mouth, beard and glasses: what lies upon the lower face and before the eyes."""

import numpy as np

from magicapture.world.canvas import Canvas, Linear, Mask, Points, Radial, ellipse, mix, ribbon, smooth
from magicapture.world.figure import Figure
from magicapture.world.people import HAIR_COLOURS, SKINS


class MouthShape:
    """The mouth's curves over u in [-1, 1] (corner to corner), in head coordinates."""

    def __init__(self, f: Figure):
        p, e = f.person, f.expression
        self.width = min(p.mouth_width * e.wide, p.jaw * 0.66)
        u = np.linspace(-1, 1, 17)
        flat = 1 - u * u
        lift = e.lift * (0.75 + 0.9 * p.mouth_width)
        middle = p.mouth_y + 0.45 * max(e.jaw, 0) - lift * (u * u) + 0.35 * lift
        smile = e.lift > 0.05
        self.inner_top = middle - e.gap * (0.18 if smile else 0.42) * flat**0.7
        self.inner_bottom = middle + e.gap * (0.82 if smile else 0.58) * flat**0.7
        bow = (1 - np.abs(u) ** 2.0) ** 0.85 * (
            1 - 0.62 * p.cupid * np.exp(-((u / 0.17) ** 2)) + 0.16 * np.exp(-(((np.abs(u) - 0.27) / 0.16) ** 2))
        )
        self.top = self.inner_top - p.lip_upper * bow
        self.bottom = self.inner_bottom + p.lip_lower * flat**0.72
        self.u, self.x, self.middle = u, u * self.width, middle
        self.gap = e.gap

    def between(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([np.stack([self.x, a], 1), np.stack([self.x, b], 1)[::-1]])


def paint_beard(canvas: Canvas, f: Figure, skin: Mask, mouth: MouthShape) -> None:
    """Hair on the lower face: around the lips, which are painted after it. It counts as skin in the parsing map."""
    p, u, face = f.person, f.head.unit, f.head.face
    if p.beard == "none":
        return
    hair = np.asarray(p.hair_rgb)
    base = mix(hair, (0.1, 0.07, 0.06), 0.18)
    w, top = mouth.width, float(mouth.top.min())
    low = float(mouth.bottom.max())
    under_nose = p.nose_y + 0.075
    lip_y = max(top, under_nose + 0.05)
    half = w * 1.08 + 0.03
    corner = float(mouth.middle[0])
    moustache = np.array(
        [
            (0, under_nose),
            (p.nose_width * 0.8, under_nose + 0.01),
            (half * 0.75, lip_y - 0.03),
            (half, corner + 0.03),
            (half * 0.86, corner + 0.055),
            (w * 0.5, lip_y + 0.035),
            (0, lip_y + 0.03),
        ]
    )
    moustache = smooth(np.concatenate([moustache, (moustache * (-1, 1))[-2:0:-1]]), 4)
    jaw_x = p.cheek * 1.15
    full = np.array(
        [
            (jaw_x, 0.12),
            (p.cheek * 0.90, 0.20),
            (p.cheek * 0.80, 0.42),
            (half + 0.07, corner - 0.04),
            (half * 0.8, lip_y - 0.05),
            (p.nose_width * 0.7, under_nose),
            (0, under_nose + 0.01),
        ]
    )
    full = np.concatenate([smooth(full, 4, closed=False), [(0, 1.3), (jaw_x, 1.3)]])
    sides = [full, full * (-1, 1)]
    chin = np.array(
        [
            (0, low + 0.035),
            (w * 0.35, low + 0.03),
            (half * 0.72, low + 0.10),
            (half * 0.74, f.chin - 0.08),
            (half * 0.45, f.chin + 0.03),
            (0, f.chin + 0.06),
        ]
    )
    chin = smooth(np.concatenate([chin, (chin * (-1, 1))[-2:0:-1]]), 4)
    ring_r = np.array(
        [
            (half * 0.8, lip_y - 0.02),
            (half * 1.03, corner + 0.03),
            (half * 0.92, low + 0.12),
            (half * 0.66, f.chin),
            (half * 0.45, low + 0.1),
            (half * 0.86, corner + 0.07),
        ]
    )
    if p.beard == "stubble":
        canvas.draw([face(s) for s in sides], mix(base, f.deep, 0.4), 0.36, blur=0.035 * u, clip=skin)
        _hairs(canvas, f, skin, sides, 90, 0.02, mix(base, f.deep, 0.3), 0.5)
        return
    if p.beard == "full":
        shapes, count = sides, 70
    elif p.beard == "moustache":
        shapes, count = [moustache], 26
    else:
        shapes, count = [moustache, chin, smooth(ring_r, 3), smooth(ring_r * (-1, 1), 3)], 40
    placed = [face(s, 0.03) for s in shapes]
    canvas.draw([q + (0, 0.012) for q in placed], f.deep, 0.35, blur=0.02 * u, clip=skin)
    ends = f.head((0, under_nose)), f.head((0, f.chin))
    area = canvas.draw(placed, mix(base, (1, 1, 1), 0.06), 0.96, blur=0.008 * u, clip=skin, to=base * 0.66, along=Linear(*ends))
    if area is None:
        return
    _hairs(canvas, f, area, shapes, count, 0.065, base * 0.55, 0.5)
    _hairs(canvas, f, area, shapes, count // 2, 0.06, np.minimum(base * 1.4 + 0.08, 1), 0.4)


def _hairs(
    canvas: Canvas, f: Figure, clip: Mask, shapes: list[np.ndarray], count: int, length: float, colour: Points, opacity: float
) -> None:
    rng = np.random.default_rng([f.person.seed, 4, count])
    points = np.concatenate(shapes)
    low, high = points.min(0), np.minimum(points.max(0), (9, f.chin + 0.05))
    start: np.ndarray = rng.uniform(low, high, (count, 2))
    lean = start * np.array((0.10, 0.0)) * length / 0.06 + rng.normal(0, 0.006, (count, 2))
    end = start + lean + np.array((0, 1)) * rng.uniform(0.7, 1.3, (count, 1)) * length
    side = np.array([0.011, 0.0])
    strokes = [f.head.face(np.array([a - side, a + side, b])) for a, b in zip(start, end)]
    canvas.draw(strokes, colour, opacity, clip=clip)


def paint_mouth(canvas: Canvas, f: Figure, skin: Mask, mouth: MouthShape) -> None:
    p, u, face = f.person, f.head.unit, f.head.face
    lip = np.asarray(p.lip_rgb)
    low, high = float(mouth.bottom.max()), float(mouth.top.min())
    if p.beard in ("none", "stubble"):
        canvas.draw(
            face(ellipse(0, low + 0.045, mouth.width * 0.55, 0.035), 0.03), mix(f.shade, f.deep, 0.5), 0.55, blur=0.024 * u, clip=skin
        )
        for s in (-1, 1):
            canvas.draw(
                face(ellipse(s * (mouth.width + 0.012), mouth.middle[0], 0.028, 0.035), 0.02), f.deep, 0.45, blur=0.016 * u, clip=skin
            )
        philtrum = np.array([(0, p.nose_y + 0.08), (0, high)])
        canvas.draw(ribbon(face(philtrum, 0.06), 0.05 * u, (0.5, 0.8)), f.deep, 0.2, blur=0.012 * u, clip=skin)
    # the inside reaches a little under the lips, so that no skin shows between them
    if mouth.gap > 0:
        cavity = canvas.draw(
            face(mouth.between(mouth.inner_top - 0.006, mouth.inner_bottom + 0.006), 0.04),
            (0.36, 0.08, 0.10),
            label=11,
            to=(0.20, 0.03, 0.05),
            along=Linear(face((0, mouth.inner_top.min())), face((0, mouth.inner_bottom.max()))),
        )
        mid = float(mouth.inner_bottom[8])
        if cavity is not None:
            canvas.draw(
                face(ellipse(0, mid + 0.01, mouth.width * 0.55, mouth.gap * 0.36), 0.04),
                (0.83, 0.36, 0.38),
                0.9,
                blur=0.01 * u,
                clip=cavity,
            )
            depth = mouth.gap * (0.40 if f.expression.lift > 0.05 else 0.26)
            teeth = mouth.between(mouth.inner_top - 0.02, mouth.inner_top + depth * np.clip(1.15 - np.abs(mouth.u) ** 3, 0, 1))
            canvas.draw(
                face(teeth, 0.04),
                (0.99, 0.985, 0.965),
                clip=cavity,
                to=(0.85, 0.83, 0.82),
                along=Radial(face((0, mouth.inner_top[8])), mouth.width * u, 0.2),
            )
    a, b = face((0, high), 0.05), face((0, mouth.inner_top[8]), 0.05)
    canvas.draw(face(mouth.between(mouth.top, mouth.inner_top + 0.006), 0.05), lip, label=12, to=lip * 0.72, along=Linear(a, b))
    a, b = face((0, mouth.inner_bottom[8]), 0.05), face((0, low), 0.05)
    lower = canvas.draw(
        face(mouth.between(mouth.inner_bottom - 0.004, mouth.bottom), 0.05),
        mix(lip, (1, 0.72, 0.70), 0.14),
        label=13,
        to=lip * 0.80,
        along=Linear(a, b),
    )
    shine = np.array(
        [(-0.35 * mouth.width, mouth.inner_bottom[5]), (0, mouth.inner_bottom[8]), (0.35 * mouth.width, mouth.inner_bottom[11])]
    ) + (0, 0.42 * p.lip_lower)
    if lower is not None:
        canvas.draw(
            ribbon(face(shine, 0.07), p.lip_lower * 0.30 * u, (0, 0)),
            mix(lip, (1, 1, 1), 0.62),
            0.55 + 0.2 * p.feminine,
            blur=0.008 * u,
            clip=lower,
        )
    if mouth.gap == 0:
        line = np.stack([mouth.x * 1.02, mouth.middle], 1)[::2]
        canvas.draw(ribbon(face(line, 0.05), 0.022 * u, (0.4, 0.4), 2), mix(lip * 0.3, (0.15, 0.03, 0.04), 0.5), 0.92)


def paint_glasses(canvas: Canvas, f: Figure) -> None:
    p, u, dark = f.person, f.head.unit, f.look.sunglasses
    if p.glasses == "none" and not dark:
        return
    # the frame follows from hair and skin, so that strangers who match in words match in glasses too
    kind = list(HAIR_COLOURS).index(p.hair_colour) + list(SKINS).index(p.skin)
    frame = np.array([(0.09, 0.08, 0.10), (0.35, 0.18, 0.10), (0.55, 0.12, 0.14), (0.13, 0.20, 0.38), (0.70, 0.55, 0.25)][kind % 5])
    if dark:
        frame = np.array([0.05, 0.045, 0.055])
    # dark lenses are large enough to hide the eyes, whoever wears them
    r = min(p.eye_x * 0.90, max(0.25, p.eye_width * 1.22)) if dark else min(p.eye_x * 0.80, 0.265)
    y = p.eye_y + 0.015
    thick = 0.042
    if p.glasses == "round" and not dark:
        outer, inner = ellipse(0, 0, r + thick / 2, count=32), ellipse(0, 0, r - thick / 2, count=32)
    else:
        corner = np.array(
            [
                (-1.0, -0.55),
                (-0.86, -0.76),
                (0, -0.80),
                (0.88, -0.78),
                (1.04, -0.6),
                (0.98, 0.2),
                (0.82, 0.62),
                (0.4, 0.76),
                (-0.4, 0.76),
                (-0.82, 0.62),
                (-0.96, 0.2),
            ]
        )
        outer, inner = smooth(corner * (r + thick / 2), 4), smooth(corner * (r - thick / 2), 4)
    bridge = np.array([(-(p.eye_x - r), y - 0.03), (0, y - 0.07), (p.eye_x - r, y - 0.03)])
    strokes = [ribbon(f.head.face(bridge, 0.14), thick * 0.95 * u, (1, 1))]
    for side in (-1, 1):
        lens = f.head.face(inner * (side, 1) + (side * p.eye_x, y), 0.10)
        rim = f.head.face(outer * (side, 1) + (side * p.eye_x, y), 0.10)
        strokes.append(np.concatenate([rim, rim[:1], lens[::-1], lens[-1:]]))
        temple = np.stack([f.head.face((side * (p.eye_x + r), y - 0.05), 0.08), f.head((side * (p.cheek + 0.03), y - 0.06), -0.1)])
        strokes.append(ribbon(temple, thick * u, (1, 1)))
        glass = canvas.mask(lens)
        if dark:
            ends = Linear(f.head((0, y - 0.7 * r)), f.head((0, y + 0.8 * r)))
            canvas.paint(glass, (0.045, 0.045, 0.065), 0.97, label=6, to=(0.30, 0.22, 0.20), along=ends)
        else:
            canvas.paint(glass, (0.82, 0.92, 1.0), 0.10)
        c = f.head.face((side * p.eye_x, y), 0.10)
        for k, wide in ((-0.45, 0.16), (-0.1, 0.06)):
            streak = np.array([(k, 1), (k + wide, 1), (k + wide + 0.8, -1), (k + 0.8, -1)]) * r * u + c - (0.2 * r * u, 0)
            canvas.draw(streak, (1, 1, 1), 0.26 if dark else 0.13, clip=glass)
    canvas.draw([s + (0, 0.006) for s in strokes], f.deep, 0.35, blur=0.012 * u)
    a, b = f.head((0, y - r)), f.head((0, y + r))
    canvas.draw(strokes, np.minimum(frame * 1.3 + 0.12, 1), label=6, to=frame * 0.8, along=Linear(a, b))
