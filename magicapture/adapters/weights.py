"""A model's own weights as the adapter: what DreamBooth and Custom Diffusion train instead of LoRA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from magicapture.adapters import lora
from magicapture.adapters.lora import Groups
from magicapture.backbones import Backbone

#: What may be trained: every weight of UNet and text encoders (not the vocabulary's matrix), or cross-attention's keys and values.
CHOICES = ("all", "cross_attention")


def unfreeze(backbone: Backbone, choice: str, text: bool = True) -> Groups:
    """Make own weights trainable and return them, in a fixed order; ``backbone.untuned`` remembers what they were.

    ``choice``: one of CHOICES; ``text`` false leaves the text encoders alone (cross-attention belongs to the UNet in any case).
    Raises ValueError for another choice, or weights that are not fp32 (they could not be trained).
    """
    if choice not in CHOICES:
        raise ValueError(f"unfreeze: {choice!r}; expected one of {', '.join(CHOICES)}")
    groups = Groups([], [])
    for name, parameter in _named(backbone):
        unet = name.startswith("unet.")
        wanted = (unet or text) if choice == "all" else unet and any(part in name for part in (".attn2.to_k.", ".attn2.to_v."))
        if not wanted:
            continue
        if parameter.dtype != torch.float32:
            raise ValueError(f"{name} is {parameter.dtype}; weights that are trained have to be fp32: set precision: fp32")
        backbone.untuned[name] = _aside(parameter)
        parameter.requires_grad_(True)
        (groups.unet if unet else groups.text).append(parameter)
    return groups


def changed(backbone: Backbone) -> dict[str, nn.Parameter]:
    """Own weights that are trained or were read from an adapter, "unet.<name>" or "text_encoder.<name>"; empty with LoRA."""
    if not backbone.untuned:
        return {}
    return {name: parameter for name, parameter in _named(backbone) if name in backbone.untuned}


def make_room(backbone: Backbone, tensors: dict[str, Tensor]) -> None:
    """Remember what own weights are before an adapter's are copied over them (``files.restore``).

    Raises ValueError for weights of another model.
    """
    own = dict(_named(backbone))
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            raise ValueError(f"{name} {tuple(tensor.shape)} has no place in this model; was it trained on another one?")
    for name in tensors:
        backbone.untuned.setdefault(name, _aside(own[name]))


def put_back(backbone: Backbone) -> None:
    """The untuned weights again, bit for bit, frozen."""
    with torch.no_grad():
        for name, parameter in changed(backbone).items():
            parameter.copy_(backbone.untuned[name])
            parameter.requires_grad_(False)
    backbone.untuned.clear()


@contextmanager
def disabled(backbone: Backbone) -> Iterator[None]:
    """The untuned base model inside: LoRA is skipped, own weights are what they were (token vectors act only in prompts that name them)."""
    tuned = {name: _aside(parameter) for name, parameter in changed(backbone).items()}
    _copy(backbone, backbone.untuned)
    try:
        with lora.disabled(backbone):
            yield
    finally:
        _copy(backbone, tuned)


def _copy(backbone: Backbone, tensors: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in changed(backbone).items():
            parameter.copy_(tensors[name])


def _aside(parameter: nn.Parameter) -> Tensor:
    """A copy on the CPU: training never reads it, and of a large model it would fill gigabytes of a GPU."""
    return parameter.detach().to("cpu", copy=True)


def _named(backbone: Backbone) -> Iterator[tuple[str, nn.Parameter]]:
    """Own parameters of UNet and text encoders by name, sorted, without LoRA, learnt tokens and the vocabulary's matrix."""
    for prefix, network in lora.networks(backbone).items():
        tokens = {id(parameter) for encoder in backbone.tokens.encoders for parameter in encoder.parameters()}
        for name, parameter in sorted(network.named_parameters()):
            if ".lora_" not in name and id(parameter) not in tokens:
                yield f"{prefix}.{name}", parameter
