"""LoRA layer by layer, whatever file it lies in: the common ground of every format, and kohya's names of layers.

A layer is named as on our disk and as diffusers names it: ``unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q``,
``text_encoder.text_model.encoder.layers.0.self_attn.q_proj``. kohya joins the same names by underscores behind ``lora_unet_`` and
``lora_te_``; of XL it names the UNet's blocks as the original (sgm) network numbers them, and the encoders ``lora_te1_``, ``lora_te2_``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from magicapture.adapters.files import Stored, of_network

_RESNET = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
_SINGLE = {
    "conv_in": "input_blocks.0.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
_BLOCK = re.compile(r"(down_blocks|up_blocks)\.(\d+)\.(attentions|resnets|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(attentions|resnets)\.(\d+)\.(.+)")


class Layer(NamedTuple):
    """One layer's update: ``alpha / rank * up @ down``, fp32."""

    down: Tensor  # (rank, in), of a convolution (rank, in, height, width)
    up: Tensor  # (out, rank), of a convolution (out, rank, 1, 1)
    alpha: float

    @property
    def rank(self) -> int:
        """Rows of ``down``."""
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank


def layers_of(stored: Stored) -> dict[str, Layer]:
    """The LoRA of an adapter, layer by layer, sorted by name; empty where it has none."""
    down, up = (
        {name.removesuffix(end): tensor for name, tensor in stored.tensors.items() if name.endswith(end)}
        for end in (".lora_A.weight", ".lora_B.weight")
    )
    return {name: Layer(down[name], up[name], stored.alpha) for name in sorted(down)}


def tokens_of(stored: Stored) -> dict[str, Tensor]:
    """The token vectors of an adapter by their names on disk."""
    return {name: tensor for name, tensor in stored.tensors.items() if not of_network(name)}


def stored_of(layers: Mapping[str, Layer], tokens: Mapping[str, Tensor]) -> Stored:
    """Layers and tokens as an adapter, which has one rank and one alpha.

    Layers that share both are taken as they are. Otherwise all get the greatest rank (rows and columns of zeros are added) and scale 1,
    their own scale in ``up``: the updates are the same.
    """
    if not layers:
        return Stored(dict(tokens), 0, 0.0)
    kinds = {(layer.rank, layer.alpha) for layer in layers.values()}
    rank = max(rank for rank, _ in kinds)
    alpha = next(iter(kinds))[1] if len(kinds) == 1 else float(rank)
    tensors: dict[str, Tensor] = {}
    for name, layer in sorted(layers.items()):
        down, up = layer.down, layer.up
        if len(kinds) > 1:
            missing = rank - layer.rank
            down = torch.cat([down, down.new_zeros(missing, *down.shape[1:])])
            up = torch.cat([up * layer.scale, up.new_zeros(up.shape[0], missing, *up.shape[2:])], dim=1)
        tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    return Stored({**tensors, **tokens}, rank, alpha)


def kohya_names(layer: str, xl: bool, layers_per_block: int = 2) -> list[str]:
    """kohya's names of a layer: the one it writes first, then one that other programs write and it reads.

    ``layers_per_block``: of the UNet, by which sgm's numbers count; 2 in every published one.
    """
    network, _, module = layer.partition(".")
    plain = module.replace(".", "_")
    if network == "unet":
        names = [f"lora_unet_{plain}", f"lora_unet_{_sgm(module, layers_per_block).replace('.', '_')}"]
        return list(dict.fromkeys(reversed(names) if xl else names))
    return [f"{'lora_te2' if network == 'text_encoder_2' else 'lora_te1' if xl else 'lora_te'}_{plain}"]


def _sgm(module: str, n: int) -> str:
    """A UNet's module as the original network names it: blocks in one count, each n layers and a change of size long."""
    if module in _SINGLE:
        return _SINGLE[module]
    middle, block = _MIDDLE.fullmatch(module), _BLOCK.fullmatch(module)
    if middle:
        kind, index, rest = middle.groups()
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(index)}.{_RESNET.get(rest, rest)}"
    if not block:
        return module
    side, kind, rest = block[1], block[3], block[5]
    first = int(block[2]) * (n + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + n + 1}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{first + n}.2.{rest}"
    number = first + int(block[4]) + (1 if side == "down_blocks" else 0)
    place = "input_blocks" if side == "down_blocks" else "output_blocks"
    return f"{place}.{number}.{1 if kind == 'attentions' else 0}.{_RESNET.get(rest, rest)}"
