from __future__ import annotations

import numpy as np
import pytest
import torch

from magicapture.world.datasets import Samples
from magicapture.world.parsing import _example, agreement, overlap


def test_agreement_counts_classes_and_the_face() -> None:
    wanted = np.zeros((1, 8, 8), np.uint8)
    wanted[0, :4] = 1
    found = wanted.copy()
    assert agreement(found, wanted) == {"mean_iou": 1.0, "face_iou": 1.0}
    found[0, :2] = 10  # nose for skin: still face
    assert agreement(found, wanted)["face_iou"] == 1.0
    assert agreement(found, wanted)["mean_iou"] == pytest.approx((1 + 0.5) / 2)


def test_overlap_is_that_of_the_sets_and_counts_every_class_the_same() -> None:
    """Sure guesses: the Dice coefficient of pixel sets, mean over the classes present; a tiny class weighs as much as a large one."""
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[0, 0, :4] = 3
    sure = 50.0 * torch.nn.functional.one_hot(labels, 5).permute(0, 3, 1, 2).float()
    assert float(overlap(sure, labels)) == pytest.approx(1.0, abs=1e-6)
    guess = labels.clone()
    guess[0, 0, 2:4] = 0  # half of the small class is missed
    found = 50.0 * torch.nn.functional.one_hot(guess, 5).permute(0, 3, 1, 2).float()
    assert float(overlap(found, labels)) == pytest.approx((2 * 60 / (60 + 62) + 2 * 2 / (2 + 4)) / 2, abs=1e-6)


def test_picture_and_labels_move_together(portraits: Samples) -> None:
    """Where the labels say eye, the picture is what was drawn there: the mean colour of each class hardly changes."""
    for row in range(4):
        image, labels = _example(portraits, row, np.random.default_rng(row))
        assert image.shape == (128, 128, 3) and labels.shape == (128, 128)
        hair_or_cloth = [c for c in (16, 17) if (labels == c).sum() > 200 and (portraits.parsing[row] == c).sum() > 800]
        assert hair_or_cloth
        for c in hair_or_cloth:
            moved, still = image[labels == c].mean(0), portraits.images[row][portraits.parsing[row] == c].mean(0)
            assert np.abs(moved - still).max() < 40


def test_edges_of_picture_and_labels_agree_to_a_small_part_of_a_pixel(portraits: Samples) -> None:
    """A slanted edge at every angle: what the light half of the picture covers is what its label covers, and has the same middle."""
    y, x = np.mgrid[:256, :256] + 0.5
    offsets = []
    for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        half = (x - 128) * np.cos(angle) + (y - 128) * np.sin(angle) > 0
        sample = Samples(
            portraits.plan, np.repeat(255 * half.astype(np.uint8)[None, ..., None], 3, 3), half.astype(np.uint8)[None], *[np.zeros(0)] * 2
        )
        for seed in range(3):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("magicapture.world.parsing.wear", lambda image, rng: image)
                image, labels = _example(sample, 0, np.random.default_rng(seed))
            grey = image[..., 0] / 255
            # by how much the label's edge lies too far along its normal; a shift of the whole map is the mean of these vectors, twice
            offset = (grey - labels).sum() / np.abs(np.stack(np.gradient(grey))).max(0).sum()
            offsets.append(2 * offset * np.array([np.cos(angle), np.sin(angle)]))
    assert np.abs(np.mean(offsets, 0)).max() < 0.04
