from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from diffusers import StableDiffusionPipeline

from magicapture import adapters
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
def tuned(pack: Pack) -> Backbone:
    """A backbone with two tokens and a LoRA (rank 4, alpha 2) that all do something."""
    return tune(load_backbone(pack))


@pytest.fixture()
def stock(pack: Pack) -> StableDiffusionPipeline:
    return stock_pipeline(pack)


def tune(backbone: Backbone, rank: int = 4, alpha: float = 2.0, tokens: Sequence[str] = ("[V1]", "[V2]")) -> Backbone:
    generator = torch.Generator().manual_seed(7)
    for token in tokens:
        backbone.tokens.add(token, torch.randn(32, generator=generator))
    groups = adapters.attach(backbone, rank, alpha, 0.0, seed=0)
    with torch.no_grad():
        for parameter in [*groups.unet, *groups.text]:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return backbone
