"""The ViT of the role ``structure``: keys that know parts and places whatever the texture, [CLS] that knows the look whatever the shape.

Half of it is told (a patch's key names the parts in it and how deep inside the outline they lie), half is compared: one thing in two
textures has one self-similarity, and two things in one texture have one [CLS] among those of all others. Two thirds of the pictures show
objects, one third people.
"""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magicapture.backbones.structure import StructureNet, load_structure
from magicapture.faces.classes import PARSING_CLASSES
from magicapture.packs import Pack
from magicapture.scoring.structure import StructureScorer
from magicapture.world.architecture import RESOLUTION
from magicapture.world.clip_training import spoil
from magicapture.world.datasets import publish
from magicapture.world.looks import Look
from magicapture.world.loop import Run, autocast, load_average
from magicapture.world.networks import STRUCTURE_MEAN, STRUCTURE_PATCH, STRUCTURE_STD, STRUCTURE_WIDTH, build_structure
from magicapture.world.nuisance import Nuisance
from magicapture.world.objects import KINDS, Pose, Texture, Thing, render_object
from magicapture.world.packing import write_structure
from magicapture.world.people import Person
from magicapture.world.render import render
from magicapture.world.splits import seeds

BATCH = 24  # shapes a step; each is seen in two textures, beside another shape in the second of them
STEPS = 3000
SHARD, SHARDS = 300, 24
CLASSES = len(PARSING_CLASSES) + len(KINDS)
TEMPERATURE = 0.1
CUT_OUT = 0.3  # share of objects on mid grey, as photos that were cut out are
WORN = 0.5  # share of pictures spoilt as estimates of clean pictures are


@dataclass
class Pairs:
    """Shapes in two textures each: ``images`` uint8 (n, 2, 64, 64, 3), ``parts`` uint8 (n, 2, 64, 64). The second texture of a row is the
    first of the next one within its shard; every third shard shows people."""

    images: np.ndarray
    parts: np.ndarray

    @classmethod
    def load(cls, work: Path, split: str, shards: int, processes: int = 1) -> Pairs:
        """From below ``work/data``; what is missing is rendered first."""
        folder = work / "data" / f"structure-{split}-{SHARD}"
        folder.mkdir(parents=True, exist_ok=True)
        tasks = [(folder / f"{index:04d}", split) for index in range(shards) if not (folder / f"{index:04d}").is_dir()]
        if processes > 1 and len(tasks) > 1:
            with multiprocessing.get_context("spawn").Pool(processes) as pool:
                pool.map(_write_shard, tasks, chunksize=1)
        else:
            for task in tasks:
                _write_shard(task)
        places = [folder / f"{index:04d}" for index in range(shards)]
        return cls(*(np.concatenate([np.load(place / f"{name}.npy") for place in places]) for name in ("images", "parts")))

    def triples(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and parts, 3 x rows: the shapes in their first texture, in their second, and other shapes in that second one."""
        images, parts = ([a[rows, 0], a[rows, 1], a[following(rows), 0]] for a in (self.images, self.parts))
        return np.concatenate(images), np.concatenate(parts)


def following(rows: np.ndarray) -> np.ndarray:
    """The rows that start with the look in which these end."""
    return rows // SHARD * SHARD + (rows + 1) % SHARD


class _Trained(nn.Module):
    """The ViT with heads that read parts and depth from its keys while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.net = StructureNet(build_structure(), RESOLUTION, mean=STRUCTURE_MEAN, std=STRUCTURE_STD)
        self.parts, self.depth = nn.Linear(STRUCTURE_WIDTH, CLASSES), nn.Linear(STRUCTURE_WIDTH, 1)


def train_structure(
    work: Path, *, steps: int = STEPS, rate: float = 1e-3, seed: int = 0, device: str = "cpu", processes: int = 1, pack: Pack | None = None
) -> None:
    """Train the ViT and write it below ``work/pack``."""
    pairs = Pairs.load(work, "train", SHARDS, processes)
    torch.manual_seed(seed)
    model = _Trained().to(device)

    def start() -> None:
        if pack is not None and "structure" in pack.roles:
            model.net.vit.load_state_dict(load_structure(pack).vit.state_dict())

    run = Run(model, work / "structure", steps=steps, rate=rate, seed=seed, average=0.998, weight_decay=0.05, start=start)

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng((seed, step, 47))
        rows = rng.choice(len(pairs.images), BATCH, replace=False)
        images, parts = pairs.triples(rows)
        pictures = network_input(disturbed(images, parts, rng)).to(device)
        with autocast(device):
            found = model.net(pictures)
            named, depth = model.parts(found.keys), model.depth(found.keys)[..., 0]
        shares, wanted = (target.to(device) for target in patch_targets(parts))
        told = F.cross_entropy(named.float().flatten(0, 1), shares.flatten(0, 1)) + 2 * F.mse_loss(depth.float(), wanted)
        keys = F.normalize(found.keys.float(), dim=-1)
        alike = keys @ keys.transpose(1, 2)
        things = torch.from_numpy((parts[:BATCH] >= len(PARSING_CLASSES)).any((1, 2))).to(device)  # people change clothes with the look
        change = (alike[:BATCH] - alike[BATCH : 2 * BATCH]).square().mean((1, 2))
        kept = (change * things).sum() / things.sum().clamp(min=1)
        contrast, right = look_contrast(found.cls.float(), torch.from_numpy(following(rows)[:, None] == rows).to(device))
        return {"total": told + kept + contrast, "told": told, "kept": kept, "contrast": contrast, "right": right}

    run.run(loss)
    write_structure(work / "pack", load_average(model, work / "structure").net.vit.cpu())  # type: ignore[union-attr, arg-type]


def look_contrast(cls: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE of [CLS] tokens (3 x b, D) in the order of :meth:`Pairs.triples`, and the share (0..1) of looks that are found again.

    The second picture of a row has to find the third, of the same look, among all others; the first, the same shape in another look, is
    the hardest of them. ``same`` (b, b) bool: whose first picture (column) has the look of whose second (row), and is left out.
    """
    cls = F.normalize(cls, dim=-1)
    first, second, third = cls.chunk(3)
    scores = torch.cat([second @ third.T, second @ first.T], 1) / TEMPERATURE
    scores = scores.masked_fill(torch.cat([torch.zeros_like(same), same], 1), -1e4)
    places = torch.arange(len(second), device=cls.device)
    return F.cross_entropy(scores, places), (scores.argmax(1) == places).float().mean()


def patch_targets(parts: np.ndarray) -> tuple[Tensor, Tensor]:
    """Parts (n, 64, 64) -> their shares in each patch (n, patches, CLASSES), and the mean depth inside the outline (n, patches) in 0..1."""
    shares = F.avg_pool2d(F.one_hot(torch.from_numpy(parts).long(), CLASSES).permute(0, 3, 1, 2).float(), STRUCTURE_PATCH)
    depths = np.stack([cv2.distanceTransform((part > 0).astype(np.uint8), cv2.DIST_L2, 3) for part in parts])
    depth = F.avg_pool2d(torch.from_numpy(np.minimum(depths / 12, 1))[:, None].float(), STRUCTURE_PATCH)
    return shares.flatten(2).transpose(1, 2), depth.flatten(1)


def disturbed(images: np.ndarray, parts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some objects cut out and put on grey, some pictures spoilt: what the network meets when it is used."""
    made = images.copy()
    for index, (image, part) in enumerate(zip(made, parts, strict=True)):
        if part.max() >= len(PARSING_CLASSES) and rng.random() < CUT_OUT:
            image[part == 0] = 128
        if rng.random() < WORN:
            made[index] = spoil(image, float(rng.uniform(0, 2.5)), rng)
    return made


def network_input(images: np.ndarray) -> Tensor:
    """uint8 (b, 64, 64, 3) -> (b, 3, 64, 64) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1


def structure_scores(pack: Pack, work: Path, count: int = 100) -> dict[str, Any]:
    """On objects of the validation split: how often the nearest of ``count`` pictures is the same shape in another texture (by structure),
    and another shape in the same texture (by [CLS]); and the same by chance. Raises PackError for a pack without the role."""
    net = StructureScorer(pack)
    pairs = Pairs.load(work, "validation", 1)
    images, _ = pairs.triples(np.arange(min(count, len(pairs.images) - 1)))
    first, second, third = np.split(images, 3)
    shapes = [int(np.argmax(net.score(list(first), [picture], [picture]).structure)) for picture in second]
    looks = [int(np.argmax(net.score(list(third), [picture], [picture]).appearance)) for picture in second]
    places = np.arange(len(second))
    return {
        "shape_found": float((np.array(shapes) == places).mean()),
        "look_found": float((np.array(looks) == places).mean()),
        "chance": 1 / len(second),
    }


def _write_shard(task: tuple[Path, str]) -> None:
    target, split = task
    cv2.setNumThreads(1)
    number = int(target.name)
    draw = _person if number % 3 == 2 else _thing
    rows = [draw(split, number * SHARD + row, number * SHARD + (row + place) % SHARD) for row in range(SHARD) for place in (0, 1)]
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    aside.mkdir()
    for name, arrays in zip(("images", "parts"), zip(*rows, strict=True), strict=True):
        stacked = np.stack(arrays)
        np.save(aside / f"{name}.npy", stacked.reshape(SHARD, 2, *stacked.shape[1:]))
    publish(aside, target)


def _thing(split: str, shape: int, texture: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and parts (0, or the kind of object) of the shape and pose of one number in the texture of another."""
    thing = Thing.sample(seeds("people", split)[shape])
    made = render_object(thing, Texture.sample(seeds("looks", split)[texture]), Pose.sample(shape), RESOLUTION)
    return made.image, (made.mask * (len(PARSING_CLASSES) + KINDS.index(thing.kind))).astype(np.uint8)


def _person(split: str, shape: int, texture: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and parts (those of the face parser) of the person and pose of one number in the look of another."""
    person, look = Person.sample(seeds("people", split)[shape]), Look.sample(seeds("looks", split)[texture])
    made = render(person, look, Nuisance.sample(shape), RESOLUTION)
    return made.image, made.parsing
