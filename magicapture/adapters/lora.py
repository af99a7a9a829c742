"""LoRA by peft on a backbone's UNet and text encoders."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from diffusers.utils.peft_utils import recurse_remove_peft_layers
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from magicapture.backbones import Backbone

NAME = "default"
#: Attention and GEGLU projections of the UNet; attention of the text encoders (original code).
UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


class Groups(NamedTuple):
    """Trainable parameters, fp32, in a fixed order; all text encoders' in one list."""

    unet: list[nn.Parameter]
    text: list[nn.Parameter]


def networks(backbone: Backbone) -> dict[str, nn.Module]:
    """The networks that carry LoRA, by their names in a diffusers pipeline."""
    return {"unet": backbone.unet, **backbone.text_encoders}


def attach(
    backbone: Backbone, rank: int, alpha: float | None, dropout: float, seed: int, modules: Mapping[str, Sequence[str]] | None = None
) -> Groups:
    """Put fresh LoRA layers on the backbone and return their parameters.

    ``modules``: full names of the linear and convolutional modules that get one, network by network; None: the usual ones.

    ``alpha`` None: equal to the rank, so scale 1. The new layers change nothing at first (B = 0); A is drawn from a
    generator of its own in a fixed order (peft's distribution), so that equal seeds give equal adapters on any device.
    Parameters are fp32 whatever the precision of the backbone. Token vectors stay as trainable as they were. The networks
    are in evaluation mode afterwards: dropout acts where its modules, named ``lora_dropout``, are put into training mode.
    Raises ValueError if the backbone already carries an adapter.
    """
    if attached(backbone):
        raise ValueError("the backbone already carries an adapter; call adapters.detach(backbone) first")
    trainable = {token: vector.requires_grad for token, vector in backbone.tokens.vectors.items()}
    generator = torch.Generator("cpu").manual_seed(seed)
    groups = Groups([], [])
    for prefix, network in networks(backbone).items():
        usual, parameters = (UNET_TARGETS, groups.unet) if prefix == "unet" else (TEXT_TARGETS, groups.text)
        targets = usual if modules is None else modules[prefix]
        if not targets:
            continue
        config = LoraConfig(r=rank, lora_alpha=rank if alpha is None else alpha, lora_dropout=dropout, target_modules=list(targets))
        # peft draws weights of its own from the global generator; they are replaced below.
        with torch.random.fork_rng(devices=[backbone.device] if backbone.device.type == "cuda" else []):
            network.add_adapter(config, NAME)
        for name, parameter in sorted(network.named_parameters()):
            if ".lora_" not in name:
                continue
            parameter.data = parameter.data.float()
            if ".lora_A." in name:
                bound = 1 / math.sqrt(parameter.shape[1])
                parameter.data.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
            else:
                nn.init.zeros_(parameter)
            parameter.requires_grad_(True)
            parameters.append(parameter)
        network.eval()
    # peft freezes whatever is not LoRA, the token vectors inside the text encoder too.
    for token, vector in backbone.tokens.vectors.items():
        vector.requires_grad_(trainable[token])
    return groups


def layers(network: nn.Module) -> list[LoraLayer]:
    """The LoRA layers of a network."""
    return [module for module in network.modules() if isinstance(module, LoraLayer)]


def attached(backbone: Backbone) -> bool:
    """Whether the backbone carries an adapter."""
    return any(layers(network) for network in networks(backbone).values())


def detach(backbone: Backbone) -> None:
    """Take the LoRA layers off again; the frozen networks are bit for bit what they were."""
    for network in networks(backbone).values():
        recurse_remove_peft_layers(network)
        if hasattr(network, "peft_config"):
            del network.peft_config
        network._hf_peft_config_loaded = False


def set_scales(backbone: Backbone, unet: float = 1.0, text: float = 1.0) -> None:
    """Weigh the adapter at inference: 0 = the base model, 1 = as trained (paper: 0.60 for the UNet, 0.90 for the text)."""
    for prefix, network in networks(backbone).items():
        for layer in layers(network):
            layer.set_scale(NAME, unet if prefix == "unet" else text)


@contextmanager
def disabled(backbone: Backbone) -> Iterator[None]:
    """The untuned base model inside: LoRA layers are skipped (token vectors act only in prompts that name them)."""
    found = [layer for network in networks(backbone).values() for layer in layers(network) if not layer.disable_adapters]
    wanted = {parameter: parameter.requires_grad for layer in found for parameter in layer.parameters()}
    for layer in found:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in found:
            layer.enable_adapters(True)
        for parameter, requires_grad in wanted.items():  # peft switches gradients together with the layers
            parameter.requires_grad_(requires_grad)
