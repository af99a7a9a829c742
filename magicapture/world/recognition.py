"""Training and measuring the recogniser, the judge and the referee: who is it, whatever the look.

All people of a set compete in a margin softmax (CosFace, arXiv 1801.09414), and the pictures of a batch once more with one
another. A batch is made of groups of people whom the same words describe: otherwise hair and skin decide, and a prompt in words
passes for the person (measured in the probe). Some groups are there in fine pictures too: portraits are judged after enlargement.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magicapture.backbones.recogniser import DIMENSIONS, INPUT, FaceNet
from magicapture.faces.align import crop_matrix, warp
from magicapture.packs import Pack
from magicapture.world.datasets import PLANS, Plan, Samples, load_samples
from magicapture.world.degrade import wear
from magicapture.world.loop import Run, autocast, load_average, settle_norms
from magicapture.world.packing import ARCHITECTURES, write_recogniser
from magicapture.world.warm import go_on

GROUPS = 13  # in a batch, each with all its people, two pictures of each
FINE_GROUPS, FINE_SIZE = 100, 256  # the set's first groups, rendered at the size of finished portraits
SCALE, MARGIN = 20.0, 0.2
STEPS = 4500


class _Classifier(nn.Module):
    """The network with one direction per person of the training set."""

    def __init__(self, architecture: str, people: int) -> None:
        super().__init__()
        self.net = FaceNet(architecture)
        # Short directions turn fast: under Adam every element moves by about the learning rate, whatever the length.
        self.directions = nn.Parameter(0.1 * torch.randn(people, DIMENSIONS))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines of the crops with every person's direction (B, people) and with one another (B, B)."""
        rows = F.normalize(self.net(crops).float())
        return rows @ F.normalize(self.directions).T, rows @ rows.T


def _train(
    role: str, work: Path, *, steps: int = STEPS, rate: float = 2e-3, seed: int = 0, device: str = "cpu", processes: int = 1,
    pack: Pack | None = None,
) -> None:  # fmt: skip
    """Train ``role`` (recogniser, judge, referee) on the people of its own split and write it below ``work/pack``."""
    samples = load_samples(work, role, processes=processes)
    plan = samples.plan
    fine = load_samples(work, role, replace(plan, size=FINE_SIZE, groups=min(FINE_GROUPS, plan.groups)), processes)
    torch.manual_seed(seed)
    people, members = plan.groups * (1 + plan.strangers), 1 + plan.strangers
    model = _Classifier(ARCHITECTURES[role], people).to(device, memory_format=torch.channels_last)

    def example() -> tuple[Tensor]:
        rng = np.random.default_rng((seed, 18))
        return (crop_batch(samples, _batch(plan, rng), rng, fine).to(device, memory_format=torch.channels_last),)

    start = partial(go_on, model.net, pack, role, example)
    run = Run(model, work / role, steps=steps, rate=rate, seed=seed, average=0.998, weight_decay=0.05, start=start)
    identities = torch.from_numpy(samples.people)
    itself = torch.eye(2 * min(GROUPS, plan.groups) * members, dtype=torch.bool, device=device)

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng((seed, step, 17))
        rows = _batch(plan, rng)
        crops = crop_batch(samples, rows, rng, fine).to(device, memory_format=torch.channels_last)
        who = identities[rows].to(device)
        with autocast(device):
            cosines, pairs = model(crops)
        margin = MARGIN * min(1.0, max(0.0, (step / steps - 0.15) / 0.3))
        everyone = F.cross_entropy(SCALE * (cosines - margin * F.one_hot(who, people)), who)
        # The two pictures of a person stand next to each other; those whom the same words describe are in the batch too.
        partner = torch.arange(len(who), device=device) ^ 1
        near = (pairs - margin * F.one_hot(partner, len(who))).masked_fill(itself, -2.0)
        alike = F.cross_entropy(SCALE * near, partner)
        right = (pairs.masked_fill(itself, -2.0).argmax(1) == partner).float().mean()
        return {"total": everyone + 2 * alike, "everyone": everyone, "alike": alike, "right": right}

    run.run(loss)
    rng = np.random.default_rng((seed, 19))
    net = load_average(model, work / role).net
    settle_norms(net, (crop_batch(samples, _batch(plan, rng), rng, fine).to(device) for _ in range(25)))
    write_recogniser(work / "pack", role, net.cpu().to(memory_format=torch.contiguous_format))


train_recogniser, train_judge, train_referee = (partial(_train, role) for role in ("recogniser", "judge", "referee"))


def _batch(plan: Plan, rng: np.random.Generator) -> np.ndarray:
    """Rows of a batch: two different pictures, side by side, of everyone in GROUPS groups."""
    members = 1 + plan.strangers
    people = (rng.choice(plan.groups, min(GROUPS, plan.groups), replace=False)[:, None] * members + np.arange(members)).ravel()
    first, step = rng.integers(plan.pictures, size=len(people)), rng.integers(1, plan.pictures, size=len(people))
    return (people[:, None] * plan.pictures + np.stack([first, (first + step) % plan.pictures], 1)).ravel()


def crop_batch(samples: Samples, rows: np.ndarray, rng: np.random.Generator | None, fine: Samples | None = None) -> Tensor:
    """Aligned crops (b, 3, 112, 112) in [-1, 1]; with ``rng`` varied in place, size, turn, side and quality.

    ``fine`` holds the first of the same pictures, more finely: half of their crops come from there (needs ``rng``).
    """
    crops = np.empty((len(rows), INPUT, INPUT, 3), np.uint8)
    for i, row in enumerate(rows):
        given = fine if fine is not None and rng is not None and row < len(fine) and rng.random() < 0.5 else samples
        image, transform = given.images[row], crop_matrix(given.keypoints[row], INPUT)
        if rng is not None:
            image = wear(image, rng) if rng.random() < 0.65 else image
            transform = _vary(transform, rng)
        crops[i] = warp(image, transform, INPUT, INPUT)
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1


def _vary(transform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Errors of key points, about as a detector makes them, and now and then the mirror image."""
    angle, zoom = 0.05 * rng.standard_normal(), 1 + 0.04 * rng.standard_normal()
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    centre = np.array([INPUT / 2, INPUT / 2])
    varied = np.column_stack([turn @ transform[:, :2], turn @ (transform[:, 2] - centre) + centre + 1.5 * rng.standard_normal(2)])
    if rng.random() < 0.3:
        varied[0] *= -1
        varied[0, 2] += INPUT - 1
    return varied


def verification(embeddings: np.ndarray, people: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """How well unit rows (n, D) tell people apart: true acceptance at given false acceptance, and mean cosines.

    Genuine pairs are two pictures of one person; matched pairs two people of one group; strangers of different groups.
    """
    cosines = embeddings @ embeddings.T
    upper = np.triu(np.ones(cosines.shape, bool), 1)
    same_person, same_group = people[:, None] == people, groups[:, None] == groups
    genuine, matched = cosines[upper & same_person], cosines[upper & same_group & ~same_person]
    strangers = cosines[upper & ~same_group]
    return {
        "tar_matched_far_1e-2": _accepted(genuine, matched, 1e-2),
        "tar_strangers_far_1e-3": _accepted(genuine, strangers, 1e-3),
        "genuine": float(genuine.mean()),
        "matched": float(matched.mean()),
        "strangers": float(strangers.mean()),
        "people": int(people.max()) + 1,
    }


def _accepted(genuine: np.ndarray, impostors: np.ndarray, far: float) -> float:
    return float((genuine > np.quantile(impostors, 1 - far)).mean())


def held_out(work: Path) -> Samples:
    """People, looks and poses that no recogniser was trained on: 100 groups of 5, 4 pictures each."""
    return load_samples(work, "verification", PLANS["verification"])
