"""What materials look like close up: patterns as functions of the surface coordinates u (round the form) and v (up it).

An object is about 1 across; colours are RGB in [0, 1]; each pattern takes three colours and a seed.
"""

from dataclasses import dataclass

import numpy as np

Colours = tuple[tuple[float, float, float], ...]
Array = np.ndarray


@dataclass
class Skin:
    """A pattern on the visible surface (h, w): `colour` (3, h, w), relief as `bump` along u and v, own light as `glow` (3, h, w)."""

    colour: Array
    bump: tuple[Array, Array] | None = None
    glow: Array | None = None


def _hash(i: Array, j: Array, seed: int) -> Array:
    """A number in [0, 1) for each cell of a grid."""
    table = np.random.default_rng([seed, 31]).random((64, 64), np.float32)
    return table[i.astype(np.int32) & 63, j.astype(np.int32) & 63]


def noise(x: Array, y: Array, seed: int) -> Array:
    """Smooth value noise in [0, 1], one hump a unit."""
    i, j = np.floor(x), np.floor(y)
    a, b = x - i, y - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    table = np.random.default_rng([seed, 31]).random((64, 64), np.float32)
    i, j = i.astype(np.int32) & 63, j.astype(np.int32) & 63
    k, m = (i + 1) & 63, (j + 1) & 63
    low = table[i, j] * (1 - a) + table[k, j] * a
    return low * (1 - b) + (table[i, m] * (1 - a) + table[k, m] * a) * b


def _step(x: Array, edge: Array | float, soft: float) -> Array:
    """0 below `edge`, 1 above, a ramp `soft` wide between."""
    return np.clip((x - edge) / soft + 0.5, 0, 1)


def _blend(colours: Colours, *shares: Array) -> Array:
    """The first colour, then each further one laid over by its share (h, w): (3, h, w)."""
    out = np.broadcast_to(np.asarray(colours[0], np.float32)[:, None, None], (3, *shares[0].shape)).copy()
    for colour, share in zip(colours[1:], shares):
        out += (np.asarray(colour, np.float32)[:, None, None] - out) * share
    return out


def _cells(x: Array, y: Array, seed: int, jitter: float = 0.75) -> tuple[Array, Array]:
    """Distance to the nearest border between scattered cells, and a number in [0, 1) for each cell."""
    i, j = np.floor(x), np.floor(y)
    best, second, name = np.full(x.shape, 9, np.float32), np.full(x.shape, 9, np.float32), np.zeros(x.shape, np.float32)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            a, b = i + di, j + dj
            number = _hash(a, b, seed)
            px, py = a + 0.5 + jitter * (number - 0.5), b + 0.5 + jitter * (_hash(b, a, seed + 1) - 0.5)
            distance = np.hypot(x - px, y - py)
            nearer = distance < best
            second = np.where(nearer, best, np.minimum(second, distance))
            name = np.where(nearer, number, name)
            best = np.minimum(best, distance)
    return second - best, (name * 7.31) % 1


def ceramic(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    edge = 0.33 + 0.16 * noise(u * 6, np.zeros_like(u), seed) + 0.06 * noise(u * 15, np.zeros_like(u), seed + 1)
    if seed % 4 == 0:
        edge = np.full_like(v, -1)  # dipped whole
    glazed = _step(v, edge, 0.015)
    pool = glazed * _step(-v, -edge - 0.07, 0.12)  # glaze gathers at its lower edge
    cloud = noise(u * 5, v * 5, seed + 2) * 0.8
    colour = _blend((colours[2], colours[0], colours[1]), glazed, glazed * np.clip(cloud - 0.15 + 0.7 * pool, 0, 1))
    slope = (glazed - _step(v, edge, 0.05)) * 0.8
    return Skin(colour, (np.zeros_like(u), slope))


def wood(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    warp = noise(u * 3, v * 1.1, seed) * 2.6 + noise(u * 9, v * 2.5, seed + 1) * 0.4
    ring = (u * 6.5 + warp) % 1
    dark = np.where(ring < 0.82, ring / 0.82, (1 - ring) / 0.18) ** 1.6
    streak = noise(u * 46, v * 3, seed + 2)
    return Skin(_blend(colours, dark * 0.9, _step(streak, 0.72, 0.3) * 0.4))


def marble(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    n = noise(u * 3, v * 3, seed) + 0.5 * noise(u * 7, v * 7, seed + 1) + 0.25 * noise(u * 16, v * 16, seed + 2)
    vein = np.abs(np.sin((u * 0.8 + v * 0.55) * 5.5 + 5.5 * n))
    thin = np.abs(np.sin((u * 0.5 - v * 0.9) * 6 + 5 * n + 1))
    cloud = noise(u * 3.5 + n, v * 3.5, seed + 3)
    return Skin(
        _blend((colours[0], colours[1], colours[1], colours[2]), cloud * 0.3, _step(-thin, -0.1, 0.16) * 0.5, _step(-vein, -0.15, 0.24))
    )


def metal(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    brushed = noise(u * 4, v * 70, seed) - 0.5
    return Skin(_blend(colours, np.clip(0.25 + brushed * 0.5, 0, 1)), (np.zeros_like(u), brushed * 0.3))


def chrome(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    return Skin(_blend(colours, np.full_like(u, 0.1)))


def polka(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    x, y = u / 0.2, v / 0.17
    row = np.floor(y)
    x = x + 0.5 * (row % 2)
    d = np.hypot((x % 1 - 0.5) * 0.2, (y % 1 - 0.5) * 0.17)
    pick = _hash(np.floor(x), row, seed) if seed % 2 else np.zeros_like(u)
    dot = _step(-d, -0.052, 0.012)
    return Skin(_blend(colours, dot, dot * (pick > 0.5)))


def striped(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    way = (v, v, v + 0.9 * u)[seed % 3]
    p = (way / 0.24) % 1
    return Skin(_blend(colours, _step(-np.abs(p - 0.5), -0.25, 0.05), _step(-np.abs(p - 0.5), -0.07, 0.05)))


def plaid(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    def band(x: Array) -> tuple[Array, Array]:
        p = (x / 0.3) % 1
        return _step(-np.abs(p - 0.5), -0.24, 0.03), _step(-np.minimum(p, 1 - p), -0.055, 0.03)

    (wide_u, thin_u), (wide_v, thin_v) = band(u), band(v)
    return Skin(
        _blend((colours[0], colours[1], colours[1], colours[2], colours[2]), wide_u * 0.55, wide_v * 0.55, thin_u * 0.8, thin_v * 0.8)
    )


def floral(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    size = 0.29
    x, y = u / size, v / size
    leaf, petal, heart, other = (np.zeros_like(u) for _ in range(4))
    x = x + 0.5 * (np.floor(y) % 2)
    i, j = np.floor(x), np.floor(y)
    one, two = _hash(i, j, seed), _hash(j, i, seed + 1)
    dx, dy = x - i - 0.5 - 0.16 * (one - 0.5), y - j - 0.5 - 0.16 * (two - 0.5)
    r, a = np.hypot(dx, dy), np.arctan2(dy, dx) + one * 6
    leaf = _step(0.47 * np.abs(np.cos(a + 0.6)) ** 3 - r, 0, 0.06)
    petal = _step((0.27 + 0.06 * two) * (0.72 + 0.28 * np.cos(5 * a)) + 0.06 - r, 0, 0.06)
    other = petal * (two > 0.55)
    heart = _step(0.11 - r, 0, 0.06)
    green = (0.25, 0.5, 0.27)
    vine = _step(-np.abs(np.sin(v * 9 + 1.2 * np.sin(u * 8))), -0.07, 0.08) * 0.6
    return Skin(_blend((colours[0], green, green, colours[1], colours[2], (0.98, 0.84, 0.3)), vine, leaf, petal, other, heart))


def mosaic(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    border, name = _cells(u / 0.115, v / 0.115, seed)
    tile = _step(border, 0.15, 0.1)
    rgb = _blend(colours, (name > 0.38).astype(np.float32), (name > 0.74).astype(np.float32))
    rgb *= 0.78 + 0.44 * ((name * 13.7) % 1)
    grout = np.asarray((0.86, 0.83, 0.77), np.float32)[:, None, None]
    lean = (((name * 5.3) % 1 - 0.5) * 0.5, ((name * 9.1) % 1 - 0.5) * 0.5)
    return Skin(grout + (rgb - grout) * tile, lean)


def lava(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    w = noise(u * 7, v * 7, seed + 5) * 0.5
    border, name = _cells(u / 0.2 + w, v / 0.2 + w, seed, 0.9)
    crack = _step(-border, -0.1, 0.14)
    halo = np.clip(1 - border / 0.55, 0, 1) ** 2
    heat = 0.55 + 0.45 * noise(u * 4, v * 4, seed + 3)
    hot, bright = (np.asarray(c, np.float32)[:, None, None] for c in colours[1:])
    glow = hot * (halo * 0.75 * heat) + bright * (crack * heat)
    rough = noise(u * 22, v * 22, seed + 4)
    return Skin(_blend((colours[0], (0.02, 0.02, 0.02)), rough * 0.4), ((name - 0.5) * 0.7, (rough - 0.5) * 0.7), glow)


def ice(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    border, name = _cells(u / 0.3 + 0.3 * noise(u * 4, v * 4, seed), v / 0.26, seed, 0.95)
    crack = _step(-border, -0.035, 0.06)
    frost = noise(u * 9, v * 9, seed + 2) * noise(u * 23, v * 23, seed + 3)
    lean = ((name - 0.5) * 0.55, ((name * 5.3) % 1 - 0.5) * 0.55)
    return Skin(_blend((colours[0], colours[1], colours[2], (1, 1, 1)), name * 0.8, frost * 0.9, crack * 0.75), lean)


def knitted(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    x, y = u / 0.085, v / 0.062
    a = x % 1 - 0.5
    slant = y + 1.1 * np.abs(a)  # each stitch is a V
    row = slant % 1
    strand = np.sqrt(np.clip(1 - (2 * row - 1) ** 2, 0, 1)) * (1 - _step(-np.abs(a), -0.06, 0.1) * 0.6) * _step(0.5 - np.abs(a), 0.03, 0.1)
    band = np.floor(slant) % 9
    stitch = np.floor(x)
    one = ((band == 2) | (band == 6)).astype(np.float32) + ((band == 4) & (stitch % 2 == 0))
    two = ((band == 3) & (stitch % 2 == 0)) | ((band == 5) & (stitch % 2 == 1))
    colour = _blend(colours, np.clip(one, 0, 1), two.astype(np.float32)) * (0.5 + 0.58 * strand)
    return Skin(colour, (np.where(a > 0, 0.25, -0.25) * strand, (row - 0.5) * 0.8))


def porcelain(colours: Colours, seed: int, u: Array, v: Array) -> Skin:
    x, y = u / 0.34, v / 0.36
    i, j = np.floor(x), np.floor(y)
    dx, dy = x - i - 0.5, y - j - 0.5
    r, a = np.hypot(dx, dy), np.arctan2(dy, dx)
    flower = _step(0.3 * (0.65 + 0.35 * np.cos(8 * a)) - r, 0, 0.06) * _step(np.abs(r - 0.13), 0.035, 0.04)
    scroll = _step(-np.abs(r - 0.43 - 0.05 * np.cos(6 * a)), -0.035, 0.05)
    edge = np.minimum(y % 1, 1 - y % 1)
    line = _step(-edge, -0.05, 0.04)
    shade = noise(u * 8, v * 8, seed) * 0.25
    return Skin(_blend((colours[0], colours[1], colours[2], colours[2], colours[1]), shade * 0.3, scroll * 0.75, flower, line))
