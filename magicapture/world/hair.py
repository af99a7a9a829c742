"""The hair styles: what falls behind the head (`paint_back`) and what frames the face (`paint_front`)."""

import numpy as np

from magicapture.world.canvas import Canvas, Linear, Mask, Radial, disc, ellipse, mix, ribbon, smooth
from magicapture.world.figure import Figure, mirror
from magicapture.world.hair_lines import LONG, front_shapes, hair_length, hairline, shaved_line


class _Tones:
    def __init__(self, f: Figure):
        self.base = np.asarray(f.person.hair_rgb)
        self.dark = self.base * (0.56, 0.52, 0.54)
        self.deep = self.base * (0.36, 0.33, 0.36)
        # dark hair shines cool, fair hair warm
        self.light = np.minimum(self.base * 1.32 + (0.10, 0.09, 0.085), 1)
        self.shine = np.minimum(self.base * 1.45 + (0.20, 0.19, 0.19), 1)


def paint_back(canvas: Canvas, f: Figure) -> Mask | None:
    p, tones, style = f.person, _Tones(f), f.person.hair_style
    head = f.head
    top, bottom = head((0, -0.6)), head((0, 1.4))
    if style in LONG:
        end, w = hair_length(f), p.cheek + p.hair_volume * 0.9
        flare = 0.10 if style == "bob" else 0.05 + 0.1 * p.hair_volume
        right = [(w, -0.4), (w + 0.02, 0.1), (w + flare, 0.5 * end), (w + flare * 1.1, end - 0.08), (w * 0.7, end + 0.02)]
        if style == "wavy":
            t = np.linspace(0, 1, 12)
            wave = 0.055 * np.sin(t * 15 + 6 * p.part)
            right = [(w * (0.98 + 0.16 * a) + b, -0.4 + a * (end + 0.4)) for a, b in zip(t, wave)] + [(w * 0.65, end + 0.06)]
        fall = np.array(right)
        shape = np.concatenate([[(0, -1 - p.hair_volume)], [(w * 0.75, -0.9)], fall, [(0, end)], mirror(fall[::-1]), [(-w * 0.75, -0.9)]])
        return canvas.draw(head(smooth(shape, 4), -0.18), tones.dark, label=17, to=tones.deep, along=Linear(top, bottom))
    if style == "ponytail":
        side = 1 if p.part > 0 else -1
        tail = np.array(
            [
                (0.25, -0.85),
                (0.75, -0.78),
                (1.02, -0.3),
                (1.0, 0.4),
                (0.88, 1.0 + 0.3 * p.hair_length),
                (0.74, 0.9),
                (0.72, 0.2),
                (0.5, -0.4),
            ]
        ) * (side, 1)
        area = canvas.draw(head(smooth(tail, 5), -0.45), tones.base, label=17, to=tones.dark, along=Linear(head((0, -0.6)), head((0, 1.0))))
        if area is not None:
            for k in range(6):
                line = np.array([(0.5 + 0.05 * k, -0.78), (0.80 + 0.03 * k, -0.25), (0.74 + 0.045 * k, 0.4), (0.74 + 0.02 * k, 0.95)]) * (
                    side,
                    1,
                )
                canvas.draw(ribbon(head(line, -0.45), 0.03 * head.unit, (0, 0)), tones.light if k % 2 else tones.deep, 0.45, clip=area)
        return area
    if style == "bun":
        r = 0.26 + 0.09 * p.hair_length
        c = head((0.1 * p.part, -1.08 - p.hair_volume * 0.4 - 0.42 * r), -0.15)
        u = head.unit
        area = canvas.draw(
            disc(c, r * u, r * 0.88 * u), tones.light, label=17, to=tones.dark, along=Radial(c - (0.1 * u, 0.12 * u), r * 1.5 * u)
        )
        for k in range(4):
            ring = disc(c, r * (0.85 - 0.2 * k) * u, r * (0.7 - 0.17 * k) * u, 0.5, 16)
            canvas.draw(ribbon(ring[2:12], 0.03 * u, (0, 0), 2), tones.deep, 0.45, clip=area)
        return area
    if style in ("curly", "afro"):
        return _cloud(canvas, f, tones, front=False)
    if style == "pigtails":
        return _pigtails(canvas, f, tones)
    if style == "dreadlocks":
        return _ropes(canvas, f, tones, front=False)
    return None


def _pigtails(canvas: Canvas, f: Figure, tones: _Tones) -> Mask | None:
    """Two bunches that spring out from high on the head, each held by a tie."""
    p, head, u = f.person, f.head, f.head.unit
    x, low = p.cheek + 0.02, 0.35 + 0.75 * p.hair_length
    fat = 0.8 + 2.2 * p.hair_volume
    right = np.array(
        [
            (x - 0.10, -0.62),
            (x + 0.14, -0.80),
            (x + 0.34 * fat, -0.62),
            (x + 0.44 * fat, -0.1),
            (x + 0.34 * fat, low - 0.1),
            (x + 0.26, low + 0.12),
        ]
    )
    shape = np.concatenate([right, [(x + 0.16, low - 0.1), (x + 0.08, -0.05), (x + 0.04, -0.36)]])
    bunches = [head(smooth(shape * (s, 1), 5), -0.1) for s in (-1, 1)]
    area = canvas.draw(bunches, tones.light, label=17, to=tones.dark, along=Linear(head((0, -0.85)), head((0, low))))
    strands = []
    for s in (-1, 1):
        for k in range(5):
            a = k / 4
            line = [
                (x + 0.03, -0.6),
                (x + 0.14 + 0.26 * a * fat, -0.6 + 0.1 * (1 - a)),
                (x + 0.10 + 0.31 * a * fat, -0.05),
                (x + 0.2 + 0.08 * a, low),
            ]
            strands.append(ribbon(head(np.array(line) * (s, 1), -0.1), (0.03 + 0.012 * (k % 2)) * u, (0.2, 0)))
    canvas.draw(strands[::2], tones.deep, 0.5, clip=area)
    canvas.draw(strands[1::2], tones.shine, 0.4, clip=area)
    for s in (-1, 1):
        tie = np.array([(x - 0.07, -0.50), (x + 0.0, -0.60), (x + 0.07, -0.74)]) * (s, 1)
        canvas.draw(
            ribbon(head(tie, -0.1), 0.13 * u, (0.9, 0.9)),
            (0.86, 0.20, 0.34),
            label=17,
            to=(0.55, 0.08, 0.2),
            along=Linear(head(tie[2]), head(tie[0])),
        )
    return area


def _plaits(canvas: Canvas, f: Figure, tones: _Tones) -> None:
    """Two plaits that fall from behind the ears to before the shoulders: pairs of lobes that lean to the middle, like a herringbone."""
    p, head, u = f.person, f.head, f.head.unit
    x, end = p.cheek * 0.99, 1.2 + 0.45 * p.hair_length
    steps, wide = 8, 0.105 + 0.35 * p.hair_volume
    for s in (-1, 1):
        lobes, shades, lights = [], [], []
        for t in np.linspace(0, 1, steps):
            c = np.array((s * (x + 0.05 + 0.10 * t), 0.05 + t * (end - 0.1)))
            r = wide * (1.05 - 0.3 * t)
            for lobe in (-1, 1):
                q = c + (lobe * 0.5 * r, 0.04 * lobe)
                lobes.append(disc(head(q, 0.05), r * 0.74 * u, r * 0.98 * u, -lobe * 0.75, 14))
                mark = np.array([q + (lobe * 0.42 * r, -0.55 * r), q + (0, 0.1 * r), q + (-lobe * 0.42 * r, 0.72 * r)])
                shades.append(ribbon(head(mark + (lobe * 0.30 * r, 0.34 * r), 0.05), 0.042 * u, (0.1, 0.3), 2))
                lights.append(ribbon(head(mark - (0, 0.1 * r), 0.05), 0.045 * u, (0, 0), 2))
        tuft = np.array([(x + 0.10, end), (x + 0.20, end), (x + 0.24, end + 0.22), (x + 0.15, end + 0.30), (x + 0.06, end + 0.22)]) * (s, 1)
        lobes.append(head(smooth(tuft, 3), 0.05))
        canvas.draw([q + (0, 0.03 * u) for q in lobes], (0.05, 0.03, 0.05), 0.35, blur=0.02 * u)
        area = canvas.draw(lobes, tones.base, label=17, to=mix(tones.base, tones.dark, 0.7), along=Linear(head((0, 0)), head((0, end))))
        canvas.draw(lights, tones.shine, 0.55, blur=0.006 * u, clip=area)
        canvas.draw(shades, tones.deep, 0.75, clip=area)
        tie = np.array([(x + 0.06, end - 0.01), (x + 0.15, end + 0.015), (x + 0.24, end - 0.01)]) * (s, 1)
        canvas.draw(ribbon(head(tie, 0.05), 0.085 * u, (0.9, 0.9), 3), (0.86, 0.20, 0.34), label=17)


def _ropes(canvas: Canvas, f: Figure, tones: _Tones, front: bool) -> Mask | None:
    """Dreadlocks: separate ropes, wound like cord; behind the head and, at the `front`, from the parting past the temples."""
    p, head, u = f.person, f.head, f.head.unit
    rng = np.random.default_rng([p.seed, 10, int(front)])
    w, length = p.cheek + 0.06 + 0.6 * p.hair_volume, 0.75 + 0.75 * p.hair_length
    depth = 0.1 if front else -0.18
    area = None
    # the inner ropes first, so that the outer ones lie upon them
    spots = np.linspace(0.2, 1, 5) if not front else np.array([0.42, 0.62, 0.8, 1.0])
    for a in spots:
        for s in (-1, 1):
            end = length * (1 + 0.12 * rng.normal()) - (0.3 if front else 0.0) * (1 - a)
            if front:
                path = [
                    (0.03, -1.0 - 0.3 * p.hair_volume),
                    (p.forehead * (0.30 + 0.52 * a), -0.82),
                    (w * (0.90 + 0.10 * a), -0.28),
                    (w * (0.98 + 0.07 * a), 0.62 * end),
                ]
            else:
                path = [(w * a * 0.85, -0.5), (w * a, 0.0), (w * a * 1.04 + 0.02, 0.5 * end), (w * a * 1.10, end)]
            line = np.array(path) * (s, 1) + rng.normal(0, 0.015, (4, 2))
            rope = ribbon(head(line, depth), 0.155 * u, (0.8, 0.62))
            tone = 0.15 + 0.35 * rng.random()
            area = canvas.draw(
                rope,
                mix(tones.base, tones.light, tone) if front else mix(tones.base, tones.dark, 2 * tone),
                label=17,
                to=mix(tones.dark, tones.deep, 0.3 if front else 0.8),
                along=Linear(head((0, -0.9)), head((0, 1.1))),
            )
            way = smooth(line, 6, closed=False)[2:-1:2]
            turns = [ribbon(head(np.array([q + (-0.075, -0.03), q, q + (0.075, 0.035)]), depth), 0.026 * u, (0.4, 0.4), 2) for q in way]
            canvas.draw(turns, tones.deep, 0.6, clip=area)
            canvas.draw(
                ribbon(head(line + (-0.03 if f.light < 0 else 0.03, 0), depth), 0.035 * u, (0.3, 0.3)),
                tones.shine,
                0.35 if front else 0.15,
                clip=area,
            )
    return area


def _cloud(canvas: Canvas, f: Figure, tones: _Tones, front: bool) -> Mask | None:
    """Curls as overlapping balls, each shaded, so that the mass reads as hair and not as a plain disc."""
    p, head, u = f.person, f.head, f.head.unit
    rng = np.random.default_rng([p.seed, 7, int(front)])
    afro = p.hair_style == "afro"
    reach = 0.20 + 1.2 * p.hair_volume if afro else 0.04 + 0.6 * p.hair_volume
    low = (0.55 if afro else 0.2 + 0.75 * p.hair_length) if not front else p.hairline
    ball = 0.125 if afro else 0.155
    w = p.cheek + reach
    spots = []
    if front:
        for a in np.linspace(-2.9, -0.24, 15):
            hx, hy = 0.86 * p.cheek * np.cos(a), 0.15 + (0.15 - p.hairline + 0.06) * np.sin(a)
            spots.append((hx * (1.12 if abs(np.cos(a)) > 0.75 else 1.0), hy - 0.03 - (0.08 if afro else 0.05)))
        for a in np.linspace(-2.8, -0.34, 13):
            spots.append((0.97 * (p.cheek + 0.3 * reach) * np.cos(a), 0.05 + (1.08 + 0.3 * reach) * np.sin(a)))
        for a in np.linspace(-2.6, -0.54, 9):
            spots.append((0.7 * p.cheek * np.cos(a), -0.02 + 0.92 * np.sin(a)))
    else:
        spread = np.linspace(-np.pi - 0.55, 0.55, 22 if afro else 18)
        for a in spread:
            y = (low if np.sin(a) > 0 else 1.02 + 0.8 * reach) * np.sin(a)
            spots.append((w * np.cos(a), y - 0.05 if np.sin(a) <= 0 else low * np.sin(a) / np.sin(0.55) - 0.05))
    points = np.asarray(spots) + rng.normal(0, 0.018, (len(spots), 2))
    radii = ball * rng.uniform(0.85, 1.2, len(points))
    depth = 0.12 if front else -0.18
    balls = [disc(head(q, depth), r * u, count=14) for q, r in zip(points, radii)]
    if not front:
        body = smooth(np.concatenate([points, [(w * 0.6, low), (-w * 0.6, low)]]), 2)
        balls.append(head(body, depth))
    else:
        arc = np.concatenate([points[:15], points[15:28][::-1]])
        balls.append(head(smooth(arc, 2), depth))
    top, bottom = head((0, -1.1)), head((0, 0.7))
    area = canvas.draw(
        balls,
        mix(tones.base, tones.light, 0.15) if front else tones.base,
        label=17,
        to=tones.dark if front else tones.deep,
        along=Linear(top, bottom),
    )
    if area is None:
        return None
    lx = -0.35 if f.light > 0 else 0.35
    shadows = [disc(head(q - (lx * r, -0.42 * r), depth), r * 0.95 * u, r * 0.72 * u, count=12) for q, r in zip(points, radii)]
    canvas.draw(shadows[::2], tones.deep, 0.34, blur=0.02 * u, clip=area)
    lights = [disc(head(q + (lx * r, -0.34 * r), depth), r * 0.52 * u, r * 0.36 * u, count=10) for q, r in zip(points, radii)]
    canvas.draw(lights, tones.light, 0.55, blur=0.02 * u, clip=area)
    coils = []
    for q, r in zip(points, radii):
        a = rng.uniform(0, 6.3) + np.linspace(0, 4.2, 7)
        coils.append(ribbon(head(q + 0.62 * r * np.stack([np.cos(a), np.sin(a)], 1), depth), 0.022 * u, (0, 0), 2))
    canvas.draw(coils, tones.deep, 0.45, clip=area)
    return area


def paint_front(canvas: Canvas, f: Figure, skin: Mask) -> None:
    p, style = f.person, f.person.hair_style
    tones, head, u = _Tones(f), f.head, f.head.unit
    if style == "bald":
        c = head((0.22 if f.light < 0 else -0.22, -0.78))
        canvas.draw(disc(c, 0.26 * u, 0.13 * u, -0.3 if f.light < 0 else 0.3), mix(f.glow, (1, 1, 1), 0.5), 0.55, blur=0.05 * u, clip=skin)
        return
    if style in ("curly", "afro"):
        shadow = f.head(smooth(hairline(f, 0.06), 4, closed=False), 0.1)
        canvas.draw(np.concatenate([shadow, head([(0.9, -1.2), (-0.9, -1.2)])]), f.deep, 0.5, blur=0.045 * u, clip=skin)
        _cloud(canvas, f, tones, front=True)
        return
    if style in ("buzz", "mohawk", "quiff"):
        _shaved(canvas, f, tones)
        if style == "buzz":
            return
    shapes, strands = front_shapes(f)
    placed = [head(s, 0.10) for s in shapes]
    canvas.draw([q + (0, 0.05 * u) for q in placed], f.deep, 0.55, blur=0.04 * u, clip=skin)
    area = canvas.draw(
        placed,
        mix(tones.base, tones.light, 0.25),
        label=17,
        to=mix(tones.base, tones.dark, 0.55),
        along=Linear(head((0, -1.15)), head((0, 0.35))),
    )
    if area is None:
        return
    side = -1 if f.light > 0 else 1
    canvas.paint(area, tones.deep, 0.5, fade=Linear(head((side * (p.cheek + 0.15), -0.3)), head((side * 0.1, -0.5))))
    dark = [ribbon(head(s, 0.1), (0.022 + 0.012 * (k % 3)) * u, (0.1, 0)) for k, s in enumerate(strands) if k % 3 != 1]
    light = [ribbon(head(s + (0.02, 0), 0.1), 0.026 * u, (0, 0)) for k, s in enumerate(strands) if k % 3 == 1]
    if dark:
        canvas.draw(dark, tones.deep, 0.42, clip=area)
    if light:
        canvas.draw(light, tones.light, 0.62, clip=area)
    if style != "mohawk":
        _shine(canvas, f, area, tones)
    if style == "braids":
        _plaits(canvas, f, tones)
    if style == "dreadlocks":
        _ropes(canvas, f, tones, front=True)


def _shaved(canvas: Canvas, f: Figure, tones: _Tones) -> None:
    """Hair cut to a few millimetres: the whole of a buzz cut, the sides of a mohawk or a quiff."""
    head, u, cropped = f.head, f.head.unit, f.person.hair_style == "buzz"
    area = canvas.draw(
        head(shaved_line(f), 0.10),
        mix(f.skin, tones.base, 0.72 if cropped else 0.42),
        label=17,
        blur=0.012 * u,
        to=mix(f.shade, tones.dark, 0.7 if cropped else 0.35),
        along=Linear(head((0, -1)), head((0, 0))),
    )
    _stubble(canvas, f, area, tones)
    canvas.draw(head(ellipse(-0.25 * np.sign(f.light or 1), -0.85, 0.28, 0.12)), tones.light, 0.3, blur=0.05 * u, clip=area)


def _shine(canvas: Canvas, f: Figure, area: Mask, tones: _Tones) -> None:
    """A broken band of light round the crown, on the side the light comes from."""
    p, u = f.person, f.head.unit
    tilt = 0.22 * (1 if f.light > 0 else -1)
    x = np.linspace(-0.52, 0.52, 7)
    y = -0.87 + 0.42 * (x - tilt * 0.5) ** 2 + 0.12 * tilt * x - 0.55 * (p.hair_volume - 0.1)
    canvas.draw(ribbon(f.head(np.stack([x + tilt * 0.6, y], 1), 0.1), 0.15 * u, (0, 0)), tones.shine, 0.42, blur=0.028 * u, clip=area)
    rng = np.random.default_rng([p.seed, 8])
    glints = []
    for k in range(7):
        a = x[k] + tilt * 0.6 + rng.normal(0, 0.02)
        d = 0.05 + 0.04 * rng.random()
        lean = a * 0.35
        glints.append(
            ribbon(f.head(np.array([(a - lean * d, y[k] - d), (a, y[k]), (a + lean * d * 2, y[k] + d)]), 0.1), 0.04 * u, (0, 0), 3)
        )
    canvas.draw(glints, tones.shine, 0.55, clip=area)


def _stubble(canvas: Canvas, f: Figure, area: Mask | None, tones: _Tones) -> None:
    if area is None:
        return
    p, u = f.person, f.head.unit
    rng = np.random.default_rng([p.seed, 9])
    spots = rng.uniform((-0.9, -1.1), (0.9, 0.05), (110, 2))
    canvas.draw([disc(f.head(q, 0.1), 0.009 * u, 0.016 * u, count=6) for q in spots], tones.deep, 0.32, clip=area)
