from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from magicapture.backbones import Backbone, load_backbone
from magicapture.config import Config, load_config
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack, load_pack
from magicapture.training import inversion, tuning
from magicapture.training.data import TrainingData, load_training_data
from magicapture.training.session import Session
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
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return PreparedSet.load(tinymodel.build_prepared(tmp_path_factory.mktemp("data") / "prepared"))


@pytest.fixture(scope="session")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A latent cache that all tests share."""
    return tmp_path_factory.mktemp("latents")


@pytest.fixture(scope="session")
def loaded(pack: Pack) -> Backbone:
    """Read once; tests change copies."""
    return load_backbone(pack)


@pytest.fixture
def backbone(loaded: Backbone) -> Backbone:
    return copy.deepcopy(loaded)


@pytest.fixture
def config(pack: Pack) -> Config:
    return tiny_config(pack)


def tiny_config(pack: Pack, *overrides: str) -> Config:
    """Both phases in a few steps on the tiny pack."""
    return load_config(
        {
            "pack": str(pack.folder),
            "device": "cpu",
            "training": {"threads": 1, "checkpoint_every": 2, "augment": {"versions": 4}},
            "inversion": {"steps": 4, "learning_rate": 0.01},
            "tuning": {
                "steps": 6,
                "learning_rate": 0.01,
                "token_learning_rate": 0.01,
                "text_learning_rate": 0.01,
                "sample_every": 4,
                "samples": 2,
                "lora": {"rank": 2},
            },
            "generation": {"steps": 2, "sampler": "ddim", "guidance": 2.0},
        },
        overrides,
    )


@pytest.fixture
def data(prepared: PreparedSet, pack: Pack, backbone: Backbone, config: Config, latents: Path) -> TrainingData:
    return load_training_data(prepared, pack, backbone, config.training.augment, latents)


@pytest.fixture
def make_session(prepared: PreparedSet, pack: Pack, loaded: Backbone, tmp_path: Path, latents: Path) -> Callable[..., Session]:
    """A session on a fresh backbone that carries the initial tokens."""

    def make(config: Config, seed: int = 0, on: PreparedSet = prepared, folder: str = "run") -> Session:
        backbone = copy.deepcopy(loaded)
        inversion.add_initial(backbone.tokens, config.inversion, seed, on.tokens("source"), on.tokens("reference"))
        data = load_training_data(on, pack, backbone, config.training.augment, latents)
        return Session(on, pack, backbone, data, "lineage", tmp_path / folder)

    return make


@pytest.fixture(scope="session")
def tokens(prepared: PreparedSet, pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a whole phase 1."""
    folder = tmp_path_factory.mktemp("inversion")
    return inversion.run(prepared.folder, folder / "tokens", tiny_config(pack), 0, folder / "checkpoints")


@pytest.fixture(scope="session")
def adapter(prepared: PreparedSet, pack: Pack, tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a whole, uninterrupted phase 2."""
    folder = tmp_path_factory.mktemp("tuning")
    return tuning.run(prepared.folder, tokens, folder / "adapter", tiny_config(pack), 0, folder / "checkpoints")
