"""The pack's DINO ViT: what tells how a picture is built (keys of an attention layer) and what it looks like ([CLS])."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTModel

from magicapture.backbones.quiet import no_progress_bar
from magicapture.packs import Pack, PackError

ROLE = "structure"
# ImageNet's, which DINO was trained with; a role trained otherwise says so in its settings.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Features(NamedTuple):
    """``keys`` (B, patches, D), patches row after row, without [CLS]; ``cls`` (B, D)."""

    keys: Tensor
    cls: Tensor


class StructureNet(nn.Module):
    """A frozen ViT, differentiable in its input.

    ``size`` px a side, a multiple of the ViT's patch; ``layer`` whose keys are read, counted from the end when negative; ``mean`` and
    ``std`` of 0..1 RGB values.
    """

    def __init__(self, vit: nn.Module, size: int, layer: int = -1, mean: Any = _MEAN, std: Any = _STD) -> None:
        super().__init__()
        self.vit, self.size = vit, size
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self._projection = key_projections(vit)[layer]

    def forward(self, pictures: Tensor) -> Features:
        """Pictures (B, 3, H, W) RGB in [-1, 1], of any size -> the keys of the layer (all heads, before the scores) and the final [CLS]."""
        pixels = pictures.float()
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, size=(self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        pixels = ((pixels + 1) / 2 - self.mean) / self.std
        caught: list[Tensor] = []
        handle = self._projection.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
        try:
            output = self.vit(pixel_values=pixels, interpolate_pos_encoding=True)
        finally:
            handle.remove()
        return Features(caught[0][:, 1:], output.last_hidden_state[:, 0])


def key_projections(vit: nn.Module) -> list[nn.Module]:
    """The layers' key projections, first to last, by their name in a transformers ViTModel (5: ``k_proj``, before: ``key``)."""
    return [module for name, module in vit.named_modules() if name.rpartition(".")[2] in ("k_proj", "key")]


def load_structure(pack: Pack) -> StructureNet:
    """The pack's role ``structure``: a transformers ViTModel folder, frozen, fp32, never from the network.

    Settings of the role: ``size`` (px, default: the ViT's own), ``mean``, ``std`` (default: ImageNet's), ``layer`` (default -1, the last).
    Raises PackError for a pack without the role, for files that are missing, altered or not a ViTModel, and for settings that do not fit.
    """
    if ROLE not in pack.roles:
        raise PackError(
            f"pack {pack.name!r} has no role {ROLE!r} (a DINO ViT), which objects need (preprocess.region: object, "
            "tuning.lambda_structure, lambda_contrast, lambda_appearance); use a pack that has it, such as sd15, or train one: "
            "python -m magicapture.world.train --role structure"
        )
    pack.require(ROLE)
    role, folder = pack.role(ROLE), pack.path(ROLE)
    try:
        with no_progress_bar():
            vit, report = ViTModel.from_pretrained(
                folder, add_pooling_layer=False, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, SafetensorError) as error:
        raise PackError(f"pack {pack.name!r}: {role.path} is not a ViTModel folder ({error}); {pack.remedy(ROLE)}") from error
    # What a file lacks would be random, and nothing would tell.
    lost = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lost:
        names = f"{', '.join(lost[:3])}{', ...' * (len(lost) > 3)}"
        raise PackError(f"pack {pack.name!r}: {role.path} lacks {len(lost)} weights of a ViTModel ({names}); {pack.remedy(ROLE)}")
    given = {name: role.settings[name] for name in ("mean", "std") if name in role.settings}
    size, layer = int(role.settings.get("size", vit.config.image_size)), int(role.settings.get("layer", -1))
    patch, layers = int(vit.config.patch_size), len(key_projections(vit))
    if size % patch or not -layers <= layer < layers:
        raise PackError(
            f"pack {pack.name!r}: {ROLE} has settings size {size}, layer {layer}; expected a multiple of its patch ({patch} px) and one of "
            f"its {layers} layers: correct pack.yaml"
        )
    return StructureNet(vit, size, layer, **given).eval().requires_grad_(False)
