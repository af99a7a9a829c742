"""Packs that several rooms' tests share; imported by their conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicapture.packs import Pack, load_pack
from tests.faces import tinypack


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the pack for marker faces; not to be changed (copy it)."""
    return tinypack.build(tmp_path_factory.mktemp("tinypack"))


@pytest.fixture(scope="session")
def tiny_pack(tiny_folder: Path) -> Pack:
    """Small ONNX models that work on marker faces."""
    return load_pack(tiny_folder)


@pytest.fixture(scope="session")
def mini_pack() -> Pack:
    """The embedded, trained pack: for what is true of rendered people."""
    pack = load_pack("mini")
    pack.require("detector", "recogniser", "judge", "referee", "parser", "upscaler", "restorer")
    return pack
