from __future__ import annotations

import numpy as np
import pytest
import torch

from magicapture.world import detection
from magicapture.world.datasets import Samples
from magicapture.world.detection import overlap, scene_maker, targets
from magicapture.world.networks import ANCHORS, STRIDES


@pytest.fixture(scope="module")
def scenes(portraits: Samples, module_patch) -> list[detection.Scene]:
    module_patch.setattr(detection, "_BACKDROPS", 4)
    make, rng = scene_maker(portraits, "train"), np.random.default_rng(0)
    return [make(rng) for _ in range(40)]


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_scenes_hold_none_one_and_several_faces_inside_the_picture(scenes) -> None:
    counts = {len(boxes) for _, boxes, _ in scenes}
    assert {0, 1} < counts and max(counts) >= 4
    for image, boxes, points in scenes:
        assert image.shape == (128, 128, 3) and image.dtype == np.uint8
        assert len(boxes) == len(points)
        assert (boxes >= 0).all() and (boxes <= 128).all() and (boxes[:, 2:] > boxes[:, :2]).all()


def test_key_points_lie_in_their_box(scenes) -> None:
    for _, boxes, points in scenes:
        for box, kps in zip(boxes, points, strict=True):
            margin = 0.15 * (box[2:] - box[:2])
            assert ((kps[:2] > box[:2] - margin) & (kps[:2] < box[2:] + margin)).all()


def test_every_face_is_answered_for_and_decodes_to_itself(scenes) -> None:
    """Decoded as insightface does it: centre x stride, distances and offsets in stride units."""
    centres = np.concatenate(
        [np.repeat(np.stack(np.mgrid[: 128 // s, : 128 // s][::-1], -1).reshape(-1, 2) * s, ANCHORS, 0) for s in STRIDES]
    )
    strides = np.concatenate([np.full(ANCHORS * (128 // s) ** 2, s) for s in STRIDES])
    for _, boxes, points in scenes:
        wanted, weight = targets(boxes, points)
        positive = wanted[:, 0] > 0
        assert (weight[positive] == 1).all()
        centre, stride = centres[positive], strides[positive, None]
        left_top, right_bottom = centre - wanted[positive, 1:3] * stride, centre + wanted[positive, 3:5] * stride
        decoded = np.concatenate([left_top, right_bottom], 1)
        kps = centre[:, None] + wanted[positive, 5:].reshape(-1, 5, 2) * stride[:, None]
        answered = set()
        for box, point in zip(decoded, kps, strict=True):
            which = int(np.abs(boxes - box).max(1).argmin())
            np.testing.assert_allclose(box, boxes[which], atol=1e-3)
            np.testing.assert_allclose(point, points[which], atol=1e-3)
            answered.add(which)
        assert answered == set(range(len(boxes)))


def test_overlap_of_boxes_as_distances() -> None:
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1]])
    torch.testing.assert_close(overlap(boxes, torch.tensor([[1.0, 1, 1, 1], [2, 1, 0, 1]])), torch.tensor([1.0, 1 / 3]))


@pytest.mark.parametrize("scale", [0.2, 0.3, 0.4, 0.5])
@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_key_points_lie_where_the_picture_shows_them(portraits: Samples, scale: float, turn: float) -> None:
    """A light disc about each key point: the middle of its light is the key point to a tenth of a pixel, at every scale."""
    y, x = np.mgrid[:256, :256] + 0.5
    points = np.array([[70.0, 75], [180, 74], [128, 128], [80, 190], [178, 186]], np.float32)
    for number, (u, v) in enumerate(points):
        light = np.clip(16 - np.hypot(x - u, y - v), 0, 1)
        image = np.repeat((255 * light).astype(np.uint8)[None, ..., None], 3, 3)
        sample = Samples(portraits.plan, image, light[None].astype(np.uint8), points[None], np.array([[40.0, 40, 210, 220]]))
        scene, _, found = detection._place(sample, 0, scale, turn, np.array([64.0, 64]), 128, 0)
        weight = scene[..., 0].astype(float)
        middle = [(weight * (axis[:128, :128])).sum() / weight.sum() for axis in (x, y)]
        np.testing.assert_allclose(middle, found[number], atol=0.1)
