"""Rendered pictures of the small models, rendered once into shards on disk (plain .npy files) and read from there.

A shard is a folder with ``images`` uint8 (n, S, S, 3), ``parsing`` uint8 (n, S, S), ``keypoints`` float32 (n, 5, 2) px and
``boxes`` float32 (n, 4) px. Picture i of a set shows person i // pictures; people come in groups of 1 + strangers whom the
same words describe. (Pictures with captions are those of diffusion_data.)
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person, matched_stranger
from magicapture.world.render import Picture, render
from magicapture.world.splits import seeds

SHARD = 400
PARTS = ("images", "parsing", "keypoints", "boxes")


@dataclass(frozen=True)
class Plan:
    """What a set holds: whose seeds, px a side, groups of people, matched strangers per group, pictures per person."""

    people: str
    looks: str
    size: int
    groups: int
    strangers: int
    pictures: int

    @property
    def count(self) -> int:
        """Pictures in the set."""
        return self.groups * (1 + self.strangers) * self.pictures


PLANS = {
    "recogniser": Plan("recogniser", "train", 64, 1200, 4, 6),
    "judge": Plan("judge", "train", 64, 1500, 4, 4),
    "referee": Plan("referee", "train", 64, 1500, 4, 4),
    "general": Plan("train", "train", 256, 4000, 0, 1),
    "verification": Plan("validation", "validation", 64, 100, 4, 4),
    "check": Plan("validation", "validation", 256, 300, 0, 1),
}


def person_of(plan: Plan, index: int) -> Person:
    """Person ``index`` of a plan: the first of each group is drawn from the split, the others are her matched strangers."""
    group, member = divmod(index, 1 + plan.strangers)
    person = Person.sample(seeds("people", plan.people)[group])
    return person if member == 0 else matched_stranger(person, member)


def factors_of(plan: Plan, index: int) -> tuple[Person, Look, Nuisance]:
    """Who is in picture ``index`` of a plan, in which look and pose (both depend on ``index`` alone; half of the looks are mixed)."""
    rng = np.random.default_rng((index, 13))
    looks = seeds("looks", plan.looks)
    look_seed = looks[int(rng.integers(len(looks)))]
    look = Look.sample(look_seed) if rng.random() < 0.5 else Look.compose(look_seed)
    return person_of(plan, index // plan.pictures), look, Nuisance.sample(int(rng.integers(2**31)))


def picture_of(plan: Plan, index: int, size: int | None = None) -> Picture:
    """Picture ``index`` of a plan, ``size`` px a side (default: the plan's)."""
    return render(*factors_of(plan, index), size or plan.size)


@dataclass
class Samples:
    """A set in memory (fields as in the module's text)."""

    plan: Plan
    images: np.ndarray
    parsing: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def people(self) -> np.ndarray:
        """(n,) int: who is in each picture."""
        return np.arange(len(self)) // self.plan.pictures

    @property
    def groups(self) -> np.ndarray:
        """(n,) int: which group of people described by the same words."""
        return self.people // (1 + self.plan.strangers)


def load_samples(work: Path, name: str, plan: Plan | None = None, processes: int = 1) -> Samples:
    """The set ``name`` below ``work/data``; what is missing of it is rendered first. ``plan`` replaces that of PLANS."""
    plan = plan or PLANS[name]
    folder = work / "data" / f"{name}-{plan.size}-{plan.groups}x{1 + plan.strangers}x{plan.pictures}"
    folder.mkdir(parents=True, exist_ok=True)
    shards = [folder / f"{start:06d}" for start in range(0, plan.count, SHARD)]
    tasks = [(plan, shard) for shard in shards if not shard.is_dir()]
    if processes > 1 and len(tasks) > 1:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            list(tqdm(pool.imap_unordered(_write_shard, tasks), total=len(tasks), desc=f"render {name}"))
    else:
        for task in tqdm(tasks, desc=f"render {name}", disable=not tasks):
            _write_shard(task)
    return Samples(plan, *(np.concatenate([np.load(shard / f"{part}.npy") for shard in shards]) for part in PARTS))


def _write_shard(task: tuple[Plan, Path]) -> None:
    plan, target = task
    cv2.setNumThreads(1)
    start = int(target.name)
    pictures = [picture_of(plan, index) for index in range(start, min(start + SHARD, plan.count))]
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    aside.mkdir()
    np.save(aside / "images.npy", np.stack([p.image for p in pictures]))
    np.save(aside / "parsing.npy", np.stack([p.parsing for p in pictures]))
    np.save(aside / "keypoints.npy", np.stack([p.keypoints for p in pictures]).astype(np.float32))
    np.save(aside / "boxes.npy", np.stack([p.box for p in pictures]).astype(np.float32))
    publish(aside, target)


def publish(aside: Path, target: Path) -> None:
    """Give the finished folder ``aside`` its name; where another training was faster, whose shard is the same, it is thrown away."""
    try:
        aside.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(aside)
