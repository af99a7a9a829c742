"""The published recognisers at full depth with random weights: torch and the ONNX file of the same weights agree (`make test-slow`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from magicapture.backbones.iresnet import BLOCKS, IResNet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def random_network(architecture: str) -> nn.Module:
    """Random weights, scales, biases and slopes; every norm's statistics are those of random crops, as training would leave them."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = IResNet(BLOCKS[architecture])
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.0)
                module.bias.uniform_(-0.1, 0.1)
                module.momentum = None  # the statistics of what was seen, not a moving average
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(0.1, 0.4)
        model.train()(torch.rand(8, 3, 112, 112) * 2 - 1)
    return model.eval()


@pytest.mark.parametrize("architecture", ["iresnet50", "iresnet100"])
def test_it_agrees_with_the_onnx_file_of_the_same_weights(architecture: str, tmp_path: Path) -> None:
    model, path = random_network(architecture), tmp_path / "recogniser.onnx"
    names = {"input_names": ["input"], "output_names": ["embedding"], "dynamic_axes": {"input": {0: "n"}, "embedding": {0: "n"}}}
    torch.onnx.export(model, (torch.zeros(1, 3, 112, 112),), path, **names, opset_version=17, dynamo=False)
    crops = np.random.default_rng(0).uniform(-1, 1, (3, 3, 112, 112)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": crops})
    path.unlink()  # pytest would keep its 260 MB for the next three runs
    with torch.no_grad():
        found = model(torch.from_numpy(crops)).numpy()
    assert found.shape == (3, 512) and 0.3 < expected.std(axis=0).mean() < 3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
