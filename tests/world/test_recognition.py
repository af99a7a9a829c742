from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from magicapture.backbones.recogniser import FaceNet, fold
from magicapture.faces.align import align
from magicapture.world.datasets import Plan, Samples, load_samples
from magicapture.world.loop import settle_norms
from magicapture.world.recognition import _batch, crop_batch, verification


def test_crops_are_those_of_the_faces_room(groups: Samples) -> None:
    crops = crop_batch(groups, np.arange(3), None)
    for i in range(3):
        expected = align(groups.images[i], groups.keypoints[i]).astype(np.float32) / 127.5 - 1
        np.testing.assert_allclose(crops[i].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_varied_crops_repeat_per_seed_and_vary_between(groups: Samples) -> None:
    a, b, c = (crop_batch(groups, np.arange(12), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_half_of_the_crops_of_the_first_groups_are_fine(work: Path, groups: Samples) -> None:
    """The same faces in the same places, with more detail; groups beyond the fine ones stay as they are."""
    fine = load_samples(work, "groups", replace(groups.plan, size=256, groups=1))
    rows = np.arange(12)
    coarse, mixed = (crop_batch(groups, rows, np.random.default_rng(3), given) for given in (None, fine))
    assert torch.equal(crop_batch(groups, rows, None, fine), crop_batch(groups, rows, None))
    plain, sharp = crop_batch(groups, rows[:6], None), crop_batch(fine, rows[:6], None)
    assert np.corrcoef(plain.flatten(), sharp.flatten())[0, 1] > 0.9
    assert sharp.diff(dim=-1).square().mean() > 1.1 * plain.diff(dim=-1).square().mean()
    assert not torch.equal(coarse, mixed)


def test_batches_hold_whole_groups_and_pairs_of_different_pictures() -> None:
    plan = Plan("recogniser", "train", 64, 30, 4, 6)
    rows = _batch(plan, np.random.default_rng(0))
    people = rows // plan.pictures
    assert (people[::2] == people[1::2]).all() and (rows[::2] != rows[1::2]).all()
    assert len(set(people)) == len(rows) // 2 == 65
    groups, counts = np.unique(people[::2] // 5, return_counts=True)
    assert len(groups) == 13 and (counts == 5).all()


def test_verification_separates_matched_people_from_strangers() -> None:
    """Embeddings that know the group but not the person: strangers are kept out, matched strangers pass as often as oneself."""
    rng = np.random.default_rng(0)
    people, groups = np.arange(400) // 4, np.arange(400) // 20
    by_group = np.eye(64)[groups] + 0.05 * rng.standard_normal((400, 64))
    by_person = np.eye(128)[people] + 0.05 * rng.standard_normal((400, 128))
    scores = [verification(e / np.linalg.norm(e, axis=1, keepdims=True), people, groups) for e in (by_group, by_person)]
    assert scores[0]["tar_strangers_far_1e-3"] > 0.99 and scores[0]["tar_matched_far_1e-2"] < 0.05
    assert scores[1]["tar_matched_far_1e-2"] > 0.99 and scores[1]["genuine"] > 0.6 > scores[1]["matched"]
    assert scores[0]["people"] == 100


@pytest.mark.parametrize("architecture", ["residual", "dense", "plain"])
def test_folding_keeps_the_embedding(architecture: str) -> None:
    torch.manual_seed(0)
    net, x = FaceNet(architecture), torch.rand(4, 3, 112, 112) * 2 - 1
    settle_norms(net, [torch.rand(16, 3, 112, 112) * 2 - 1])
    before = net(x)
    folded = fold(net)
    assert not any(isinstance(m, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d) for m in folded.modules())
    torch.testing.assert_close(folded(x), before, rtol=1e-3, atol=1e-3)
    FaceNet(architecture, norm=False).load_state_dict(folded.state_dict())
