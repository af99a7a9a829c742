"""A pack of tiny ONNX models that really work, on a world of marker faces; built in milliseconds, needs no training.

A *marker face* is a red square (R 255, B 0) whose green channel holds a 2x2 pattern: the person. The detector finds red
squares of about 24..33, 50..66 or 100..130 px in its 128 px view; the parser calls red skin and blue hair; recogniser, judge
and referee read the green pattern; the upscaler is bicubic, the restorer blends with grey by its fidelity weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from magicapture.faces.align import ARCFACE

PEOPLE = np.array([[1, -1, -1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [-1, -1, 1, 1]], np.float32)
OPSET = [helper.make_opsetid("", 18)]


def draw(height: int, width: int, faces: Sequence[tuple[float, float, float, int]], seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: a smooth grey-blue backdrop that depends on ``seed`` and marker faces (centre x, centre y, side, person), px."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 120, (5, 5))
    ys, xs = np.linspace(0, 4, height), np.linspace(0, 4, width)
    rows = np.array([np.interp(xs, range(5), row) for row in coarse])
    grey = np.array([np.interp(ys, range(5), rows[:, x]) for x in range(width)]).T
    image = np.stack([grey, grey, np.minimum(grey + 40, 255)], axis=2)
    for x, y, side, person in faces:
        left, top = round(x - side / 2), round(y - side / 2)
        pattern = np.kron(PEOPLE[person].reshape(2, 2), np.ones((round(side) // 2 + 1,) * 2))[: round(side), : round(side)]
        patch = np.zeros((*pattern.shape, 3))
        patch[:, :, 0], patch[:, :, 1] = 255, 60 + 50 * pattern
        image[max(top, 0) : top + len(patch), max(left, 0) : left + len(patch)] = patch[
            max(-top, 0) : height - top, max(-left, 0) : width - left
        ]
    return image.astype(np.uint8)


def build(folder: Path) -> Path:
    """Write the pack and return its folder."""
    for name, model in {
        "faces/detector.onnx": detector(),
        "faces/recogniser.onnx": embedder(28),
        "judge/judge.onnx": embedder(56),
        "referee/referee.onnx": embedder(56),
        "parser.onnx": parser(),
        "upscaler.onnx": upscaler(),
        "restorer.onnx": restorer(),
    }.items():
        onnx.checker.check_model(model)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, str(folder / name))
    roles = {
        "detector": ("faces/detector.onnx", {"det_size": 128}),
        "recogniser": ("faces/recogniser.onnx", {"size": 112}),
        "judge": ("judge/judge.onnx", {"size": 112}),
        "referee": ("referee/referee.onnx", {"size": 112}),
        "parser": ("parser.onnx", {"size": 128, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "parts": False}),
        "upscaler": ("upscaler.onnx", {"scale": 4}),
        "restorer": ("restorer.onnx", {"size": 128}),
    }
    pack = {
        "name": "tiny", "version": "1", "description": "marker faces", "resolution": 64, "attention_resolution": 16,
        "roles": {
            role: {
                "path": path, "licence": "Apache-2.0", "commercial": True, "settings": settings,
                "sha256": {Path(path).name: hashlib.sha256((folder / path).read_bytes()).hexdigest()},
            }
            for role, (path, settings) in roles.items()
        },
    }  # fmt: skip
    (folder / "pack.yaml").write_text(yaml.safe_dump(pack))
    return folder


def detector() -> onnx.ModelProto:
    """insightface's 9 outputs (strides 8, 16, 32; two anchors, the second never fires) from average pools of redness."""
    nodes = [helper.make_node("Conv", ["input", "red"], ["redness"])]
    weights = {
        "red": np.array([0.5, 0.0, -0.5], np.float32).reshape(1, 3, 1, 1),
        "zero": np.zeros((), np.float32),
        "column": np.array([-1, 1], np.int64),
    }
    outputs: dict[str, list[str]] = {"score": [], "box": [], "points": []}
    for stride in (8, 16, 32):
        side = 3 * stride
        for name, kernel in (("inner", side), ("outer", 3 * side)):
            pads = [kernel // 2, kernel // 2, kernel // 2 - stride, kernel // 2 - stride]
            nodes.append(
                helper.make_node(
                    "AveragePool",
                    ["redness"],
                    [f"{name}{stride}"],
                    kernel_shape=[kernel] * 2,
                    strides=[stride] * 2,
                    pads=pads,
                    count_include_pad=1,
                )
            )
        span = 1.2 * side / stride
        weights[f"box_of{stride}"] = np.full((1, 4), span / 2, np.float32)
        weights[f"points_of{stride}"] = ((ARCFACE - [56, 62]) / 112 * span).astype(np.float32).reshape(1, 10)
        weights |= {"low": np.float32(0.8), "high": np.float32(0.28), "steep": np.float32(40)}
        nodes += [
            helper.make_node("Sub", [f"inner{stride}", "low"], [f"a{stride}"]),
            helper.make_node("Sub", ["high", f"outer{stride}"], [f"b{stride}"]),
            helper.make_node("Min", [f"a{stride}", f"b{stride}"], [f"least{stride}"]),
            helper.make_node("Mul", [f"least{stride}", "steep"], [f"logit{stride}"]),
            helper.make_node("Sigmoid", [f"logit{stride}"], [f"fire{stride}"]),
            helper.make_node("Transpose", [f"fire{stride}"], [f"rows{stride}"], perm=[0, 2, 3, 1]),
            helper.make_node("Mul", [f"rows{stride}", "zero"], [f"never{stride}"]),
            helper.make_node("Concat", [f"rows{stride}", f"never{stride}"], [f"anchors{stride}"], axis=3),
            helper.make_node("Reshape", [f"anchors{stride}", "column"], [f"score{stride}"]),
            helper.make_node("Mul", [f"score{stride}", "zero"], [f"blank{stride}"]),
            helper.make_node("Add", [f"blank{stride}", f"box_of{stride}"], [f"box{stride}"]),
            helper.make_node("Add", [f"blank{stride}", f"points_of{stride}"], [f"points{stride}"]),
        ]
        for kind, names in outputs.items():
            names.append(f"{kind}{stride}")
    ordered = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", c])
        for kind, c in (("score", 1), ("box", 4), ("points", 10))
        for name in outputs[kind]
    ]
    return _model(nodes, [("input", [1, 3, "h", "w"])], ordered, weights)


def embedder(pool: int, channel: int = 1, batch: int | str = "n") -> onnx.ModelProto:
    """[N, 3, 112, 112] -> the coarse pattern of one channel (green) without its mean."""
    cells = (112 // pool) ** 2
    weights = {
        "only": np.eye(3, dtype=np.float32)[channel].reshape(1, 3, 1, 1),
        "centre": (np.eye(cells) - 1 / cells).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "only"], ["channel"]),
        helper.make_node("AveragePool", ["channel"], ["cells"], kernel_shape=[pool] * 2, strides=[pool] * 2),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("MatMul", ["flat", "centre"], ["embedding"]),
    ]
    return _model(
        nodes, [("input", [batch, 3, 112, 112])], [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, cells])], weights
    )


def parser() -> onnx.ModelProto:
    """Red is skin (1), blue is hair (17), anything else background."""
    weight, bias = np.zeros((19, 3, 1, 1), np.float32), np.full(19, -9, np.float32)
    weight[1, :, 0, 0], weight[17, :, 0, 0] = (0.5, 0, -0.5), (-0.5, 0, 0.5)
    bias[[0, 1, 17]] = 0.5, 0, 0
    nodes = [helper.make_node("Conv", ["input", "weight", "bias"], ["logits"])]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 19, 128, 128])
    return _model(nodes, [("input", ["n", 3, 128, 128])], [output], {"weight": weight, "bias": bias})


def upscaler(scale: int = 4) -> onnx.ModelProto:
    """Bicubic, RGB 0..1."""
    nodes = [helper.make_node("Resize", ["input", "", "scales"], ["output"], mode="cubic", coordinate_transformation_mode="half_pixel")]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 3, "H", "W"])
    return _model(nodes, [("input", ["n", 3, "h", "w"])], [output], {"scales": np.array([1, 1, scale, scale], np.float32)})


def restorer(size: int = 128) -> onnx.ModelProto:
    """weight x input + (1 - weight) x mid grey, RGB -1..1: mid grey is 0, so the product is enough."""
    nodes = [
        helper.make_node("Cast", ["weight"], ["fidelity"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["input", "fidelity"], ["output"]),
    ]
    shape = ["n", 3, size, size]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("weight", TensorProto.DOUBLE, []),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)])
    return helper.make_model(graph, opset_imports=OPSET, ir_version=9)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, list[int | str]]],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray],
) -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs]
    initialisers = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    return helper.make_model(helper.make_graph(nodes, "tiny", infos, outputs, initialisers), opset_imports=OPSET, ir_version=9)
