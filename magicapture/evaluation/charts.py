"""Small inline SVG charts: colours come from the page's CSS, so they follow its light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 320, 160
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 12, 24
_MOST = 400

Point = tuple[float, float]


def line_chart(
    points: Sequence[Point], title: str, *, smooth: bool = True, mark: float | None = None, within: Sequence[Point] = ()
) -> Markup:
    """An SVG of (step, value) points in rising steps: the raw line faint, a running mean over a twentieth of it bold.

    `mark`: a step to point out, drawn as a dashed line. `within`: further points that the axes have room for, so that charts of equal ones
    can be compared. Values that are not finite are left out; no points give no chart.
    """
    points = [(float(x), float(y)) for x, y in points if math.isfinite(y)]
    if not points:
        return Markup("")
    shown = _running_mean(points) if smooth else points
    xs, ys = zip(*points, *within)
    x_low, x_high = min(xs), max(*xs, min(xs) + 1)
    ticks = _ticks(min(ys), max(ys))
    y_low, y_high = ticks[0], ticks[-1]

    def at(point: Point) -> str:
        x = _LEFT + (point[0] - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (y_high - point[1]) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    label = f"{escape(title)}: {points[0][1]:.3g} to {shown[-1][1]:.3g}"
    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">']
    for tick in ticks:
        x, y = at((x_low, tick)).split(",")
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{float(y) + 3.5:.1f}" text-anchor="end">{tick:.4g}</text>')
    for x_tick, anchor in ((x_low, "start"), (x_high, "end")):
        parts.append(f'<text x="{at((x_tick, y_low)).split(",")[0]}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{x_tick:g}</text>')
    if mark is not None:
        x = at((mark, y_low)).split(",")[0]
        parts.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    if smooth:
        parts.append(f'<polyline class="raw" points="{" ".join(at(p) for p in _thin(points))}"/>')
    parts.append(f'<polyline class="line" points="{" ".join(at(p) for p in _thin(shown))}"/>')
    for point in shown if not smooth else shown[-1:]:
        x, y = at(point).split(",")
        parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="3"/>')
    return Markup("".join(parts) + "</svg>")


class Disc(NamedTuple):
    """A point of a scatter chart: its place, the value that its area shows, and what is written on it."""

    x: float
    y: float
    size: float
    name: str


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Indices, by rising x, of the (x, y) points that no other beats: none has more of one and at least as much of the other."""
    front = [
        i
        for i, (x, y) in enumerate(points)
        if not any(other_x >= x and other_y >= y and (other_x, other_y) != (x, y) for other_x, other_y in points)
    ]
    return sorted(front, key=lambda i: points[i])


def scatter_chart(discs: Sequence[Disc], x_name: str, y_name: str, *, size: str, front: Collection[int] = ()) -> Markup:
    """An SVG of named discs whose area rises with what `size` names; those of `front` (indices, by rising x) filled and joined by a line.

    Neither axis starts at 0: differences between discs are what is to be seen. No discs give no chart.
    """
    if not discs:
        return Markup("")
    x_ticks, y_ticks = (_ticks(min(values), max(values)) for values in ([d.x for d in discs], [d.y for d in discs]))
    width, height, left, right, top, bottom = 360, 300, 40, 14, 20, 44
    least, most = min(d.size for d in discs), max(d.size for d in discs)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(left + across * (width - left - right), 1), round(height - bottom - up * (height - top - bottom), 1)

    best = ", ".join(discs[i].name for i in front)
    label = f"{escape(y_name)} against {escape(x_name)} of {len(discs)} portraits" + (f"; on the front: {escape(best)}" if best else "")
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">']
    for tick in y_ticks:
        y = at(x_ticks[0], tick)[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for tick in x_ticks:
        x = at(tick, y_ticks[0])[0]
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{height - bottom}"/>')
        parts.append(f'<text x="{x}" y="{height - bottom + 17}" text-anchor="middle">{tick:.4g}</text>')
    parts.append(f'<text class="on" x="{width - right}" y="{height - 8}" text-anchor="end">{escape(x_name)} →</text>')
    parts.append(f'<text class="on" x="{left}" y="{top - 9}">↑ {escape(y_name)}</text>')
    if len(front) > 1:
        places = " ".join(",".join(map(str, at(discs[i].x, discs[i].y))) for i in front)
        parts.append(f'<polyline class="mark" points="{places}"/>')
    # Large ones first, so that none is hidden below another.
    for i in sorted(range(len(discs)), key=lambda i: -discs[i].size):
        disc = discs[i]
        x, y = at(disc.x, disc.y)
        share = (disc.size - least) / (most - least) if most > least else 0.5
        chosen = i in front
        told = f"{disc.name}: {y_name} {disc.y:.2f}, {x_name} {disc.x:.2f}, {size} {disc.size:.1f}"
        parts.append(f'<circle class="point{" front" if chosen else ""}" cx="{x}" cy="{y}" r="{math.sqrt(49 + 100 * share):.1f}">')
        parts.append(f"<title>{escape(told)}</title></circle>")
        parts.append(
            f'<text class="on{" of-front" if chosen else ""}" x="{x}" y="{y + 4:.1f}" text-anchor="middle">{escape(disc.name)}</text>'
        )
    return Markup("".join(parts) + "</svg>")


def _running_mean(points: Sequence[Point]) -> list[Point]:
    window = max(1, len(points) // 20)
    means = []
    for i, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, i - window) : i + window + 1]]
        means.append((x, sum(near) / len(near)))
    return means


def _thin(points: Sequence[Point]) -> Sequence[Point]:
    stride = math.ceil(len(points) / _MOST)
    return points if stride == 1 else [*points[: len(points) - 1 : stride], points[-1]]


def _ticks(low: float, high: float) -> list[float]:
    """Three or more round numbers that enclose the values."""
    size = max(abs(low), abs(high), 1e-3)
    if high - low < 1e-6 * size:  # flat: a line through the middle
        low, high = low - size / 4, high + size / 4
    span = high - low
    step = 10 ** math.floor(math.log10(span / 2))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (factor * step) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, last + 1)]
