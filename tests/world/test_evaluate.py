from __future__ import annotations

import numpy as np
import pytest

from magicapture.faces.analysis import Face
from magicapture.world.evaluate import _average_precision, _iou, _point_error, _psnr


def test_average_precision() -> None:
    assert _average_precision([(0.9, True), (0.8, True)], 2) == 1.0
    assert _average_precision([(0.9, True), (0.8, True)], 4) == 0.5
    assert _average_precision([(0.9, False), (0.8, True)], 1) == 0.5
    assert _average_precision([], 3) == 0.0


def test_overlap_and_point_error() -> None:
    a = np.array([0.0, 0, 10, 10])
    assert _iou(a, a) == 1.0
    assert _iou(a, np.array([5.0, 0, 15, 10])) == pytest.approx(1 / 3)
    points = np.array([[0.0, 0], [10, 0], [5, 5], [2, 8], [8, 8]])
    assert _point_error(Face(a, points + [1.0, 0], 1.0), points) == pytest.approx(0.1)


def test_psnr() -> None:
    picture = np.full((1, 4, 4, 3), 100, np.uint8)
    assert _psnr(picture + np.uint8(10), picture) == pytest.approx(28.13, abs=0.01)
