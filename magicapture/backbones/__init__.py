"""Backbones: a pre-trained latent diffusion model behind one small interface (load, encode, decode, predict, sample).

::

    backbone = load_backbone(load_pack("mini"), device="auto")
    pictures = backbone.sample(["a photo of a person"], [7], steps=20, guidance=3.0, sampler="dpmpp_2m")

A new family of models is one file that subclasses :class:`Backbone`, and one line in :data:`load.FAMILIES`.
"""

from __future__ import annotations

from magicapture.backbones.backbone import Backbone, BackboneError, Text
from magicapture.backbones.load import load_backbone, resolve_device
from magicapture.backbones.region import Region
from magicapture.backbones.tokens import TokenEmbedding, TokenEmbeddings

__all__ = ["Backbone", "BackboneError", "Region", "Text", "TokenEmbedding", "TokenEmbeddings", "load_backbone", "resolve_device"]
