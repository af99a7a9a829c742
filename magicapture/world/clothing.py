"""Neck, shoulders and what is worn on them."""

import numpy as np

from magicapture.world.canvas import Canvas, Linear, Mask, Points, Radial, disc, ellipse, luminance, mix, ribbon, smooth
from magicapture.world.figure import Figure, mirror
from magicapture.world.patterns import paint_pattern


def _both(right: Points) -> np.ndarray:
    """A closed smooth shape from its right half, listed from top middle to bottom middle."""
    right = np.asarray(right, float)
    left = mirror(right[::-1])
    return smooth(np.concatenate([right, left]), 4)


class _Cloth:
    """The colours of one garment, kept apart even where the colour is nearly black or white."""

    def __init__(self, colour: Points) -> None:
        self.base = np.asarray(colour, float)
        dark = luminance(self.base) < 0.25
        self.light = np.minimum(self.base * 1.18 + (0.07 if dark else 0.03), 1)
        self.dark = self.base * (0.62, 0.60, 0.66)
        self.deep = self.base * (0.40, 0.38, 0.44)
        self.line = self.light + 0.08 if dark else self.deep


def paint_neck(canvas: Canvas, f: Figure) -> None:
    p, u, b = f.person, f.body.unit, f.body
    w = p.neck
    # the neck's top goes with the head, its foot stays with the shoulders
    upper = f.head(np.array([(-w * 0.98, 0.45), (w * 0.98, 0.45)]), 0.0)
    lower = b(
        smooth(
            np.array(
                [
                    (w * 1.0, 1.02),
                    (w * 1.12, 1.2),
                    (w * 1.7, 1.32),
                    (0.86, 1.46),
                    (0.86, 2.2),
                    (-0.86, 2.2),
                    (-0.86, 1.46),
                    (-w * 1.7, 1.32),
                    (-w * 1.12, 1.2),
                    (-w * 1.0, 1.02),
                ]
            ),
            4,
            closed=False,
        )
    )
    shape = np.concatenate([upper[:1], upper[1:], lower])
    neck = canvas.draw(shape, mix(f.skin, f.shade, 0.35), label=14, to=f.skin, along=Linear(b((0, 0.9)), b((0, 1.5))))
    side = -1 if f.light > 0 else 1
    canvas.paint(neck, f.shade, 0.75, fade=Linear(b((side * w * 1.1, 1.1)), b((-side * w * 0.5, 1.1))))
    for s in (-1, 1):
        cord = np.array([(s * w * 0.72, 0.95), (s * w * 0.42, 1.2), (s * 0.10, 1.38)])
        canvas.draw(ribbon(b(cord), 0.05 * u, (0, 0)), f.deep, 0.28, blur=0.014 * u, clip=neck)
        bone = np.array([(s * 0.10, 1.42), (s * 0.35, 1.40), (s * 0.72, 1.44)])
        canvas.draw(ribbon(b(bone), 0.05 * u, (0.4, 0)), f.deep, 0.30, blur=0.014 * u, clip=neck)
    drop = f.outline + (0.03 * u * side, 0.12 * u)
    canvas.draw(drop, f.deep, 0.78, blur=0.05 * u, clip=neck)


def paint_behind(canvas: Canvas, f: Figure) -> None:
    """What of the garment lies behind the neck."""
    c, b, kind = _Cloth(f.look.cloth_rgb), f.body, f.look.clothing
    if kind == "hoodie":
        hood = _both([(0, 0.75), (0.42, 0.80), (0.74, 1.02), (0.80, 1.3), (0.4, 1.5), (0, 1.55)])
        canvas.draw(b(hood), c.dark, label=16, to=c.deep, along=Radial(b((0, 1.15)), 0.75 * b.unit))
    elif kind in ("shirt", "suit", "coat", "jacket"):
        stand = _both([(0, 0.98), (0.40, 1.0), (0.52, 1.2), (0.3, 1.36), (0, 1.4)])
        colour = _Cloth((0.93, 0.93, 0.95)) if kind == "suit" else c
        canvas.draw(b(stand), colour.dark, label=16)


def paint_clothes(canvas: Canvas, f: Figure) -> None:
    look, b, u = f.look, f.body, f.body.unit
    c, kind, n = _Cloth(look.cloth_rgb), look.clothing, f.person.neck
    top, depth, wide = {
        "tee": (1.17, 1.44, n * 1.28),
        "sweater": (1.13, 1.36, n * 1.18),
        "shirt": (1.12, 1.52, n * 1.1),
        "suit": (1.12, 1.56, n * 1.1),
        "hoodie": (1.12, 1.5, n * 1.25),
        "turtleneck": (1.15, 1.3, n * 1.1),
        "dress": (1.36, 1.70, 0.78),
        "coat": (1.1, 1.45, n * 1.2),
        "jacket": (1.12, 1.5, n * 1.2),
        "blouse": (1.14, 1.42, n * 1.15),
    }[kind]
    shoulder = 1.30 if kind in ("suit", "coat", "jacket") else 1.2
    right = smooth(
        [
            (wide, top),
            (0.5 * wide + 0.5, top + 0.12),
            (shoulder - 0.16, 1.52),
            (shoulder, 1.74),
            (shoulder + 0.06, 2.4),
            (shoulder + 0.1, 3.3),
        ],
        5,
        closed=False,
    )
    t = np.linspace(1, -1, 15)
    sharp = 1.0 if kind in ("shirt", "coat", "suit") else 2.2
    neckline = np.stack([t * wide, top + (depth - top) * (1 - np.abs(t) ** sharp)], 1)
    if kind == "dress":
        neckline[:, 1] = top + (depth - top) * (1 - t**4) + 0.09 * np.exp(-((t / 0.25) ** 2))
    torso = np.concatenate([neckline[::-1], right, mirror(right[::-1])])
    body = canvas.draw(b(torso), c.light, label=16, to=mix(c.base, c.dark, 0.75), along=Linear(b((0, 1.1)), b((0, 2.1))))
    paint_pattern(canvas, f, body, c.base)
    side = -1 if f.light > 0 else 1
    canvas.paint(body, c.deep, 0.55, fade=Linear(b((side * 1.3, 1.7)), b((side * 0.1, 1.6))))
    for s in (-1, 1):
        sleeve = np.array([(s * 0.98, 1.62), (s * 0.93, 1.85), (s * 0.95, 2.3), (s * 1.0, 3.2)])
        canvas.draw(ribbon(b(sleeve), 0.055 * u, (0, 1)), c.deep, 0.55, blur=0.016 * u, clip=body)
        fold = np.array([(s * 0.55, 1.45), (s * 0.62, 1.7), (s * 0.5, 2.1)])
        canvas.draw(ribbon(b(fold), 0.07 * u, (0, 0)), c.light, 0.4, blur=0.03 * u, clip=body)
    # the head and its neck keep some light from the chest
    canvas.draw(b(ellipse(side * 0.15, 1.12, 0.62, 0.34)), c.deep, 0.5, blur=0.08 * u, clip=body)
    if kind in ("tee", "sweater"):
        band = 0.075 if kind == "tee" else 0.13
        lower = neckline * (1.0, 1.0) + np.stack([0.35 * band * np.sign(t) * np.abs(t), band * (1.05 - 0.5 * np.abs(t))], 1)
        collar = canvas.draw(
            b(np.concatenate([neckline, lower[::-1]])),
            c.dark if kind == "tee" else c.base,
            label=16,
            to=c.base,
            along=Linear(b((-wide, 1.2)), b((wide, 1.2))),
        )
        canvas.draw(ribbon(b(lower[::2]), 0.02 * u, (1, 1)), c.deep, 0.6, blur=0.004 * u)
        if kind == "sweater":
            ribs = [ribbon(b(np.array([neckline[k], lower[k]])), 0.018 * u, (1, 1)) for k in range(1, 14, 2)]
            canvas.draw(ribs, c.deep, 0.4, clip=collar)
    _EXTRAS.get(kind, lambda *_: None)(canvas, f, c, body)
    if look.necklace:
        beads = [(0.62 * n * 1.7 * a, 1.20 + 0.27 * (1 - a * a)) for a in np.linspace(-1, 1, 15)]
        gold = mix(f.look.accent, (0.98, 0.86, 0.52), 0.7)
        canvas.draw([disc(b(q), 0.034 * u, count=10) for q in beads], gold * 0.75, label=15)
        canvas.draw([disc((b(q) - 0.008 * u), 0.018 * u, count=8) for q in beads], np.minimum(gold * 1.2, 1))


def _shirt(canvas: Canvas, f: Figure, c: _Cloth, body: Mask | None) -> None:
    b, u, n = f.body, f.body.unit, f.person.neck
    canvas.draw(ribbon(b(np.array([(0.02, 1.5), (0.02, 2.0), (0.02, 3.3)])), 0.03 * u, (1, 1)), c.deep, 0.7, clip=body)
    for y in (1.66, 1.9, 2.14, 2.38):
        canvas.draw(disc(b((-0.05, y)), 0.03 * u), c.line, 0.9, clip=body)
    _collar(canvas, f, c, n, 1.52)


def _collar(canvas: Canvas, f: Figure, c: _Cloth, n: float, low: float) -> None:
    b, u = f.body, f.body.unit
    for s in (-1, 1):
        flap = np.array(
            [
                (s * n * 0.96, 1.02),
                (s * n * 1.25, 1.16),
                (s * n * 1.12, 1.42),
                (s * 0.30, low + 0.07),
                (s * 0.03, low - 0.02),
                (s * n * 0.62, 1.28),
            ]
        )
        canvas.draw(b(flap) + (0, 0.035 * u), c.deep, 0.55, blur=0.02 * u)
        canvas.draw(b(flap), c.light, label=16, to=mix(c.base, c.dark, 0.45), along=Linear(b((s * n, 1.0)), b((s * 0.1, low))))
        canvas.draw(ribbon(b(np.array([flap[2], flap[3], flap[4]])), 0.016 * u, (1, 1), 3), c.line, 0.6)


def _suit(canvas: Canvas, f: Figure, c: _Cloth, body: Mask | None) -> None:
    b, u, n = f.body, f.body.unit, f.person.neck
    white = _Cloth((0.95, 0.95, 0.97))
    v = np.array([(-n * 1.1, 1.12), (0, 1.42), (n * 1.1, 1.12), (0.46, 1.5), (0.05, 2.4), (-0.05, 2.4), (-0.46, 1.5)])
    canvas.draw(b(v), white.base, label=16, to=white.dark, along=Linear(b((0, 1.4)), b((0, 2.2))))
    tie = _Cloth(f.look.accent)
    if f.person.feminine < 0.65:
        knot = np.array([(-0.11, 1.40), (0.11, 1.40), (0.065, 1.56), (-0.065, 1.56)])
        blade = np.array([(-0.06, 1.55), (0.06, 1.55), (0.145, 2.2), (0, 2.5), (-0.145, 2.2)])
        canvas.draw(b(blade), tie.light, label=16, to=tie.dark, along=Linear(b((0.2, 1.6)), b((-0.15, 1.9))))
        canvas.draw(b(knot), tie.base, label=16, to=tie.deep, along=Linear(b((0, 1.4)), b((0, 1.6))))
    _collar(canvas, f, white, n, 1.46)
    for s in (-1, 1):
        lapel = np.array(
            [
                (s * n * 1.15, 1.10),
                (s * (n + 0.30), 1.24),
                (s * (n + 0.36), 1.52),
                (s * (n + 0.44), 1.56),
                (s * 0.30, 2.1),
                (s * 0.05, 2.4),
                (s * 0.34, 1.55),
            ]
        )
        canvas.draw(b(lapel) + (0, 0.03 * u), c.deep, 0.6, blur=0.02 * u, clip=body)
        canvas.draw(b(lapel), mix(c.light, c.base, 0.4), label=16, to=c.dark, along=Linear(b((0, 1.1)), b((0, 2.2))))
        canvas.draw(ribbon(b(lapel[1:5]), 0.018 * u, (1, 1), 2), c.line, 0.7)


def _hoodie(canvas: Canvas, f: Figure, c: _Cloth, body: Mask | None) -> None:
    b, u, n = f.body, f.body.unit, f.person.neck
    for s in (-1, 1):
        rim = np.array(
            [
                (s * (n + 0.02), 0.95),
                (s * (n + 0.34), 1.06),
                (s * (n + 0.36), 1.32),
                (s * 0.42, 1.56),
                (s * 0.02, 1.68),
                (s * 0.04, 1.5),
                (s * n * 0.72, 1.32),
                (s * n * 0.98, 1.14),
            ]
        )
        shape = smooth(rim, 4)
        canvas.draw(b(shape) + (0, 0.035 * u), c.deep, 0.55, blur=0.025 * u, clip=body)
        canvas.draw(b(shape), c.light, label=16, to=c.dark, along=Linear(b((s * n, 1.0)), b((0, 1.7))))
        inner = rim[[4, 5, 6, 7, 0]]
        canvas.draw(ribbon(b(inner), 0.03 * u, (1, 0.5)), c.deep, 0.6, blur=0.006 * u)
        string = np.array([(s * 0.14, 1.58), (s * 0.17, 1.75), (s * 0.15, 1.96)])
        canvas.draw(
            ribbon(b(string), 0.042 * u, (1, 1)), (0.95, 0.94, 0.92), label=16, to=(0.7, 0.7, 0.72), along=Linear(b((0, 1.55)), b((0, 2)))
        )


def _turtleneck(canvas: Canvas, f: Figure, c: _Cloth, body: Mask | None) -> None:
    b, u, n = f.body, f.body.unit, f.person.neck
    band = [(0, 1.04), (n * 0.6, 1.02), (n * 1.06, 0.94), (n * 1.14, 1.1), (n * 1.28, 1.3), (n * 0.8, 1.40), (0, 1.44)]
    tube = canvas.draw(b(_both(band)), c.light, label=16, to=mix(c.base, c.dark, 0.6), along=Linear(b((0, 0.95)), b((0, 1.45))))
    side = -1 if f.light > 0 else 1
    canvas.paint(tube, c.deep, 0.6, fade=Linear(b((side * n * 1.1, 1.2)), b((-side * n * 0.2, 1.2))))
    ribs = [ribbon(b(np.array([(a * n, 1.05), (a * n * 1.12, 1.4)])), 0.022 * u, (1, 1)) for a in np.linspace(-0.9, 0.9, 8)]
    canvas.draw(ribs, c.deep, 0.3, clip=tube)
    canvas.draw(
        ribbon(b(np.array([(-n * 1.1, 1.18), (0, 1.27), (n * 1.1, 1.18)])), 0.03 * u, (0.5, 0.5)), c.deep, 0.6, blur=0.008 * u, clip=tube
    )
    canvas.draw(f.outline + (0, 0.07 * u), c.deep, 0.6, blur=0.03 * u, clip=tube)


def _dress(canvas: Canvas, f: Figure, c: _Cloth, body: Mask | None) -> None:
    b, u = f.body, f.body.unit
    for s in (-1, 1):
        line = np.array([(s * 0.78, 1.38), (s * 0.68, 1.62), (s * 0.45, 1.73), (0, 1.68)])
        canvas.draw(ribbon(b(line), 0.035 * u, (1, 1)), c.line, 0.7, clip=body)
        pleat = np.array([(s * 0.3, 1.8), (s * 0.36, 2.0), (s * 0.32, 2.4)])
        canvas.draw(ribbon(b(pleat), 0.04 * u, (0, 1)), c.deep, 0.5, blur=0.01 * u, clip=body)


def _coat(canvas: Canvas, f: Figure, c: _Cloth, body: Mask | None) -> None:
    b, u, n = f.body, f.body.unit, f.person.neck
    scarf = _Cloth(f.look.accent)
    for s in (-1, 1):
        collar = smooth(
            np.array(
                [(s * n * 1.05, 1.0), (s * (n + 0.44), 1.12), (s * (n + 0.48), 1.5), (s * 0.38, 1.86), (s * 0.06, 2.1), (s * 0.12, 1.6)]
            ),
            4,
        )
        canvas.draw(b(collar) + (0, 0.03 * u), c.deep, 0.6, blur=0.025 * u, clip=body)
        canvas.draw(b(collar), c.light, label=16, to=c.dark, along=Linear(b((s * n, 1.0)), b((0, 2.0))))
    wrap = [(0, 1.1), (n * 0.7, 1.08), (n * 1.18, 1.0), (n * 1.34, 1.2), (n * 0.9, 1.46), (0, 1.52)]
    roll = canvas.draw(b(_both(wrap)), scarf.light, label=16, to=scarf.dark, along=Linear(b((0, 1.05)), b((0, 1.5))))
    for y in (1.2, 1.33):
        canvas.draw(
            ribbon(b(np.array([(-n * 1.25, y - 0.1), (0, y + 0.02), (n * 1.25, y - 0.1)])), 0.035 * u, (0.3, 0.3)),
            scarf.deep,
            0.5,
            blur=0.01 * u,
            clip=roll,
        )
    end = np.array([(0.05, 1.42), (0.34, 1.40), (0.40, 2.1), (0.12, 2.14)])
    tail = canvas.draw(b(end), scarf.base, label=16, to=scarf.dark, along=Linear(b((0, 1.4)), b((0, 2.1))))
    canvas.draw(ribbon(b(np.array([(0.2, 1.5), (0.26, 1.8), (0.26, 2.1)])), 0.03 * u, (0.3, 0.3)), scarf.deep, 0.5, clip=tail)
    canvas.draw(f.outline + (0, 0.07 * u), scarf.deep, 0.6, blur=0.03 * u, clip=roll)


def _jacket(canvas: Canvas, f: Figure, c: _Cloth, body: Mask | None) -> None:
    """Open over a tee, with a zip down both fronts."""
    b, u, n = f.body, f.body.unit, f.person.neck
    tee = _Cloth((0.93, 0.93, 0.92) if luminance(c.base) < 0.6 else (0.20, 0.21, 0.26))
    inside = np.array(
        [
            (-n * 1.2, 1.12),
            (-n * 0.7, 1.38),
            (0, 1.46),
            (n * 0.7, 1.38),
            (n * 1.2, 1.12),
            (0.42, 1.6),
            (0.34, 3.2),
            (-0.34, 3.2),
            (-0.42, 1.6),
        ]
    )
    canvas.draw(b(inside), tee.light, label=16, to=tee.dark, along=Linear(b((0, 1.3)), b((0, 2.6))), clip=body)
    neck = np.array([(-n * 0.9, 1.27), (-n * 0.5, 1.43), (0, 1.49), (n * 0.5, 1.43), (n * 0.9, 1.27)])
    canvas.draw(ribbon(b(neck), 0.05 * u, (1, 1)), tee.dark, label=16)
    for s in (-1, 1):
        edge = np.array([(s * n * 1.2, 1.12), (s * 0.46, 1.6), (s * 0.38, 2.2), (s * 0.34, 3.2)])
        canvas.draw(ribbon(b(edge) + (0, 0.02 * u), 0.09 * u, (1, 1)), c.deep, 0.5, blur=0.015 * u, clip=body)
        canvas.draw(ribbon(b(edge), 0.05 * u, (1, 1)), (0.80, 0.81, 0.84), label=16)
        canvas.draw(ribbon(b(edge), 0.018 * u, (1, 1)), c.deep)
        lapel = np.array(
            [(s * n * 1.0, 1.02), (s * (n + 0.38), 1.14), (s * (n + 0.46), 1.46), (s * 0.60, 1.76), (s * 0.42, 1.62), (s * n * 1.1, 1.26)]
        )
        canvas.draw(b(lapel) + (0, 0.035 * u), c.deep, 0.6, blur=0.02 * u, clip=body)
        canvas.draw(b(lapel), c.light, label=16, to=mix(c.base, c.dark, 0.5), along=Linear(b((s * n, 1.0)), b((s * 0.4, 1.8))))
        canvas.draw(ribbon(b(lapel[1:5]), 0.018 * u, (1, 1), 2), c.line, 0.7)
        pocket = np.array([(s * 0.58, 2.02), (s * 0.84, 1.98)])
        canvas.draw(ribbon(b(pocket), 0.03 * u, (1, 1)), c.line, 0.7, clip=body)


def _blouse(canvas: Canvas, f: Figure, c: _Cloth, body: Mask | None) -> None:
    """Gathered at the shoulders, with a large bow at the neck."""
    b, u, n = f.body, f.body.unit, f.person.neck
    for x in (-0.62, -0.42, -0.22, 0.22, 0.42, 0.62):
        gather = np.array([(x * 0.9, 1.34), (x, 1.6), (x * 0.96, 2.0)])
        canvas.draw(ribbon(b(gather), 0.035 * u, (0.6, 0)), c.deep, 0.40, blur=0.008 * u, clip=body)
    band = [(0, 1.28), (n * 0.6, 1.24), (n * 1.04, 1.10), (n * 1.18, 1.22), (n * 0.8, 1.40), (0, 1.46)]
    canvas.draw(b(_both(band)), c.light, label=16, to=c.dark, along=Linear(b((0, 1.1)), b((0, 1.5))))
    for s in (-1, 1):
        tail = np.array([(s * 0.03, 1.48), (s * 0.16, 1.50), (s * 0.34, 2.02), (s * 0.12, 2.08)])
        canvas.draw(b(tail) + (0, 0.02 * u), c.deep, 0.5, blur=0.015 * u, clip=body)
        canvas.draw(b(tail), c.light, label=16, to=c.dark, along=Linear(b((0, 1.45)), b((0, 2.1))))
        loop = smooth([(s * 0.02, 1.46), (s * 0.22, 1.32), (s * 0.46, 1.34), (s * 0.46, 1.58), (s * 0.22, 1.58)], 4)
        canvas.draw(b(loop) + (0, 0.025 * u), c.deep, 0.55, blur=0.018 * u, clip=body)
        canvas.draw(b(loop), c.light, label=16, to=c.dark, along=Linear(b((s * 0.4, 1.3)), b((s * 0.1, 1.6))))
        canvas.draw(ribbon(b(np.array([(s * 0.06, 1.46), (s * 0.2, 1.45), (s * 0.34, 1.44)])), 0.03 * u, (1, 0)), c.deep, 0.6)
        canvas.draw(ribbon(b(loop[[4, 8, 12, 16]]), 0.016 * u, (0.5, 0.5)), c.line, 0.6)
    canvas.draw(b(disc((0, 1.46), 0.075, 0.085)), c.base, label=16, to=c.deep, along=Linear(b((0, 1.38)), b((0, 1.56))))


_EXTRAS = {
    "shirt": _shirt,
    "suit": _suit,
    "hoodie": _hoodie,
    "turtleneck": _turtleneck,
    "dress": _dress,
    "coat": _coat,
    "jacket": _jacket,
    "blouse": _blouse,
}
