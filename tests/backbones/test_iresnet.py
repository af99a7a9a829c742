from __future__ import annotations

import io

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from magicapture.backbones.iresnet import BLOCKS
from magicapture.backbones.recogniser import empty


def published(blocks: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of arcface_torch's state dicts, written down apart from the network."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 3, 3), "prelu.weight": (64,)}
    shapes |= {"fc.weight": (512, 25088), "fc.bias": (512,)}
    norms = {"bn1": 64, "bn2": 512, "features": 512}
    inputs = 64
    for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 1):
        for index in range(count):
            block = f"layer{stage}.{index}"
            norms |= {f"{block}.bn1": inputs, f"{block}.bn2": width, f"{block}.bn3": width}
            shapes[f"{block}.conv1.weight"], shapes[f"{block}.conv2.weight"] = (width, inputs, 3, 3), (width, width, 3, 3)
            shapes[f"{block}.prelu.weight"] = (width,)
            if index == 0:
                shapes[f"{block}.downsample.0.weight"] = (width, inputs, 1, 1)
                norms[f"{block}.downsample.1"] = width
            inputs = width
    for name, width in norms.items():
        shapes |= {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


@pytest.mark.parametrize(("architecture", "parameters"), [("iresnet18", 24_025_600), ("iresnet50", 43_590_848), ("iresnet100", 65_156_160)])
def test_names_and_shapes_are_those_of_the_published_files(architecture: str, parameters: int) -> None:
    model = empty(architecture)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == published(BLOCKS[architecture])
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)} == {1e-5}


def test_it_agrees_with_the_onnx_file_of_the_same_weights(iresnet18: nn.Module) -> None:
    buffer = io.BytesIO()
    names = {"input_names": ["input"], "output_names": ["embedding"], "dynamic_axes": {"input": {0: "n"}, "embedding": {0: "n"}}}
    torch.onnx.export(iresnet18, (torch.zeros(1, 3, 112, 112),), buffer, **names, opset_version=17, dynamo=False)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    crops = np.random.default_rng(0).uniform(-1, 1, (3, 3, 112, 112)).astype(np.float32)
    expected = session.run(None, {"input": crops})[0]
    with torch.no_grad():
        found = iresnet18(torch.from_numpy(crops)).numpy()
    assert found.shape == (3, 512) and 0.3 < expected.std(axis=0).mean() < 30
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_gradient_reaches_every_part_of_the_input(iresnet18: nn.Module) -> None:
    crops = (torch.rand((1, 3, 112, 112), generator=torch.Generator().manual_seed(0)) * 2 - 1).requires_grad_()
    iresnet18(crops).square().sum().backward()
    assert crops.grad is not None and torch.isfinite(crops.grad).all()
    assert (nn.functional.avg_pool2d(crops.grad.abs(), 16) > 0).all()
