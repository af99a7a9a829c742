from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from magicapture.config import Config, load_config
from magicapture.packs import Pack, load_pack
from tests.backbones import tinyvit
from tests.training import tinymodel
from tests.training.conftest import tiny_config


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Scores things, not people: random networks make no faces, but every picture has a structure."""
    return load_pack(tinyvit.add_role(tinymodel.build_pack(tmp_path_factory.mktemp("pack"))))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodel.build_objects(tmp_path_factory.mktemp("data") / "prepared")


def few_steps(pack: Pack, *overrides: str) -> Config:
    """Eight steps of tuning with a validation every second."""
    data = tiny_config(pack).model_dump(mode="json")
    data["training"] |= {"checkpoint_every": 1, "class_word": "vase", "augment": {"versions": 1}}
    data["inversion"] |= {"source_initialiser": "vase"}
    data["tuning"] |= {"steps": 8, "sample_every": 2, "lambda_identity": 0}
    data["generation"]["prompts"] = ["a photo of a [V1] vase in the [V2] style"]
    return load_config(data, overrides)
