from __future__ import annotations

import numpy as np
import pytest

from magicapture.packs import Pack
from tests.scoring.tinyclip import write_pack


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return write_pack(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.integers(0, 256, (size, size + 8, 3), dtype=np.uint8) for size in (32, 48, 128)]
