from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from insightface.utils.face_align import estimate_norm, norm_crop

from magicapture.faces.align import FFHQ, align, arcface_template, matrix, on_grids, warp


@pytest.mark.parametrize("size", [112, 224, 128, 256])
def test_equals_insightface(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(20):
        angle, scale = rng.uniform(-0.6, 0.6), rng.uniform(0.3, 4)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = (arcface_template(112) @ turn.T + rng.uniform(0, 200, 2) + rng.normal(0, 3 * scale, (5, 2))).astype(np.float32)
        np.testing.assert_allclose(matrix(points, size), estimate_norm(points, size), rtol=1e-4, atol=1e-3)


def test_align_equals_insightface_crop() -> None:
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (200, 240, 3), dtype=np.uint8), (0, 0), 4)
    points = (arcface_template(112) * 1.4 + [30, 20]).astype(np.float32)
    # insightface counts pixel centres from 0, key points here are positions
    assert np.abs(align(image, points).astype(int) - norm_crop(image, points - 0.5)).max() <= 1


def test_the_same_face_at_two_sizes_is_the_same_crop() -> None:
    rng = np.random.default_rng(2)
    large = cv2.resize(rng.integers(30, 226, (9, 9, 3), dtype=np.uint8), (256, 256), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
    points = (arcface_template(112) * 1.4 + [30, 40]).astype(np.float32)
    pairs = [(large, points), (small, points / 4)]
    crops = [align(image, where).astype(float) for image, where in pairs]
    naive = [warp(image, matrix(where), 112, 112).astype(float) for image, where in pairs]
    assert np.abs(crops[0] - crops[1]).mean() < 0.5 * np.abs(naive[0] - naive[1]).mean()


def test_points_land_on_the_template() -> None:
    points = FFHQ * 0.31 @ np.array([[0.9, 0.3], [-0.3, 0.9]]) + [12, 40]
    transform = matrix(points, 128, FFHQ / 4)
    np.testing.assert_allclose(points @ transform[:, :2].T + transform[:, 2], FFHQ / 4, atol=1e-6)


@pytest.mark.parametrize("scale", [0.05, 0.11, 0.2, 0.24, 0.6, 1.7])
def test_warp_keeps_positions_at_every_scale(scale: float) -> None:
    """On a ramp the value is the position: reducing first must not shift it."""
    ramp = np.tile(np.arange(1200, dtype=np.float32), (900, 1))
    angle = 0.2
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    transform = np.array([[a, -b, 3.3], [b, a, -20 * scale]])
    out = warp(ramp, transform, 40, 40)
    back = cv2.invertAffineTransform(transform)
    ys, xs = np.mgrid[:40, :40]
    expected = back[0, 0] * xs + back[0, 1] * ys + back[0, 2]
    row = back[1, 0] * xs + back[1, 1] * ys + back[1, 2]
    edge = 1.5 / scale + 1
    inside = (expected > edge) & (expected < 1199 - edge) & (row > edge) & (row < 899 - edge)
    assert inside.sum() > 50
    np.testing.assert_allclose(out[inside], expected[inside], atol=max(0.05, 0.02 / scale))


def test_strong_reduction_averages() -> None:
    """A fine chequerboard becomes grey, not a moire of black and white."""
    board = (np.indices((1000, 1000)).sum(axis=0) % 2 * 255).astype(np.uint8)
    out = warp(np.repeat(board[:, :, None], 3, axis=2), np.array([[0.1, 0, 0], [0, 0.1, 0]]), 100, 100)
    assert np.abs(out[2:-2, 2:-2].astype(int) - 127).max() <= 2


def test_refuses_what_has_no_alignment() -> None:
    with pytest.raises(ValueError, match="coincide"):
        matrix(np.full((5, 2), 7.0))
    with pytest.raises(ValueError, match="multiple of 112 or 128 px, got 100"):
        matrix(arcface_template(112), 100)


@given(
    st.floats(-3, 3), st.floats(0.2, 4), st.tuples(st.floats(-50, 50), st.floats(-50, 50)), st.floats(0.25, 4),
    st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
)  # fmt: skip
def test_a_matrix_of_grids_takes_pixel_centres_to_where_the_positions_go(
    angle: float, scale: float, shift: tuple[float, float], ratio: float, pixel: tuple[float, float]
) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    transform = np.column_stack([turn, shift])
    position = (np.array(pixel) + 0.5) * ratio  # in the larger picture
    wanted = turn @ position + shift
    np.testing.assert_allclose(on_grids(transform, ratio) @ [*pixel, 1] + 0.5, wanted, atol=1e-9)
