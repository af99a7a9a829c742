from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from magicapture.backbones import Backbone, load_backbone
from magicapture.backbones.iresnet import BLOCKS, IResNet
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


@pytest.fixture(scope="session")
def iresnet18() -> nn.Module:
    """Random weights, and statistics and slopes of their own in every norm and PReLU; in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = IResNet(BLOCKS["iresnet18"])
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor, low, high in ((module.weight, 0.5, 1.0), (module.running_var, 0.5, 1.5), (module.bias, -0.1, 0.1)):
                    tensor.data.uniform_(low, high)
                module.running_mean.uniform_(-0.1, 0.1)
            elif isinstance(module, nn.PReLU):
                module.weight.data.uniform_(0.1, 0.4)
            elif isinstance(module, nn.Conv2d | nn.Linear):  # torch's own are so small that only biases would come out
                nn.init.kaiming_normal_(module.weight, 0.25)
    return model.eval()
