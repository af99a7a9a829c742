from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from magicapture.packs import Pack, load_pack
from tests.training import tinymodel


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return load_pack(tinymodel.build_pack(tmp_path_factory.mktemp("pack")))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodel.build_prepared(tmp_path_factory.mktemp("data") / "prepared")
