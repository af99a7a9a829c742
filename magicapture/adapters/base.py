"""What an adapter has to fit: the layers of its base model with their shapes, read from configurations; no weights are loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from magicapture.adapters.files import AdapterError, stacked
from magicapture.adapters.layers import Layer, kohya_names
from magicapture.packs import Pack

#: Configurations of the published models, as far as they decide which layers there are: (UNet, text encoders).
_PUBLISHED: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "Stable Diffusion 1.x": (
        {"cross_attention_dim": 768, "attention_head_dim": 8},
        [{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}],
    ),
    "Stable Diffusion 2.x": (
        {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
        [{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}],
    ),
    "Stable Diffusion XL": (
        {
            "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20], "use_linear_projection": True,
            "block_out_channels": [320, 640, 1280],
            "transformer_layers_per_block": [1, 2, 10], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
        },
        [
            {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
            {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20, "projection_dim": 1280},
        ],
    ),
}  # fmt: skip
#: Family -> sai_model_spec's name of the architecture, and kohya's of the base model.
_NAMES = {
    "Stable Diffusion 1.x": ("stable-diffusion-v1", "sd_v1"),
    "Stable Diffusion 2.x": ("stable-diffusion-v2-512", "sd_v2"),
    "Stable Diffusion XL": ("stable-diffusion-xl-v1-base", "sdxl_base_v1-0"),
}


class Base:
    """A base model's layers; ``of_pack`` and ``published`` make one."""

    def __init__(self, name: str, unet: Mapping[str, Any], encoders: list[CLIPTextConfig]) -> None:
        #: What it is called in messages.
        self.name = name
        #: Whether it has two text encoders (Stable Diffusion XL).
        self.xl = len(encoders) == 2
        #: Layers of each block of the UNet.
        self.layers_per_block = int(unet.get("layers_per_block", 2))
        #: Width of a token's vector by text encoder, as ``files.stacked`` names them.
        self.widths = {key: int(config.hidden_size) for key, config in zip(("clip_l", "clip_g") if self.xl else ("",), encoders)}
        with torch.device("meta"):
            networks: dict[str, nn.Module] = {
                "unet": UNet2DConditionModel.from_config(dict(unet)),
                "text_encoder": CLIPTextModel(encoders[0]),
            }
            if self.xl:
                networks["text_encoder_2"] = CLIPTextModelWithProjection(encoders[1])
        #: Layer (linear or convolutional) -> shape of its weight, (out, in) or (out, in, height, width).
        self.shapes: dict[str, tuple[int, ...]] = {}
        for prefix, network in networks.items():
            # transformers 5 dropped this level from CLIPTextModel; files keep it.
            level = "text_model." if prefix != "unet" and not hasattr(network, "text_model") else ""
            for name, module in network.named_modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    self.shapes[f"{prefix}.{level}{name}"] = tuple(module.weight.shape)

    @property
    def family(self) -> str:
        """ "Stable Diffusion 1.x", "... 2.x", "... XL", or what the model is called where its sizes are those of none."""
        width = self.shapes["unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"][1]
        return {(768, False): "Stable Diffusion 1.x", (1024, False): "Stable Diffusion 2.x", (2048, True): "Stable Diffusion XL"}.get(
            (width, self.xl), f"{self.name} ({'two text encoders' if self.xl else 'Stable Diffusion layout'}, width {width})"
        )

    def architecture(self, velocity: bool) -> tuple[str, str]:
        """sai_model_spec's name of the architecture and kohya's of the base model; both the model's own where it is none of theirs."""
        spec, kohya = _NAMES.get(self.family, (self.name.replace(" ", "-"),) * 2)
        if self.family == "Stable Diffusion 2.x" and velocity:
            spec = "stable-diffusion-v2-768-v"
        return spec, kohya

    @cached_property
    def kohya(self) -> dict[str, str]:
        """Every name that kohya's files may give a layer -> the layer."""
        return {name: layer for layer in self.shapes for name in kohya_names(layer, self.xl, self.layers_per_block)}

    def misfits(self, layers: Mapping[str, Layer]) -> list[str]:
        """What does not fit of known layers, a sentence each; empty when all does."""
        found = []
        for name, layer in layers.items():
            shape = self.shapes.get(name)
            if shape is None:
                found.append(f"there is no layer {name}")
            elif (layer.up.shape[0], layer.down.shape[1:].numel()) != (shape[0], torch.Size(shape[1:]).numel()):
                given = f"{layer.down.shape[1:].numel()} -> {layer.up.shape[0]}"
                found.append(f"{name} is {given}, expected {torch.Size(shape[1:]).numel()} -> {shape[0]}")
        return found

    def check_tokens(self, tokens: Mapping[str, Tensor]) -> None:
        """Raise AdapterError unless every token has vectors of the right width in each text encoder."""
        for token, vectors in stacked(tokens).items():
            given = {encoder: rows.shape[-1] for encoder, rows in vectors.items()}
            if given != self.widths:
                raise AdapterError(
                    f"vectors of {token}: {_widths(given)}, but {self.name} takes {_widths(self.widths)}; they were learnt on another base"
                )


def _widths(widths: Mapping[str, int]) -> str:
    return " and ".join(f"{encoder or 'width'} {width}" for encoder, width in widths.items())


@cache
def of_folder(name: str, folder: Path) -> Base:
    """The base in a folder of diffusers' layout; reads its configurations only."""
    unet = json.loads((folder / "unet" / "config.json").read_text())
    encoders = [folder / part for part in ("text_encoder", "text_encoder_2") if (folder / part).is_dir()]
    return Base(name, unet, [CLIPTextConfig.from_pretrained(encoder, local_files_only=True) for encoder in encoders])


def of_pack(pack: Pack) -> Base:
    """The pack's diffusion model; raises PackError where it is not there."""
    return of_folder(f"pack {pack.name}", pack.path("diffusion"))


@cache
def published(family: str) -> Base:
    """A published family ("Stable Diffusion 1.x", "... 2.x", "... XL") by its known sizes."""
    unet, encoders = _PUBLISHED[family]
    return Base(family, unet, [CLIPTextConfig(**config) for config in encoders])


FAMILIES = tuple(_PUBLISHED)
