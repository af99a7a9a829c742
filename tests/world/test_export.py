from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from safetensors.torch import load_file
from torch import nn

from magicapture.world.export import export_onnx, round_to_half, write_half


def test_weights_are_half_on_disk_and_arithmetic_is_full(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3))
    file = tmp_path / "net.onnx"
    x = torch.rand(2, 3, 12, 12)
    with pytest.raises(ValueError, match="round_to_half"):
        export_onnx(model, file, {"input": x}, ["output"])
    assert not file.exists()
    export_onnx(round_to_half(model), file, {"input": x}, ["output"], {"input": {0: "n"}, "output": {0: "n"}})
    large = [t for t in onnx.load(file).graph.initializer if np.prod(t.dims) >= 64]
    assert large and all(t.data_type == TensorProto.FLOAT16 for t in large)
    out = onnxruntime.InferenceSession(file).run(None, {"input": x[:1].numpy()})[0]
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, model(x[:1]).detach().numpy(), atol=1e-5)


def test_half_file_holds_the_rounded_weights_and_refuses_overflow(tmp_path: Path) -> None:
    model = round_to_half(nn.Linear(5, 3))
    write_half(tmp_path / "w.safetensors", model.state_dict())
    stored = load_file(tmp_path / "w.safetensors")
    assert stored["weight"].dtype == torch.float16
    assert torch.equal(stored["weight"].float(), model.weight)
    with pytest.raises(ValueError, match="big"):
        write_half(tmp_path / "v.safetensors", {"big": torch.tensor([1e6])})
