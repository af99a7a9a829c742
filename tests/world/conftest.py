"""Shared by the tests of the rendered world: one thread, a pack of random weights, a handful of renders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from magicapture.packs import Pack, load_pack
from magicapture.world.datasets import Plan, Samples, load_samples
from magicapture.world.packing import random_pack


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Every role with random weights."""
    folder = tmp_path_factory.mktemp("randompack")
    random_pack(folder, seed=1)
    return load_pack(folder)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def groups(work: Path) -> Samples:
    """Two groups of three people whom the same words describe, two pictures each, 64 px."""
    return load_samples(work, "groups", Plan("recogniser", "train", 64, 2, 2, 2))


@pytest.fixture(scope="session")
def portraits(work: Path) -> Samples:
    """Eight people at 256 px."""
    return load_samples(work, "portraits", Plan("train", "train", 256, 8, 0, 1))
