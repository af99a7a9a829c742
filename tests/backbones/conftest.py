from __future__ import annotations

import pytest
from diffusers import StableDiffusionPipeline

from magicapture.backbones import Backbone, load_backbone
from magicapture.packs import Pack
from tests.backbones.tinysd import stock_pipeline, write_pack


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return write_pack(tmp_path_factory.mktemp("tinysd"))


@pytest.fixture()
def backbone(pack: Pack) -> Backbone:
    return load_backbone(pack)


@pytest.fixture()
def stock(pack: Pack) -> StableDiffusionPipeline:
    return stock_pipeline(pack)
