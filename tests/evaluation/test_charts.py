from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicapture.evaluation.charts import Disc, line_chart, pareto_front, scatter_chart

finite = st.floats(-1e6, 1e6)


@given(st.lists(finite, min_size=1, max_size=60), st.booleans())
def test_every_point_lies_inside_the_frame(values: list[float], smooth: bool) -> None:
    svg = ET.fromstring(line_chart(list(enumerate(values)), "a < b & c", smooth=smooth))
    assert svg.get("aria-label", "").startswith("a < b & c")
    lines = [element for element in svg if element.tag == "polyline"]
    assert len(lines) == 1 + smooth
    for line in lines:
        places = [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
        assert len(places) == len(values)
        assert all(39.9 <= x <= 308.1 and 11.9 <= y <= 136.1 for x, y in places)


def test_higher_values_are_drawn_higher_and_the_mark_at_its_step() -> None:
    chart = line_chart([(0, 0.0), (10, 1.0)], "up", smooth=False, mark=5)
    (points,) = re.findall(r'polyline class="line" points="([^"]+)"', chart)
    (x0, y0), (x1, y1) = (tuple(map(float, pair.split(","))) for pair in points.split())
    assert x0 < x1 and y0 > y1
    (mark,) = re.findall(r'class="mark" x1="([\d.]+)"', chart)
    assert float(mark) == pytest.approx((x0 + x1) / 2)


def test_charts_within_the_same_points_have_the_same_axes() -> None:
    both = [(0, 0.0), (10, 1.0), (20, 3.0)]
    short, whole = (line_chart(points, "x", smooth=False, within=both) for points in (both[:2], both))
    ticks = [re.findall(r"<text[^>]*>([^<]+)</text>", chart) for chart in (short, whole)]
    assert ticks[0] == ticks[1] and ticks[0] != re.findall(r"<text[^>]*>([^<]+)</text>", line_chart(both[:2], "x", smooth=False))
    places = [re.findall(r'class="line" points="([^"]+)"', chart)[0].split() for chart in (short, whole)]
    assert places[0] == places[1][:2]


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    chart = line_chart([(i, float(i)) for i in range(5000)], "long")
    raw, _ = re.findall(r'points="([^"]+)"', chart)
    assert 300 < len(raw.split()) <= 401
    assert raw.split()[-1].startswith("308.0,")


def test_nothing_to_draw() -> None:
    assert line_chart([], "none") == ""
    assert line_chart([(1, math.nan)], "nan") == ""


discs = st.lists(st.builds(Disc, finite, finite, st.floats(0, 10), st.text("ab<&", min_size=1, max_size=3)), min_size=1, max_size=30)


@given(discs)
def test_every_disc_lies_inside_the_frame_and_a_larger_value_is_a_larger_disc(points: list[Disc]) -> None:
    svg = ET.fromstring(scatter_chart(points, "x", "a < b", size="size", front=pareto_front([(p.x, p.y) for p in points])))
    circles = [element for element in svg if element.tag == "circle"]
    assert len(circles) == len(points)
    places = [tuple(float(circle.get(name, "")) for name in ("cx", "cy", "r")) for circle in circles]
    assert all(39.9 <= x <= 346.1 and 19.9 <= y <= 256.1 for x, y, _ in places)
    radii = [radius for *_, radius in places]
    assert radii == sorted(radii, reverse=True)  # large ones first: none is hidden
    if len({p.size for p in points}) > 1 and max(p.size for p in points) - min(p.size for p in points) > 1:
        assert radii[0] > radii[-1]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points)
    for i, (x, y) in enumerate(points):
        beaten = any(a >= x and b >= y and (a > x or b > y) for a, b in points)
        assert (i in front) is not beaten
    steps = [points[i] for i in front]
    assert steps == sorted(steps) and [y for _, y in steps] == sorted((y for _, y in steps), reverse=True)


def test_the_front_is_told_in_words() -> None:
    chart = scatter_chart(
        [Disc(0.1, 0.9, 5, "1"), Disc(0.5, 0.5, 6, "2"), Disc(0.4, 0.4, 7, "3")], "Style", "Likeness", size="aesthetic", front=[0, 1]
    )
    assert 'aria-label="Likeness against Style of 3 portraits; on the front: 1, 2"' in chart
    assert chart.count('class="point front"') == 2 and "3: Likeness 0.40, Style 0.40, aesthetic 7.0" in chart
    assert scatter_chart([], "x", "y", size="z") == ""
