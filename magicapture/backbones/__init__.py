"""Backbones: a pre-trained latent diffusion model behind one small interface (load, encode, decode, predict, sample).

::

    backbone = load_backbone(load_pack("mini"), device="auto")
    pictures = backbone.sample(["a photo of a person"], [7], steps=20, guidance=3.0, sampler="dpmpp_2m")

A new family of models is one file that subclasses :class:`Backbone`, and one line in :data:`load.FAMILIES`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magicapture.backbones.backbone import Backbone, Text
    from magicapture.backbones.device import resolve_device
    from magicapture.backbones.errors import BackboneError
    from magicapture.backbones.load import load_backbone
    from magicapture.backbones.region import Region
    from magicapture.backbones.tokens import TokenEmbedding, TokenEmbeddings

__all__ = ["Backbone", "BackboneError", "Region", "Text", "TokenEmbedding", "TokenEmbeddings", "load_backbone", "resolve_device"]

_HOMES = {
    "BackboneError": "errors", "Region": "region", "TokenEmbedding": "tokens", "TokenEmbeddings": "tokens", "load_backbone": "load",
    "resolve_device": "device",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # Imported when asked for: evaluation reads backbones.structure alone, and its image has no diffusers.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'backbone')}"), name)
