"""Solids in two and a half dimensions: each part of an object leaves surface coordinates and normals on the canvas, lit later.

Object units: x right, y up, z away from the viewer (drawn right and up, as in a cabinet drawing), the foot near (0, 0). Nothing here
knows about materials.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from magicapture.world.canvas import Canvas, Mask, disc, ellipse, smooth

TEXTURED, DARK, GLASS, CAVITY, LAMP = 1, 2, 3, 4, 5  # classes on the canvas; 0 is the backdrop
_INSIDE = 235  # OpenCV's smooth edges reach outwards: half coverage would make every bar 1.3 pixels too thick
DEPTH = np.array([0.36, 0.27])  # where one unit of z goes on the picture


class Surface:
    """What the visible point at each pixel is like: `data` (6, n, n) float32 = u, v, normal x, y, z, openness to light."""

    def __init__(self, canvas: Canvas, matrix: np.ndarray, origin: np.ndarray) -> None:
        """`matrix` (2, 2) and `origin` (2,) take object units to picture units."""
        self.canvas, self.matrix, self.origin = canvas, matrix, origin
        self.inverse = np.linalg.inv(matrix)
        self.data = np.zeros((6, canvas.n, canvas.n), np.float32)

    def place(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix.T + self.origin

    def scale(self) -> float:
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    def pixels(self, outline: np.ndarray, least: int = _INSIDE) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
        """Rows and columns of the canvas inside `outline`, and their x and y in object units, float32."""
        mask = self.canvas.mask(self.place(outline))
        if mask is None:
            none = np.zeros(0, np.float32)
            return (none.astype(int), none.astype(int)), none, none
        rows, columns = np.nonzero(mask.data > least)
        rows, columns = rows + mask.y, columns + mask.x
        px, py = (columns + 0.5) / self.canvas.n - self.origin[0], (rows + 0.5) / self.canvas.n - self.origin[1]
        i = self.inverse
        return (rows, columns), (i[0, 0] * px + i[0, 1] * py).astype(np.float32), (i[1, 0] * px + i[1, 1] * py).astype(np.float32)

    def put(self, at: tuple[np.ndarray, np.ndarray], part: int, *values: np.ndarray | float) -> None:
        for channel, value in zip(self.data, (*values, 1.0)):
            channel[at] = value
        self.canvas.labels[at] = part


class Part(Protocol):
    def outline(self) -> np.ndarray: ...

    def draw(self, surface: Surface) -> None: ...


@dataclass
class Revolved:
    """A profile turned about the vertical axis through (x, y): `radii` at rising `heights`, seen from a little above.

    `squash`: height of its circles over their width; `hollow`: share of the top circle that is open; `flutes`: grooves round it.
    """

    heights: np.ndarray
    radii: np.ndarray
    x: float = 0.0
    y: float = 0.0
    squash: float = 0.2
    hollow: float = 0.0
    flutes: int = 0
    part: int = TEXTURED

    def outline(self) -> np.ndarray:
        t = np.linspace(0, np.pi, 17)
        arc, e = np.stack([np.cos(t), np.sin(t)], 1), self.squash
        top = arc * self.radii[-1] * (1, e) + (0, self.heights[-1])
        foot = arc[::-1] * self.radii[0] * (1, -e) + (0, self.heights[0])
        side = np.stack([self.radii, self.heights], 1)
        return np.concatenate([side, top, side[::-1] * (-1, 1), foot]) + (self.x, self.y)

    def draw(self, surface: Surface) -> None:
        at, x, y = surface.pixels(self.outline())
        x, y = x - np.float32(self.x), y - np.float32(self.y)
        low, high = self.heights[0], self.heights[-1]
        grid = np.linspace(low, high, 96)
        radius = np.interp(grid, self.heights, self.radii)
        slope = np.gradient(np.convolve(np.pad(radius, 2, "edge"), np.ones(5) / 5, "valid"), grid)
        step = 95 / (high - low)
        h = y
        for _ in range(3):  # the front of a circle hangs below its middle
            index = np.clip((h - low) * step, 0, 95).astype(np.int32)
            r = radius[index].astype(np.float32)
            t = np.clip(x / (r + 1e-6), -1, 1)
            c = np.sqrt(1 - t * t)
            h = np.clip(y + self.squash * r * c, low, high)
        angle = np.arcsin(t)
        nx = t + (0.45 * np.sin(self.flutes * angle) if self.flutes else 0)
        ny = -slope[index] + self.squash
        size = np.sqrt(nx * nx + ny * ny + c * c) + 1e-6
        mean = float(radius.mean()) * 0.6
        surface.put(at, self.part, angle * (mean + 0.4 * r), h + self.y, nx / size, ny / size, c / size)
        top = self.radii[-1]
        if top > 0.02:
            lid = ellipse(self.x, self.y + high, top, top * self.squash)
            at, x, y = surface.pixels(lid)
            surface.put(at, self.part, x, y + self.y, 0.0, 0.9, 0.44)
        if self.hollow and top > 0.02:
            at, x, y = surface.pixels(ellipse(self.x, self.y + high, top * self.hollow, top * self.hollow * self.squash))
            t = (x - self.x) / top
            surface.put(at, CAVITY, x, y, -t, 0.2, np.sqrt(np.clip(1 - t * t, 0.05, 1)))


@dataclass
class Tube:
    """A round bar along the smooth `path` (k, 2); `widths`: thickness at start and end."""

    path: np.ndarray
    widths: tuple[float, float]
    part: int = TEXTURED

    def _line(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        line = smooth(self.path, 6, closed=False)
        way = np.gradient(line, axis=0)
        way /= np.hypot(way[:, 0], way[:, 1])[:, None] + 1e-9
        return line, way, np.linspace(self.widths[0], self.widths[1], len(line)) / 2

    def outline(self) -> np.ndarray:
        line, way, half = self._line()
        across = way[:, ::-1] * (-1, 1) * half[:, None]
        return np.concatenate([line + across, (line - across)[::-1]])

    def draw(self, surface: Surface) -> None:
        line, way, half = self._line()
        at, x, y = surface.pixels(self.outline())
        if not len(x):
            return
        nearest = ((x[:, None] - line[:, 0]) ** 2 + (y[:, None] - line[:, 1]) ** 2).argmin(1)
        dx, dy = x - line[nearest, 0], y - line[nearest, 1]
        wx, wy = way[nearest, 0], way[nearest, 1]
        a = np.clip((dy * wx - dx * wy) / half[nearest], -1, 1)
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        along = length[nearest] + dx * wx + dy * wy
        surface.put(at, self.part, np.arcsin(a) * half[nearest], along, -wy * a, wx * a, np.sqrt(1 - a * a))


@dataclass
class Prism:
    """The outline `profile` (k, 2) facing the viewer at depth `z`, extruded `depth` away; `bulge`: how far the face is domed."""

    profile: np.ndarray
    depth: float
    z: float = 0.0
    bulge: float = 0.25
    part: int = TEXTURED

    def outline(self) -> np.ndarray:
        near = self.profile + DEPTH * self.z
        return np.concatenate([near, near + DEPTH * self.depth])

    def draw(self, surface: Surface) -> None:
        p = self.profile + DEPTH * self.z
        q = np.roll(p, -1, 0)
        if float((p[:, 0] * q[:, 1] - q[:, 0] * p[:, 1]).sum()) < 0:
            p = p[::-1]
            q = np.roll(p, -1, 0)
        edge = q - p
        length = np.hypot(edge[:, 0], edge[:, 1]) + 1e-9
        out = np.stack([edge[:, 1], -edge[:, 0]], 1) / length[:, None]
        back = DEPTH * self.depth
        for i in np.flatnonzero(out @ DEPTH > 1e-3):
            at, x, y = surface.pixels(np.array([p[i], q[i], q[i] + back, p[i] + back]), 200)  # facets overlap: no gap shows
            inverse = np.linalg.inv(np.stack([edge[i], back], 1))
            z = (inverse[1, 0] * (x - p[i, 0]) + inverse[1, 1] * (y - p[i, 1])) * self.depth
            nx, ny = out[i]
            x, y = x - DEPTH[0] * z, y - DEPTH[1] * z
            # the pattern turns at one edge only: facets of a rounded corner must not each shift it
            u, v = (x, y + z) if abs(ny) > abs(nx) else (x + z, y)
            surface.put(at, self.part, u, v, nx * 0.96, ny * 0.96, 0.28)
        at, x, y = surface.pixels(p)
        low, high = p.min(0), p.max(0)
        middle, half = (low + high) / 2, (high - low) / 2 + 1e-6
        nx, ny = self.bulge * ((x - middle[0]) / half[0]), self.bulge * ((y - middle[1]) / half[1])
        size = np.sqrt(nx * nx + ny * ny + 1)
        surface.put(at, self.part, x - DEPTH[0] * self.z, y - DEPTH[1] * self.z, nx / size, ny / size, 1 / size)


@dataclass
class Wheel:
    """A wheel facing the viewer about (x, y): a tyre, and a hub with `spokes` holes (0: a full disc)."""

    x: float
    y: float
    radius: float
    hub: float = 0.6
    spokes: int = 5
    width: float = 0.12

    def outline(self) -> np.ndarray:
        return np.concatenate([ellipse(self.x, self.y, self.radius), disc(DEPTH * self.width + (self.x, self.y), self.radius)])

    def draw(self, surface: Surface) -> None:
        for t in np.linspace(1, 0, 4):
            at, x, y = surface.pixels(disc(DEPTH * self.width * t + (self.x, self.y), self.radius, count=32))
            dx, dy = (x - self.x) / self.radius, (y - self.y) / self.radius
            lean = 0.8 * np.clip(np.hypot(dx, dy) - 0.72, -0.3, 0.3) * 3
            surface.put(at, DARK, x, y, dx * lean, dy * lean, 0.75)
        rim = self.radius * self.hub
        at, x, y = surface.pixels(ellipse(self.x, self.y, rim))
        dx, dy = (x - self.x) / rim, (y - self.y) / rim
        surface.put(at, TEXTURED, x, y, dx * 0.6, dy * 0.6, 0.75)
        for k in range(self.spokes):
            a = 2 * np.pi * (k + 0.25) / self.spokes
            hole = ellipse(self.x + 0.6 * rim * np.cos(a), self.y + 0.6 * rim * np.sin(a), 0.26 * rim, 0.8 * rim / self.spokes, a, 12)
            Decal(hole, DARK).draw(surface)


@dataclass
class Decal:
    """A flat shape of another material on what is there already: a window, a lamp."""

    shape: np.ndarray
    part: int

    def outline(self) -> np.ndarray:
        return self.shape

    def draw(self, surface: Surface) -> None:
        at, _, _ = surface.pixels(self.shape)
        surface.canvas.labels[at] = np.where(surface.canvas.labels[at] > 0, self.part, 0)


@dataclass
class Shade:
    """Less light on what is there already, where a part hangs over another or a joint runs; `blur` in object units."""

    shape: np.ndarray
    strength: float = 0.6
    blur: float = 0.03

    def outline(self) -> np.ndarray:
        return np.zeros((0, 2))

    def draw(self, surface: Surface) -> None:
        mask: Mask | None = surface.canvas.mask(surface.place(self.shape), self.blur * surface.scale())
        if mask is not None:
            h, w = mask.data.shape
            surface.data[5, mask.y : mask.y + h, mask.x : mask.x + w] *= 1 - mask.data * np.float32(self.strength / 255)
