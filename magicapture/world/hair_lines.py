"""The lines of the hair styles in head coordinates: domes, hairlines, locks and the way strands flow."""

import numpy as np

from magicapture.world.canvas import Points, smooth
from magicapture.world.figure import Figure, mirror

LONG = ("bob", "bangs", "long", "wavy")


def hair_length(f: Figure) -> float:
    low, high = {"bob": (0.62, 0.9), "bangs": (0.75, 1.35), "long": (1.3, 2.0), "wavy": (1.15, 1.8)}[f.person.hair_style]
    return low + (high - low) * f.person.hair_length


def dome_line(f: Figure, volume: float, side_y: float, flare: float = 0.0) -> np.ndarray:
    """The outer line of the hair from the left side over the crown to the right side, in head coordinates."""
    p = f.person
    w, v = p.cheek + volume * 0.85, volume
    right = [
        (w + flare, side_y),
        (w + flare * 0.5, side_y * 0.5 - 0.2),
        (w * 0.95, -0.52),
        (w * 0.72, -0.84 - 0.55 * v),
        (w * 0.38, -0.99 - v * 0.92),
        (0, -1.03 - v),
    ]
    return np.array([(-x, y) for x, y in right] + right[:-1][::-1])


def hairline(f: Figure, drop: float = 0.0, temple: float = 0.02) -> np.ndarray:
    """The hairline from the right temple across the forehead to the left, in head coordinates."""
    p = f.person
    y = p.hairline + drop
    right = np.array([(p.cheek * 0.985, temple), (p.cheek * 0.90, -0.12), (p.forehead * 0.86, -0.34), (p.forehead * 0.66, y + 0.03)])
    return np.concatenate([right, [(p.forehead * 0.3, y - 0.015), (0, y + 0.01), (-p.forehead * 0.3, y - 0.015)], mirror(right[::-1])])


def _cap(dome: np.ndarray, inner: np.ndarray) -> np.ndarray:
    return np.concatenate([smooth(dome, 5, closed=False), smooth(inner, 5, closed=False)])


def shaved_line(f: Figure) -> np.ndarray:
    """The outline of hair cut short all over."""
    return _cap(dome_line(f, 0.025, 0.0), hairline(f))


def _flow(start: Points, ends: Points, bulge: float = 0.12) -> list[np.ndarray]:
    """Strands from around `start` to each of `ends`, bulging outwards as hair over a skull does."""
    strands = []
    for end in ends:
        a = np.asarray(start) + 0.18 * (end - start) * (1, 0)
        middle = (a + end) / 2 + (np.sign(end[0] - start[0]) * bulge, -bulge)
        strands.append(np.array([a, middle, end]))
    return strands


def front_shapes(f: Figure) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The polygons of the hair before the face, and the lines its strands follow, in head coordinates."""
    p, style = f.person, f.person.hair_style
    v, line = p.hair_volume, p.hairline
    side = 1 if p.part > 0 else -1
    if style in ("bun", "ponytail"):
        dome = dome_line(f, v * 0.45, -0.02)
        inner = hairline(f, -0.03, 0.0)
        ends = smooth(inner, 3, closed=False)[2:-2:2]
        return [_cap(dome, inner)], [np.array([e, (e * 0.80 + (0.02 * p.part, -0.34)), (0.1 * p.part + 0.15 * e[0], -1.1)]) for e in ends]
    if style == "short":
        inner = hairline(f, 0.05, 0.0)
        edge = smooth(inner, 4, closed=False)
        zigzag = 0.028 * np.where(np.arange(len(edge)) % 3 == 0, 1.0, -0.4)
        edge[10:-10, 1] += zigzag[10:-10]
        cap = np.concatenate([smooth(dome_line(f, v, -0.02), 5, closed=False), edge])
        return [cap], _flow((0.12 * side, -1.02 - 0.5 * v), edge[3:-3:3], 0.09)
    if style == "spiky":
        dome = smooth(dome_line(f, v * 0.6, -0.02), 5, closed=False)
        middle = (len(dome) - 1) / 2
        k = np.arange(len(dome))
        away = dome - (0, -0.2)
        away /= np.hypot(*away.T)[:, None]
        height = np.where(k % 4 == 2, 1.0, 0.0) * np.clip(1.25 - np.abs(k - middle) / middle * 1.2, 0, 1)
        dome = dome + away * (height * (0.16 + 0.5 * v))[:, None]
        edge = smooth(hairline(f, 0.04), 4, closed=False)
        edge[9:-9, 1] += 0.06 * np.where(np.arange(len(edge)) % 4 == 0, 1.0, -0.5)[9:-9]
        tips = dome[2::4]
        return [np.concatenate([dome, edge])], [np.array([t * 0.98, t * 0.86, t * (0.7, 0.66)]) for t in tips] + _flow(
            (0, -0.95), edge[4:-4:4], 0.06
        )
    if style == "parted":
        dome = dome_line(f, v, 0.0)
        x = p.forehead
        sweep = np.array(
            [
                (x * 1.04, 0.02),
                (x * 0.99, -0.16),
                (x * 0.86, -0.40),
                (x * 0.52, line + 0.01),
                (x * 0.38, line - 0.14),
                (x * 0.2, line - 0.02),
                (-x * 0.2, line + 0.12),
                (-x * 0.62, line + 0.20),
                (-x * 0.93, -0.20),
                (-x * 1.04, 0.02),
            ]
        )
        if side < 0:
            sweep = mirror(sweep)[::-1]
        start = np.array([side * x * 0.40, line - 0.18])
        edge = smooth(sweep, 3, closed=False)
        return [_cap(dome, sweep)], _flow(start, edge[2:-2:2], 0.14)
    if style in ("mohawk", "quiff"):
        return _mohawk(f) if style == "mohawk" else _quiff(f, side)
    if style in ("braids", "pigtails", "dreadlocks"):
        # flat on the skull and parted in the middle
        dome = dome_line(f, 0.02 + v * 0.5, 0.08)
        notch = line - (0.17 if style != "dreadlocks" else 0.10)
        right = np.array([(p.cheek * 1.0, 0.08), (p.cheek * 0.94, -0.14), (p.forehead * 0.74, -0.36), (p.forehead * 0.34, line + 0.0)])
        inner = np.concatenate([right, [(0.02, notch), (-0.02, notch)], mirror(right[::-1])])
        ends = smooth(inner, 3, closed=False)
        return [_cap(dome, inner)], _flow((0, -1.02 - 0.5 * v), np.concatenate([ends[:11:2], ends[-11::2]]), 0.16)
    dome = dome_line(f, v, 0.1)
    if style == "bangs":
        y = -0.14 - 0.12 * (p.part * 0.5 + 0.5)
        x = p.cheek
        edge = np.array([(x * 0.80, y + 0.03), (x * 0.4, y - 0.01), (0, y), (-x * 0.4, y - 0.01), (-x * 0.80, y + 0.03)])
        edge = smooth(edge, 5, closed=False)
        edge[1:-1, 1] += 0.022 * np.where(np.arange(len(edge) - 2) % 3 == 0, -1.0, 0.4)
        locks = _locks(f, hair_length(f), inner=0.83)
        ends = edge[::2]
        fringe = np.concatenate(
            [smooth(dome, 5, closed=False), [(x * 0.98, 0.1), (x * 0.83, 0.1)], edge, [(-x * 0.83, 0.1), (-x * 0.98, 0.1)]]
        )
        return [fringe, *locks], _flow((0.1 * p.part, -1.0 - v), ends, 0.12) + _lock_strands(f, hair_length(f))
    # bob, long and wavy part above the forehead and fall along the cheeks
    x, part = p.cheek, 0.5 * p.part * p.forehead
    inner = np.array(
        [
            (x * 0.84, 0.12),
            (x * 0.83, -0.12),
            (p.forehead * 0.72 + 0.1 * part, line + 0.12),
            (part + 0.14, line - 0.10),
            (part, line - 0.2),
            (part - 0.14, line - 0.10),
            (-p.forehead * 0.72 + 0.1 * part, line + 0.12),
            (-x * 0.83, -0.12),
            (-x * 0.84, 0.12),
        ]
    )
    shapes = [np.concatenate([smooth(dome, 5, closed=False), smooth(inner, 5, closed=False)]), *_locks(f, hair_length(f), 0.82)]
    edge = smooth(inner, 3, closed=False)
    return shapes, _flow((part, -1.0 - v * 0.9), np.concatenate([edge[1:9:2], edge[-9:-1:2]]), 0.17) + _lock_strands(f, hair_length(f))


def _locks(f: Figure, end: float, inner: float) -> list[np.ndarray]:
    """The two curtains of hair beside the cheeks, from the temples down to `end`."""
    p = f.person
    x, w = p.cheek, p.cheek + p.hair_volume * 0.85
    wavy = p.hair_style == "wavy"
    t = np.linspace(0, 1, 9)
    y = 0.0 + t * end * 0.98
    wave = 0.05 * np.sin(t * 13 + 5 * p.part) if wavy else 0 * t
    curl = {"bob": -0.12, "bangs": -0.05}.get(p.hair_style, 0.05) * t**3
    out = np.stack([w + 0.02 + 0.06 * t + wave, y], 1)
    width = 0.10 + (0.2 if wavy else 0.14) * t - 0.16 * t**5 * (end > 1.1)
    into = np.stack([np.minimum(x * inner + 0.10 * t + curl + 0.8 * wave, out[:, 0] - 0.4 * width), y], 1)
    outline = smooth(np.concatenate([out, [((out[-1, 0] + into[-1, 0]) / 2, end + 0.04)], into[::-1], [(x * inner, -0.25), (w, -0.25)]]), 3)
    return [outline, mirror(outline)]


def _lock_strands(f: Figure, end: float) -> list[np.ndarray]:
    p = f.person
    strands = []
    for side in (-1, 1):
        for k in range(4):
            x = p.cheek * 0.88 + 0.055 * k
            wave = 0.05 if p.hair_style == "wavy" else 0.0
            t = np.linspace(0, 1, 6)
            line = np.stack([x + 0.06 * t + wave * np.sin(t * 13 + 5 * p.part), -0.2 + t * (end + 0.1)], 1)
            strands.append(line * (side, 1))
    return strands


def _mohawk(f: Figure) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A crest of spikes over the middle of a shaved head."""
    p = f.person
    foot, high = p.hairline + 0.05, 0.20 + 0.75 * p.hair_volume
    t = np.linspace(-1, 1, 15)
    spike = np.where(np.arange(15) % 2 == 1, 1.0, 0.62)
    tips = np.stack([t * (0.30 + 0.10 * spike), -1.0 - high * spike * (1 - 0.35 * t * t)], 1)
    crest = np.concatenate(
        [[(-0.16, foot), (-0.20, -0.80)], tips, [(0.20, -0.80), (0.16, foot), (0.08, foot + 0.05), (0, foot - 0.01), (-0.07, foot + 0.05)]]
    )
    return [crest], [np.array([(0.30 * x, foot + 0.02), (0.55 * x, -0.85), (0.97 * x, y)]) for x, y in tips[1::2]] * 2


def _quiff(f: Figure, side: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Shaved sides below a tall wave that is brushed up from the forehead and over to one side."""
    p = f.person
    line, high, w = p.hairline, 0.20 + 0.6 * p.hair_volume, p.forehead
    wave = np.array(
        [
            (-w * 0.86, -0.56),
            (-w * 0.98, -0.78),
            (-w * 0.80, -1.0 - 0.35 * high),
            (-w * 0.30, -1.02 - 0.85 * high),
            (w * 0.35, -1.04 - 1.0 * high),
            (w * 0.95, -1.02 - 0.72 * high),
            (w * 1.22, -0.90 - 0.2 * high),
            (w * 1.04, -0.74),
            (w * 0.84, -0.54),
        ]
    )
    root = np.array([(w * 0.62, line + 0.02), (w * 0.2, line + 0.05), (-w * 0.3, line + 0.02), (-w * 0.66, line + 0.03)])
    shape = np.concatenate([smooth(wave, 4, closed=False), smooth(root, 4, closed=False)])
    strands = []
    for k, a in enumerate(np.linspace(-0.75, 0.75, 9)):
        top = (w * (a * 0.8 + 0.32), -1.0 - high * (0.92 - 0.35 * a * a))
        strands.append(np.array([(w * a * 0.85, line + 0.03), (w * (a * 1.0 - 0.10), -0.80 - 0.03 * (k % 2)), top]))
    turn = (side, 1)
    return [shape * turn], [strand * turn for strand in strands]
