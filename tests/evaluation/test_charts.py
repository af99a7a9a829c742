from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicapture.evaluation.charts import line_chart

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
