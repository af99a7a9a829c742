"""The mini pack's folder: every role's files in the formats of the large ones, and pack.yaml with their hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPModel, ViTModel

from magicapture.artifacts import sha256_file, write_text
from magicapture.backbones.recogniser import INPUT, FaceNet, fold
from magicapture.world.architecture import RESOLUTION, TEXT_LENGTH, random_diffusion
from magicapture.world.export import export_onnx, round_to_half, write_half
from magicapture.world.networks import (
    CLIP_MEAN,
    CLIP_STD,
    STRIDES,
    STRUCTURE_MEAN,
    STRUCTURE_STD,
    Detector,
    FaceParser,
    Restorer,
    Upscaler,
    build_aesthetic,
    build_clip,
    build_structure,
)
from magicapture.world.tokenizer import build_tokenizer

ARCHITECTURES = {"recogniser": "residual", "judge": "plain", "referee": "dense"}
HISTORY = "training.json"  # the training segments of every role, in a pack and in a work folder that goes on from it
DETECTOR_SIZE = 128
USUAL_SCORE = 0.95  # mean detector score of a set of pictures below which they are hardly renders (tests/references/test_domain.py)
PARSER_SIZE = RESTORER_SIZE = 128
PARSER_MEAN, PARSER_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

#: Role -> (path in the pack, what code must know).
ROLES: dict[str, tuple[str, dict[str, Any]]] = {
    "diffusion": ("diffusion", {"resolution": RESOLUTION, "token_length": TEXT_LENGTH}),
    "detector": ("faces/detector.onnx", {"det_size": DETECTOR_SIZE, "usual_score": USUAL_SCORE}),
    "recogniser": ("faces/recogniser.onnx", {"size": INPUT, "architecture": ARCHITECTURES["recogniser"]}),
    "recogniser_torch": ("recogniser.safetensors", {"size": INPUT, "architecture": ARCHITECTURES["recogniser"]}),
    "judge": ("judge/judge.onnx", {"size": INPUT, "architecture": ARCHITECTURES["judge"]}),
    "referee": ("referee/referee.onnx", {"size": INPUT, "architecture": ARCHITECTURES["referee"]}),
    "parser": ("parser.onnx", {"size": PARSER_SIZE, "mean": list(PARSER_MEAN), "std": list(PARSER_STD), "lenses": False}),
    "clip": ("clip", {"size": RESOLUTION, "mean": list(CLIP_MEAN), "std": list(CLIP_STD)}),
    "aesthetic": ("aesthetic.safetensors", {"activation": "relu"}),
    "restorer": ("restorer.onnx", {"size": RESTORER_SIZE}),
    "upscaler": ("upscaler.onnx", {"scale": Upscaler.SCALE}),
    "structure": ("structure", {"size": RESOLUTION, "mean": list(STRUCTURE_MEAN), "std": list(STRUCTURE_STD), "layer": -1}),
}
#: Roles that a pack may go without: only objects need them.
OPTIONAL = ("structure",)


def write_recogniser(folder: Path, role: str, model: FaceNet) -> None:
    """Role recogniser (with recogniser_torch), judge or referee from a trained network, which is folded in place."""
    round_to_half(fold(model))
    example = torch.zeros(2, 3, INPUT, INPUT)
    export_onnx(model, folder / ROLES[role][0], {"input": example}, ["embedding"], {"input": {0: "n"}, "embedding": {0: "n"}})
    if role == "recogniser":
        write_half(folder / ROLES["recogniser_torch"][0], model.state_dict())


def write_detector(folder: Path, model: Detector) -> None:
    """Role detector; the graph takes one picture of any size that is a multiple of 32."""
    round_to_half(fold(model))
    names = [f"{kind}_{stride}" for kind in ("score", "box", "keypoints") for stride in STRIDES]
    axes = {"input": {2: "height", 3: "width"}} | {name: {0: "n" + name} for name in names}
    export_onnx(model, folder / ROLES["detector"][0], {"input": torch.zeros(1, 3, DETECTOR_SIZE, DETECTOR_SIZE)}, names, axes)


def write_parser(folder: Path, model: FaceParser) -> None:
    """Role parser."""
    round_to_half(fold(model))
    example = torch.zeros(1, 3, PARSER_SIZE, PARSER_SIZE)
    export_onnx(model, folder / ROLES["parser"][0], {"input": example}, ["logits"], {"input": {0: "n"}, "logits": {0: "n"}})


def write_upscaler(folder: Path, model: Upscaler) -> None:
    """Role upscaler; the graph takes pictures whose sides are even."""
    round_to_half(model)
    axes = {0: "n", 2: "height", 3: "width"}
    export_onnx(model, folder / ROLES["upscaler"][0], {"input": torch.zeros(1, 3, 64, 64)}, ["output"], {"input": axes, "output": axes})


def write_restorer(folder: Path, model: Restorer) -> None:
    """Role restorer."""
    round_to_half(fold(model))
    example = {"input": torch.zeros(1, 3, RESTORER_SIZE, RESTORER_SIZE), "weight": torch.tensor(0.5, dtype=torch.float64)}
    export_onnx(model, folder / ROLES["restorer"][0], example, ["output"], {"input": {0: "n"}, "output": {0: "n"}})


def write_clip(folder: Path, model: CLIPModel) -> None:
    """Role clip: a transformers folder with its tokenizer, weights in fp16."""
    target = folder / ROLES["clip"][0]
    model.save_pretrained(target)
    # Only the file is fp16: a configuration that says so makes transformers calculate in fp16, slowly and roughly on a CPU.
    write_half(target / "model.safetensors", load_file(target / "model.safetensors"))
    build_tokenizer(target, TEXT_LENGTH)


def write_aesthetic(folder: Path, model: nn.Module) -> None:
    """Role aesthetic."""
    write_half(folder / ROLES["aesthetic"][0], model.state_dict())


def write_structure(folder: Path, model: ViTModel) -> None:
    """Role structure: a transformers folder, weights in fp16."""
    target = folder / ROLES["structure"][0]
    model.save_pretrained(target)
    write_half(target / "model.safetensors", {name: value.clone() for name, value in load_file(target / "model.safetensors").items()})


def write_pack_yaml(folder: Path, version: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """pack.yaml for the role files that lie in ``folder``; ``settings`` adds to those of ROLES. Raises FileNotFoundError."""
    roles = {}
    for name, (path, known) in ROLES.items():
        target = folder / path
        if not target.exists() and name in OPTIONAL:
            continue
        if not target.exists():
            raise FileNotFoundError(f"{target} is missing: train or write role {name!r} first")
        files = sorted(p for p in target.rglob("*") if p.is_file()) if target.is_dir() else [target]
        base = target if target.is_dir() else target.parent
        roles[name] = {
            "path": path,
            "sha256": {str(file.relative_to(base)): sha256_file(file) for file in files},
            **({"optional": True} if name in OPTIONAL else {}),
            "licence": "Apache-2.0",
            "commercial": True,
            "settings": {**known, **(settings or {}).get(name, {})},
        }
    pack = {
        "name": "mini",
        "version": version,
        "description": "Small models trained from scratch on rendered people (magicapture/world); knows no real faces.",
        "domain": "rendered people",
        "resolution": RESOLUTION,
        "attention_resolution": 16,
        "roles": roles,
    }
    write_text(folder / "pack.yaml", yaml.safe_dump(pack, sort_keys=False, width=140))


def random_pack(folder: Path, seed: int = 0) -> None:
    """A complete pack with random weights of every role: formats and wiring, no skill."""
    torch.manual_seed(seed)
    for role, architecture in ARCHITECTURES.items():
        write_recogniser(folder, role, FaceNet(architecture))
    write_detector(folder, Detector())
    write_parser(folder, FaceParser())
    write_upscaler(folder, Upscaler())
    write_restorer(folder, Restorer())
    write_clip(folder, build_clip(folder / "clip"))
    write_aesthetic(folder, build_aesthetic())
    write_structure(folder, build_structure())
    if not (folder / "diffusion").is_dir():
        random_diffusion(folder / "diffusion", seed)
    write_pack_yaml(folder, "random")
