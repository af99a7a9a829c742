"""Hats: fitted to the head, the hair tucked under them, brows and eyes left free whatever the brim."""

from collections.abc import Callable

import numpy as np

from magicapture.world.canvas import Canvas, Linear, Mask, Points, Radial, disc, luminance, mix, ribbon, smooth
from magicapture.world.figure import Figure, mirror

_HAT = 18


class _Hat:
    """Where a hat sits, in head coordinates, and the tones of its cloth."""

    def __init__(self, f: Figure):
        p, hat = f.person, f.look.hat
        t = np.linspace(-1, 1, 5)
        brow = p.brow_y + np.abs(p.brow_tilt * t * p.brow_length) + p.brow_arch + p.brow_thickness / 2
        top = p.eye_y - float(brow.max())
        # a raised brow keeps its distance, so the brim keeps its place through all expressions
        self.front = float(np.clip(top - 0.08, -0.66, -0.40))
        self.side = {"beanie": -0.20, "cap": -0.24}.get(hat, self.front + 0.06)
        self.half = p.cheek + 0.055 + 0.5 * min(p.hair_volume, 0.12)
        self.base = np.asarray(f.look.hat_rgb, float)
        dark = luminance(self.base) < 0.25
        self.light = np.minimum(self.base * 1.18 + (0.09 if dark else 0.03), 1)
        self.dark, self.deep = self.base * (0.62, 0.60, 0.66), self.base * (0.38, 0.36, 0.42)
        self.line = self.light + 0.10 if dark else self.deep

    def edge(self, lift: float = 0.0, wide: float = 1.0) -> np.ndarray:
        """The hat's lower edge from the left over the forehead to the right: (13, 2)."""
        t = np.linspace(-1, 1, 13)
        return np.stack([t * self.half * wide, self.front + (self.side - self.front) * np.abs(t) ** 2.4 - lift], 1)

    def crown(self, right: Points, lift: float = 0.0) -> np.ndarray:
        """Closed outline: the edge, raised by `lift`, and over it a smooth dome through `right` (x in half widths, downwards up)."""
        edge = self.edge(lift)
        up = np.asarray(right, float) * (self.half, 1)
        over = np.concatenate([edge[-1:], up, mirror(up[::-1])[1 if up[-1, 0] == 0 else 0 :], edge[:1]])
        return np.concatenate([edge, smooth(over, 5, closed=False)])


def tuck(canvas: Canvas, f: Figure, paint: Callable[[], object]) -> None:
    """Runs `paint`, which draws hair, and takes back what a hat presses down: everything above its edge.

    Hair that stands out below the edge is rounded off towards it, as it is when a hat holds it.
    """
    if f.look.hat == "none":
        paint()
        return
    rgb, labels = canvas.rgb.copy(), canvas.labels.copy()
    paint()
    hat = _Hat(f)
    edge = hat.edge(0.02)
    slope = np.array([(hat.half + 0.07, hat.side + 0.04), (hat.half + 0.22, hat.side + 0.20), (hat.half + 0.55, hat.side + 0.9), (3, 2.2)])
    above = np.concatenate([mirror(slope[::-1]), edge, slope, [(3, -3), (-3, -3)]])
    mask = canvas.mask(f.head(above, -0.05))
    if mask is not None:
        h, w = mask.data.shape
        part = (slice(mask.y, mask.y + h), slice(mask.x, mask.x + w))
        now = canvas.rgb[:, part[0], part[1]]
        now += (rgb[:, part[0], part[1]] - now) * (mask.data * np.float32(1 / 255))
        canvas.labels[part] = np.where(mask.data > 127, labels[part], canvas.labels[part])


def paint_hat_behind(canvas: Canvas, f: Figure) -> None:
    """The far half of a wide brim, behind head and hair."""
    if f.look.hat not in ("sunhat", "fedora"):
        return
    hat = _Hat(f)
    reach, low = (0.58, 0.10) if f.look.hat == "sunhat" else (0.26, hat.front + 0.05)
    w = hat.half + reach
    y = hat.front
    right = [(0, y - 0.25), (w * 0.7, y - 0.16), (w * 0.98, y + 0.5 * (low - y)), (w * 0.72, low + 0.06), (0, low)]
    shape = smooth(np.concatenate([right, mirror(right[-2:0:-1])]), 4)
    canvas.draw(f.head(shape, -0.25), hat.dark, label=_HAT, to=hat.deep, along=Linear(f.head((0, y)), f.head((0, low))))


def paint_hat(canvas: Canvas, f: Figure, skin: Mask) -> None:
    """The hat with its shadow on the forehead; `skin` is the head's mask."""
    if f.look.hat == "none":
        return
    hat, u = _Hat(f), f.head.unit
    shadow = np.concatenate([hat.edge(-0.075), [(1.2, -1.3), (-1.2, -1.3)]])
    canvas.draw(f.head(shadow, 0.1), f.deep, 0.62, blur=0.04 * u, clip=skin)
    _HATS[f.look.hat](canvas, f, hat)


def _dome(canvas: Canvas, f: Figure, hat: _Hat, right: Points, lift: float = 0.0) -> Mask | None:
    """The crown with the large shading that all hats share: lit from above, dark on the side away from the light."""
    head = f.head
    top = float(np.min(np.asarray(right)[:, 1]))
    area = canvas.draw(
        head(hat.crown(right, lift), 0.06),
        hat.light,
        label=_HAT,
        to=mix(hat.base, hat.dark, 0.6),
        along=Linear(head((0, top)), head((0, -0.2))),
    )
    side = -1 if f.light > 0 else 1
    canvas.paint(area, hat.deep, 0.62, fade=Linear(head((side * hat.half * 1.02, -0.6)), head((side * hat.half * 0.1, -0.65))))
    c = head((-side * 0.32 * hat.half, top + 0.28), 0.1)
    canvas.draw(
        disc(c, 0.30 * head.unit, 0.15 * head.unit, -side * 0.5), mix(hat.light, (1, 1, 1), 0.5), 0.45, blur=0.06 * head.unit, clip=area
    )
    return area


def _beanie(canvas: Canvas, f: Figure, hat: _Hat) -> None:
    head, u = f.head, f.head.unit
    area = _dome(canvas, f, hat, [(1.0, -0.55), (0.88, -0.88), (0.55, -1.12), (0, -1.20)])
    ribs = [
        ribbon(head(np.array([(0.1 * a, -1.19), (0.72 * a, -1.0), (1.02 * a * hat.half * 1.12, -0.45)]), 0.06), 0.03 * u, (0.3, 0.6))
        for a in np.linspace(-1, 1, 9)
    ]
    canvas.draw(ribs, hat.deep, 0.42, blur=0.004 * u, clip=area)
    lower, upper = hat.edge(0, 1.04), hat.edge(0.25, 1.03)
    canvas.draw(head(np.concatenate([upper + (0, -0.045), upper[::-1]]), 0.08), hat.deep, 0.55, blur=0.012 * u, clip=area)
    fold = np.concatenate([lower, [lower[-1] + (0.035, -0.12)], upper[::-1], [lower[0] + (-0.035, -0.12)]])
    cuff = canvas.draw(
        head(smooth(fold, 2), 0.08),
        hat.light,
        label=_HAT,
        to=mix(hat.base, hat.dark, 0.35),
        along=Linear(head((0, -0.75)), head((0, -0.2))),
    )
    side = -1 if f.light > 0 else 1
    canvas.paint(cuff, hat.deep, 0.6, fade=Linear(head((side * hat.half, -0.4)), head((side * hat.half * 0.2, -0.4))))
    t = np.linspace(-0.94, 0.94, 17)
    x, y = np.interp(t, np.linspace(-1, 1, 13), lower[:, 0]), np.interp(t, np.linspace(-1, 1, 13), lower[:, 1])
    canvas.draw(
        [ribbon(head(np.array([(a, b - 0.015), (a * 0.985, b - 0.24)]), 0.08), 0.026 * u, (0.8, 0.8)) for a, b in zip(x, y)],
        hat.deep,
        0.5,
        clip=cuff,
    )
    c, r = head((0, -1.24), 0.05), 0.19
    ball = canvas.draw(disc(c, r * u), hat.light, label=_HAT, to=hat.dark, along=Radial(c - (0.05 * side * u, 0.06 * u), r * 1.5 * u))
    angle = np.linspace(0, 2 * np.pi, 15)[:-1]
    wool = [
        ribbon(np.array([c + 0.25 * r * u * d, c + 1.12 * r * u * d]), 0.05 * u, (0.4, 0.3), 2)
        for d in np.stack([np.cos(angle), np.sin(angle)], 1)
    ]
    canvas.draw(wool[::2], hat.light, 0.8, label=_HAT)
    canvas.draw(wool[1::2], hat.dark, 0.5, clip=ball)


def _cap(canvas: Canvas, f: Figure, hat: _Hat) -> None:
    head, u, w = f.head, f.head.unit, hat.half
    area = _dome(canvas, f, hat, [(0.99, -0.55), (0.86, -0.86), (0.5, -1.08), (0, -1.14)], 0.03)
    seams = [
        ribbon(head(np.array([(0, -1.13), (0.34 * a * w, -0.98), (0.62 * a * w, -0.72), (0.68 * a * w, -0.3)]), 0.08), 0.016 * u, (1, 1))
        for a in (-1, 0, 1)
    ]
    canvas.draw(seams, hat.line, 0.55, clip=area)
    canvas.draw(disc(head((0, -1.135), 0.06), 0.055 * u, 0.035 * u), hat.dark, label=_HAT)
    y = hat.front
    badge = head.face(disc((0, y - 0.33), 0.14, 0.115), 0.05)
    accent = np.asarray(f.look.accent)
    if abs(luminance(accent) - luminance(hat.base)) < 0.2:
        accent = np.array([0.95, 0.95, 0.93]) if luminance(hat.base) < 0.55 else np.array([0.16, 0.17, 0.22])
    canvas.draw(badge, accent, clip=area)
    canvas.draw(head.face(disc((0, y - 0.33), 0.075, 0.06), 0.05), mix(accent, hat.base, 0.75), clip=area)
    t = np.linspace(-1, 1, 11)
    back = np.stack([t * w * 0.88, y - 0.19 + 0.19 * t * t], 1)
    front = np.stack([t * w * 0.97, y + 0.03 + 0.045 * t * t], 1)
    # the visor stands before the forehead, so it goes with the face when the head turns
    rim = head(front, 0.30)
    canvas.draw(head(np.concatenate([back - (0, 0.05), front[::-1]]), 0.1), hat.deep, 0.6, blur=0.02 * u, clip=area)
    visor = canvas.draw(
        smooth(np.concatenate([head(back, 0.22), rim[::-1]]), 2),
        hat.light,
        label=_HAT,
        to=hat.dark,
        along=Linear(head((0, y - 0.16)), head((0, y))),
    )
    side = -1 if f.light > 0 else 1
    canvas.paint(visor, hat.deep, 0.5, fade=Linear(head((side * w, y)), head((side * 0.1, y))))
    canvas.draw(ribbon(rim[::2], 0.05 * u, (0.6, 0.6)), hat.deep, 0.9, label=_HAT)
    stitch = (0.45 * back + 0.55 * front)[1:-1:2]
    canvas.draw(ribbon(head(stitch, 0.27), 0.014 * u, (1, 1)), hat.line, 0.5, clip=visor)


def _band(canvas: Canvas, f: Figure, hat: _Hat, area: Mask | None, low: float, high: float) -> np.ndarray:
    """The ribbon round the crown between two heights; returns its colour."""
    head, u = f.head, f.head.unit
    colour = np.asarray(f.look.accent) * 0.85
    if abs(luminance(colour) - luminance(hat.base)) < 0.15:
        colour = hat.base * 0.3 if luminance(hat.base) > 0.3 else np.array([0.85, 0.82, 0.76])
    t = np.linspace(-1.1, 1.1, 9)
    arc = np.stack([t * hat.half, 0.05 * t * t], 1)
    band = canvas.mask(head(np.concatenate([arc + (0, low), arc[::-1] + (0, high)]), 0.06), clip=area)
    canvas.paint(band, colour, to=colour * 0.7, along=Linear(head((0, high)), head((0, low))))
    side = -1 if f.light > 0 else 1
    canvas.paint(band, colour * 0.35, 0.7, fade=Linear(head((side * hat.half, -0.6)), head((0, -0.6))))
    canvas.draw(ribbon(head(arc[::2] + (0, high), 0.06), 0.02 * u, (1, 1)), hat.deep, 0.5, clip=area)
    return colour


def _fedora(canvas: Canvas, f: Figure, hat: _Hat) -> None:
    head, u, w, y = f.head, f.head.unit, hat.half, hat.front
    area = _dome(canvas, f, hat, [(0.93, -0.72), (0.84, -1.02), (0.66, -1.23), (0.36, -1.25), (0, -1.15)], 0.08)
    # the pinch: two dents beside a ridge
    for s in (-1, 1):
        dent = np.array([(s * 0.06, -1.14), (s * 0.22 * w, -1.02), (s * 0.36 * w, -0.82)])
        canvas.draw(ribbon(head(dent, 0.08), 0.13 * u, (0.2, 0)), hat.deep, 0.45, blur=0.03 * u, clip=area)
    _band(canvas, f, hat, area, y - 0.08, y - 0.28)
    reach = w + 0.33
    lower = np.array([(reach, y - 0.16), (w * 1.08, y + 0.02), (w * 0.6, y + 0.035), (0, y + 0.03)])
    upper = np.array([(0, y - 0.12), (w * 0.6, y - 0.11), (w * 0.95, y - 0.13), (reach - 0.04, y - 0.24)])
    _brim(canvas, f, hat, lower, upper, 0.05)


def _sunhat(canvas: Canvas, f: Figure, hat: _Hat) -> None:
    w, y = hat.half, hat.front
    area = _dome(canvas, f, hat, [(0.97, -0.68), (0.88, -0.95), (0.58, -1.17), (0, -1.23)], 0.08)
    _band(canvas, f, hat, area, y - 0.08, y - 0.27)
    reach = w + 0.56
    lower = np.array([(reach, y + 0.42), (w + 0.30, y + 0.30), (w * 0.98, y + 0.10), (w * 0.55, y + 0.035), (0, y + 0.02)])
    upper = np.array([(0, y - 0.14), (w * 0.6, y - 0.13), (w * 0.98, y - 0.10), (w + 0.34, y + 0.06), (reach + 0.02, y + 0.33)])
    _brim(canvas, f, hat, lower, upper, 0.14)


def _brim(canvas: Canvas, f: Figure, hat: _Hat, lower: np.ndarray, upper: np.ndarray, depth: float) -> None:
    """A wide brim from its right half: `lower` from tip to middle, `upper` from middle to tip."""
    head, u = f.head, f.head.unit
    under = smooth(np.concatenate([mirror(lower), lower[-2::-1]]), 3, closed=False)
    over = smooth(upper, 3, closed=False)
    shape = np.concatenate([under, over[::-1], mirror(over)])
    y = hat.front
    brim = canvas.draw(
        head(shape, depth),
        hat.light,
        label=_HAT,
        to=mix(hat.base, hat.dark, 0.7),
        along=Linear(head((0, float(upper[:, 1].min()))), head((0, y + 0.1))),
    )
    side = -1 if f.light > 0 else 1
    canvas.paint(brim, hat.deep, 0.5, fade=Linear(head((side * (hat.half + 0.4), y)), head((side * 0.1, y))))
    canvas.draw(
        ribbon(head(np.concatenate([mirror(upper[:0:-1]), upper])[1:-1], depth), 0.05 * u, (0.4, 0.4)),
        hat.deep,
        0.55,
        blur=0.012 * u,
        clip=brim,
    )
    canvas.draw(ribbon(head(under[::3], depth), 0.035 * u, (0.5, 0.5), 3), hat.deep, 0.75, label=_HAT)


_HATS = {"beanie": _beanie, "cap": _cap, "fedora": _fedora, "sunhat": _sunhat}
