from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from magicapture.faces.align import align, matrix, warp
from magicapture.world.datasets import Samples
from magicapture.world.networks import Upscaler
from magicapture.world.restoration import (
    CROP,
    SMALL,
    TEMPLATE,
    _corner,
    _difference,
    _face_pairs,
    _worn,
    recognised,
    small_versions,
    to_uint8,
)


def test_untrained_upscaler_is_bilinear_enlargement() -> None:
    """The residual starts at zero, so that training only ever adds detail."""
    picture = torch.rand(1, 3, 16, 24)
    enlarged = torch.nn.functional.interpolate(picture, scale_factor=4, mode="bilinear")
    torch.testing.assert_close(Upscaler()(picture), enlarged)


def test_small_versions_without_an_autoencoder_are_the_pictures_themselves(tmp_path: Path, portraits: Samples) -> None:
    plain, trips, _ = small_versions(tmp_path, portraits)
    assert plain.shape == (8, SMALL, SMALL, 3) and np.array_equal(plain, trips)
    assert np.array_equal(plain[0], cv2.resize(portraits.images[0], (SMALL, SMALL), interpolation=cv2.INTER_AREA))


def test_wear_keeps_colours_and_places(portraits: Samples) -> None:
    image = cv2.resize(portraits.images[0], (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    worn = [_worn(image, np.random.default_rng(seed)).astype(float) for seed in range(30)]
    assert any(not np.array_equal(w, image) for w in worn)
    assert max(np.abs(w.mean((0, 1)) - image.mean((0, 1))).max() for w in worn) < 3


def test_crops_stay_inside_and_mostly_hold_the_face(portraits: Samples) -> None:
    rng, box = np.random.default_rng(0), portraits.boxes[0] / 4
    corners = np.array([_corner(box, rng) for _ in range(200)])
    assert corners.min() >= 0 and corners.max() <= SMALL - CROP
    middle = (box[:2] + box[2:])[::-1] / 2
    assert ((corners < middle) & (middle < corners + CROP)).all(1).mean() > 0.7


def test_face_pairs_are_the_same_face(tmp_path: Path, portraits: Samples) -> None:
    small = small_versions(tmp_path, portraits)
    upscaler = Upscaler().eval()
    given, truth = _face_pairs(portraits, small, upscaler, 0, tmp_path)
    assert given.shape == truth.shape == (8, 128, 128, 3)
    same = np.abs(given.astype(float) - truth).mean()
    other = np.abs(given.astype(float) - truth[::-1]).mean()
    assert same < 0.5 * other
    (kept,) = tmp_path.iterdir()
    np.save(kept / "given.npy", given[::-1])
    again = _face_pairs(portraits, small, upscaler, 0, tmp_path)
    assert np.array_equal(again[0], given[::-1])  # kept on disk


@torch.no_grad()
def test_face_pairs_of_another_upscaler_or_other_pictures_are_made_anew(tmp_path: Path, portraits: Samples) -> None:
    small, other = small_versions(tmp_path, portraits), Upscaler().eval()
    other.last.bias[::2], other.last.bias[1::2] = 0.2, -0.2  # stripes, which no small picture holds
    first = _face_pairs(portraits, small, Upscaler().eval(), 0, tmp_path)[0]
    striped = _face_pairs(portraits, small, other, 0, tmp_path)[0]
    assert np.abs(striped.astype(float) - first).mean() > 5
    darker = _face_pairs(portraits, tuple(part // 2 for part in small), other, 0, tmp_path)[0]
    assert darker.mean() < striped.mean() - 20 and len(list(tmp_path.iterdir())) == 1


def test_a_face_crop_is_recognised_in_the_recognisers_framing(portraits: Samples) -> None:
    image, points = portraits.images[0], portraits.keypoints[0]
    crop = warp(image, matrix(points - 0.5, 128, TEMPLATE), 128, 128)  # on pixel grids, as recognisers' crops are
    found = recognised(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 127.5 - 1)[0].permute(1, 2, 0).numpy()
    wanted = align(image, points).astype(float) / 127.5 - 1
    assert found.shape == wanted.shape == (112, 112, 3)
    away = [np.abs(np.roll(found, shift, (0, 1)) - wanted)[8:-8, 8:-8].mean() for shift in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))]
    assert away[0] < 0.06 and away[0] < 0.8 * min(away[1:]), away


def test_difference_is_zero_for_the_truth_and_sees_lost_edges() -> None:
    truth = torch.zeros(1, 3, 8, 8)
    truth[..., 4:] = 1
    assert _difference(truth, truth)["total"] == 0
    blurred = torch.nn.functional.avg_pool2d(truth, 3, 1, 1, count_include_pad=False)
    assert _difference(blurred, truth)["edges"] > _difference(truth + 0.1, truth)["edges"]
    assert np.array_equal(to_uint8(truth)[0, 0, :, 0], [0] * 4 + [255] * 4)
