"""A small layered rasteriser: filled polygons on a supersampled canvas, with an exact map of classes beside the colours.

Everything is placed in picture units: x and y in [0, 1] from the top left corner, whatever the size in pixels.
Colours are triples of floats in [0, 1]. Nothing here knows about people.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

Points = Any  # what numpy takes for points or a colour: arrays, lists or tuples of numbers
Polygons = np.ndarray | list[np.ndarray]
_SHIFT = 4  # bits of sub-pixel precision in OpenCV's polygon filler


@lru_cache(maxsize=256)
def _basis(count: int, steps: int, closed: bool) -> np.ndarray:
    """Catmull-Rom as one matrix (samples, count): splines are drawn by the hundred, so the weights are kept."""
    spans = count if closed else count - 1
    t = np.linspace(0, 1, steps, endpoint=False)
    weights = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], 1) / 2
    rows = np.zeros((spans * steps + (not closed), count))
    for span in range(spans):
        for k in range(4):
            index = span - 1 + k
            index = index % count if closed else min(max(index, 0), count - 1)
            rows[span * steps : (span + 1) * steps, index] += weights[:, k]
    if not closed:
        rows[-1, -1] = 1
    return rows


def smooth(points: Points, steps: int = 5, closed: bool = True) -> np.ndarray:
    """A smooth curve through `points` (n, 2): (n * steps, 2), or with both ends when open."""
    points = np.asarray(points, np.float64)
    return _basis(len(points), steps, closed) @ points


@lru_cache(maxsize=64)
def _circle(count: int) -> tuple[np.ndarray, np.ndarray]:
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.cos(t), np.sin(t)


@lru_cache(maxsize=256)
def _profile(count: int, first: float, last: float) -> np.ndarray:
    """How wide a ribbon is along its way, as a share of its width."""
    t = np.linspace(0, 1, count)
    return np.maximum(np.sqrt(np.clip(4 * t * (1 - t), 0, 1)), first * (1 - t) + last * t)[:, None]


def ellipse(x: Any, y: Any, rx: Any, ry: Any = None, angle: Any = 0.0, count: int = 24) -> np.ndarray:
    """An ellipse as a polygon (count, 2); `angle` in radians."""
    circle = _circle(count)
    u, v = rx * circle[0], (rx if ry is None else ry) * circle[1]
    out = np.empty((count, 2))
    if angle:
        c, s = np.cos(angle), np.sin(angle)
        u, v = c * u - s * v, s * u + c * v
    out[:, 0], out[:, 1] = u + x, v + y
    return out


def disc(centre: Points, rx: Any, ry: Any = None, angle: Any = 0.0, count: int = 24) -> np.ndarray:
    """An ellipse about the point `centre`."""
    return ellipse(centre[0], centre[1], rx, ry, angle, count)


def ribbon(path: Points, width: float, taper: tuple[float, float] = (0.0, 0.0), steps: int = 4) -> np.ndarray:
    """A stroke along the smooth open `path` (n, 2) as a polygon; `taper`: share of the width left at start and end."""
    line = smooth(path, steps, closed=False)
    direction = np.empty_like(line)
    direction[1:-1] = line[2:] - line[:-2]
    direction[0], direction[-1] = line[1] - line[0], line[-1] - line[-2]
    direction /= np.hypot(direction[:, 0], direction[:, 1])[:, None] + 1e-9
    normal = direction[:, ::-1] * (-1, 1) * (width / 2 * _profile(len(line), *taper))
    return np.concatenate([line + normal, (line - normal)[::-1]])


@dataclass
class Mask:
    """Coverage 0..255 of a part of the canvas whose top left pixel is (x, y)."""

    x: int
    y: int
    data: np.ndarray


class Linear:
    """0 at point `a`, 1 at point `b`, clamped outside, smoothed at both ends."""

    def __init__(self, a: Points, b: Points, soft: bool = True) -> None:
        self.a, self.b, self.soft = np.asarray(a, float), np.asarray(b, float), soft

    def values(self, n: int, mask: Mask) -> np.ndarray:
        h, w = mask.data.shape
        d = self.b - self.a
        d = d / (d @ d + 1e-12)
        xs = ((np.arange(mask.x, mask.x + w, dtype=np.float32) + 0.5) / n - self.a[0]) * d[0]
        ys = ((np.arange(mask.y, mask.y + h, dtype=np.float32) + 0.5) / n - self.a[1]) * d[1]
        t = np.clip(xs.astype(np.float32)[None] + ys.astype(np.float32)[:, None], 0, 1)
        return t * t * (3 - 2 * t) if self.soft else t


class Radial:
    """0 at the centre, 1 at the ellipse of the given radii and beyond."""

    def __init__(self, centre: Points, rx: float, ry: float | None = None, power: float = 1.0) -> None:
        self.centre, self.rx, self.ry, self.power = centre, rx, rx if ry is None else ry, power

    def values(self, n: int, mask: Mask) -> np.ndarray:
        h, w = mask.data.shape
        xs = ((np.arange(mask.x, mask.x + w, dtype=np.float32) + 0.5) / n - np.float32(self.centre[0])) / np.float32(self.rx)
        ys = ((np.arange(mask.y, mask.y + h, dtype=np.float32) + 0.5) / n - np.float32(self.centre[1])) / np.float32(self.ry)
        t = np.minimum((xs * xs)[None] + (ys * ys)[:, None], 1)
        return t if self.power == 1.0 else t ** np.float32(self.power)


class Canvas:
    """Colours (3, n, n) float32 in [0, 1] and classes (n, n) uint8, at `size * supersampling` pixels a side."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.factor = 3 if size < 128 else 2
        self.n = size * self.factor
        self.rgb = np.zeros((3, self.n, self.n), np.float32)
        self.labels = np.zeros((self.n, self.n), np.uint8)
        self.all = Mask(0, 0, np.full((self.n, self.n), 255, np.uint8))

    def mask(self, polygons: Polygons, blur: float = 0.0, clip: Mask | None = None) -> Mask | None:
        """The coverage of one polygon or the union of several (k, 2); `blur`: sigma in picture units. None if nothing is inside."""
        polygons = [polygons] if isinstance(polygons, np.ndarray) else polygons
        n = self.n
        points = polygons[0] * n - 0.5 if len(polygons) == 1 else np.concatenate(polygons) * n - 0.5
        low, high = points.min(0), points.max(0)
        sigma = blur * n
        pad = 2 + 2.5 * sigma
        x0, y0 = (max(int(v - pad), 0) for v in low)
        x1, y1 = (min(int(v + pad) + 2, n) for v in high)
        if clip is not None:
            x0, y0 = max(x0, clip.x), max(y0, clip.y)
            x1, y1 = min(x1, clip.x + clip.data.shape[1]), min(y1, clip.y + clip.data.shape[0])
        if x1 <= x0 or y1 <= y0:
            return None
        # a blurred shape needs its surroundings beyond a clip's box, or the shadow would darken towards the cut
        px, py = (int(2.5 * sigma) + 1,) * 2 if sigma > 0.3 else (0, 0)
        data = np.zeros((y1 - y0 + 2 * py, x1 - x0 + 2 * px), np.uint8)
        corner = np.array([x0 - px, y0 - py])
        points = np.rint((points - corner) * (1 << _SHIFT)).astype(np.int32)
        start = 0
        for p in polygons:
            cv2.fillPoly(data, [points[start : start + len(p)]], 255, cv2.LINE_AA, _SHIFT)
            start += len(p)
        if sigma > 0.3:
            data = soften(data, sigma)[py : py + y1 - y0, px : px + x1 - x0]
        mask = Mask(x0, y0, data)
        return self.within(mask, clip) if clip is not None else mask

    def within(self, mask: Mask, clip: Mask) -> Mask | None:
        """The part of `mask` covered by `clip`."""
        x0, y0 = max(mask.x, clip.x), max(mask.y, clip.y)
        x1 = min(mask.x + mask.data.shape[1], clip.x + clip.data.shape[1])
        y1 = min(mask.y + mask.data.shape[0], clip.y + clip.data.shape[0])
        if x1 <= x0 or y1 <= y0:
            return None
        a = mask.data[y0 - mask.y : y1 - mask.y, x0 - mask.x : x1 - mask.x]
        b = clip.data[y0 - clip.y : y1 - clip.y, x0 - clip.x : x1 - clip.x]
        return Mask(x0, y0, cv2.multiply(a, b, scale=1 / 255))

    def paint(
        self,
        mask: Mask | None,
        colour: Points,
        opacity: float = 1.0,
        label: int | None = None,
        to: Points = None,
        along: Any = None,
        fade: Linear | Radial | None = None,
        mode: str = "over",
    ) -> None:
        """Lay `colour` over the canvas where `mask` is, and class `label` where it covers at least half.

        `to` with `along` (a Linear or Radial) turns the colour into a gradient; `fade` takes the layer away from 0 to 1;
        `mode`: "over", "multiply" (colour 1 changes nothing) or "add".
        """
        if mask is None:
            return
        h, w = mask.data.shape
        part = (slice(mask.y, mask.y + h), slice(mask.x, mask.x + w))
        if label is not None:
            self.labels[part][mask.data > 127] = label
        if opacity <= 0:
            return
        alpha = mask.data * np.float32(opacity / 255)
        if fade is not None:
            alpha *= 1 - fade.values(self.n, mask)
        rgb = self.rgb[:, part[0], part[1]]
        colour = np.asarray(colour, np.float32).reshape(3, 1, 1)
        if to is not None:
            end = np.asarray(to, np.float32).reshape(3, 1, 1)
            colour = colour + (end - colour) * along.values(self.n, mask)
        if mode == "over":
            rgb += (colour - rgb) * alpha
        elif mode == "multiply":
            rgb *= 1 + (colour - 1) * alpha
        else:
            rgb += colour * alpha

    def draw(
        self,
        polygons: Polygons,
        colour: Points,
        opacity: float = 1.0,
        label: int | None = None,
        blur: float = 0.0,
        clip: Mask | None = None,
        **gradient: Any,
    ) -> Mask | None:
        """`mask` and `paint` in one; returns the mask."""
        mask = self.mask(polygons, blur, clip)
        self.paint(mask, colour, opacity, label, **gradient)
        return mask

    def classes(self) -> np.ndarray:
        """The class at each pixel's centre: (size, size) uint8."""
        start = self.factor // 2
        return np.ascontiguousarray(self.labels[start :: self.factor, start :: self.factor])

    def colours(self) -> np.ndarray:
        """(size, size, 3) float32 in [0, 1]."""
        image = cv2.merge(list(np.clip(self.rgb, 0, 1)))
        return cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)


def soften(data: np.ndarray, sigma: float) -> np.ndarray:
    """A blur whose cost does not grow with `sigma` (pixels): three box filters come close to a Gaussian."""
    if sigma < 2:
        return cv2.GaussianBlur(data, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    width = int(round(np.sqrt(4 * sigma * sigma + 1))) | 1
    for _ in range(3):
        data = cv2.blur(data, (width, width), borderType=cv2.BORDER_REPLICATE)
    return data


def mix(a: Points, b: Points, share: float) -> np.ndarray:
    """From colour `a` (share 0) to colour `b` (share 1)."""
    return np.asarray(a, float) * (1 - share) + np.asarray(b, float) * share


def luminance(colour: Points) -> float:
    return float(np.dot(colour, (0.299, 0.587, 0.114)))
