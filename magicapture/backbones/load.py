"""From a pack to a backbone on a device."""

from __future__ import annotations

import json

import torch

from magicapture.backbones.backbone import Backbone
from magicapture.backbones.device import resolve_device
from magicapture.backbones.errors import BackboneError
from magicapture.backbones.prediction import check_prediction_type
from magicapture.backbones.stable_diffusion import StableDiffusion
from magicapture.backbones.stable_diffusion_xl import StableDiffusionXL
from magicapture.packs import Pack

#: Pipeline class named in a folder's model_index.json -> backbone.
FAMILIES: dict[str, type[StableDiffusion]] = {"StableDiffusionPipeline": StableDiffusion, "StableDiffusionXLPipeline": StableDiffusionXL}

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_backbone(pack: Pack, device: str = "cpu", precision: str = "fp32") -> Backbone:
    """The pack's diffusion model, frozen, in evaluation mode, after its hashes were checked.

    ``device``: auto, cpu, cuda. ``precision`` of the networks: fp32, bf16, fp16 (fp16 only on CUDA). Raises PackError for
    missing or altered files, BackboneError for what cannot run here and for a scheduler that contradicts the UNet.
    """
    target = resolve_device(device)
    if precision not in _DTYPES:
        raise BackboneError(f"precision {precision!r}: expected one of {', '.join(_DTYPES)}")
    if target.type == "cpu" and precision == "fp16":
        raise BackboneError("precision fp16 does not run on the CPU; use precision: fp32 (or a CUDA device)")
    pack.require("diffusion")
    folder = pack.path("diffusion")
    index = folder / "model_index.json"
    if not index.is_file():
        raise BackboneError(f"{folder}: no model_index.json; expected a model folder in diffusers layout")
    family = json.loads(index.read_text()).get("_class_name")
    if family not in FAMILIES:
        raise BackboneError(f"{folder} holds a {family}; MagiCapture runs: {', '.join(FAMILIES)}")
    backbone = FAMILIES[family](folder, pack.resolution, target, _DTYPES[precision])
    check_prediction_type(backbone, folder)
    return backbone
