"""Fixtures of the tests of versioned data; imported by the rooms' conftest.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from magicapture.config import Config, load_config
from tests.data import store as stores
from tests.faces import tinypack

Draw = Callable[..., Path]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stores.Store]:
    with pytest.MonkeyPatch.context() as patch, stores.serve(patch, tmp_path_factory.mktemp("home")) as store:
        yield store


@pytest.fixture(scope="module")
def empty(store: stores.Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository without pictures; not to be changed."""
    return stores.make(tmp_path_factory.mktemp("repository") / "work", store)


@pytest.fixture
def repository(empty: Path, tmp_path: Path) -> Path:
    """A repository without pictures, whose remote is the store."""
    return Path(shutil.copytree(empty, tmp_path / "repository", symlinks=True))


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Config:
    """Judges marker faces, in no time."""
    return load_config({"pack": str(tiny_folder)})


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Write a picture with a marker face: draw(path, person, seed, **how PIL saves it)."""

    def write(path: Path, person: int = 0, seed: int = 0, **options: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tinypack.draw(256, 256, [(96 + 16 * (seed % 5), 128, 116, person)], seed)).save(path, **options)  # type: ignore[arg-type]
        return path

    return write
