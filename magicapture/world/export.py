"""Writing networks for a pack: weights rounded to fp16 on disk, arithmetic in fp32, ONNX and torch from the same numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from torch import Tensor, nn

from magicapture.artifacts import write_bytes

_SMALLEST = 64  # constants with fewer elements stay as they are: casting them costs more than it saves


def round_to_half(model: nn.Module) -> nn.Module:
    """Round every floating point weight and buffer to the nearest fp16 value, in place, kept as fp32."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.data.copy_(tensor.data.half().float())
    return model


def write_half(file: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dictionary as fp16 safetensors. Raises ValueError when a weight leaves fp16's range."""
    halves = {name: value.detach().half().contiguous() for name, value in state.items()}
    broken = [name for name, value in halves.items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"{file.name}: {', '.join(broken)} exceed fp16's range; the training has diverged")
    write_bytes(file, save(halves, metadata={"format": "pt"}))


def export_onnx(
    model: nn.Module,
    file: Path,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write ``model`` (weights rounded by :func:`round_to_half`) as ONNX with fp16 constants, cast in the graph.

    ``inputs`` name -> example, ``dynamic`` input or output name -> {axis: name}.
    """
    buffer = io.BytesIO()
    names: dict[str, Any] = {"input_names": list(inputs), "output_names": list(outputs), "dynamic_axes": dict(dynamic or {})}
    torch.onnx.export(model.eval(), tuple(inputs.values()), buffer, **names, opset_version=17, dynamo=False)
    graph = onnx.load_from_string(buffer.getvalue())
    _halve(graph)
    onnx.checker.check_model(graph)
    write_bytes(file, graph.SerializeToString())


def _halve(model: onnx.ModelProto) -> None:
    """Store large fp32 initialisers as fp16, each followed by a Cast to fp32 (folded away when a session loads)."""
    graph = model.graph
    kept, casts = [], []
    for initialiser in graph.initializer:
        values = numpy_helper.to_array(initialiser)
        if initialiser.data_type == TensorProto.FLOAT and values.size >= _SMALLEST:
            half = values.astype(np.float16)
            if not np.array_equal(half.astype(np.float32), values):
                raise ValueError(f"weight {initialiser.name} is not an fp16 number; call round_to_half before exporting")
            kept.append(numpy_helper.from_array(half, initialiser.name + ".half"))
            casts.append(
                helper.make_node("Cast", [initialiser.name + ".half"], [initialiser.name], f"Cast_{initialiser.name}", to=TensorProto.FLOAT)
            )
        else:
            kept.append(initialiser)
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
