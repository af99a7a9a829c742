"""General objects (paper's supplement): the estimate keeps the structure of its source photo and takes on the appearance of the looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from magicapture.backbones import Backbone
from magicapture.backbones.structure import StructureNet
from magicapture.training import losses


class Structure:
    """The three terms against each row's own source photo and the looks.

    ``net`` is frozen; ``looks`` (D,) or (looks, D) is the mean [CLS] token of each look's pictures: the squared distance to it has the
    gradient of the mean of the distances to each picture, without the noise of drawing one. ``timestep_limit`` is T'/T.
    """

    def __init__(self, backbone: Backbone, net: StructureNet, looks: Tensor, timestep_limit: float) -> None:
        self.backbone = backbone
        self.net = net.to(backbone.device)
        self.looks = torch.atleast_2d(looks).float().to(backbone.device)
        self.timestep_limit = timestep_limit

    def counted(self, timesteps: Tensor) -> tuple[Tensor, float]:
        """Which rows count (rows,) bool, t <= T', and their weight T / T', so that the mean is unbiased for timesteps below T'."""
        steps = len(self.backbone.schedule.alphas_cumprod)
        limit = max(1, round(self.timestep_limit * steps))
        return timesteps.cpu() < limit, steps / limit

    def __call__(self, clean: Tensor, source: Tensor, looks: Sequence[int] | None = None) -> dict[str, Tensor]:
        """``structure``, ``contrast`` and ``appearance``, (rows,) each, of estimated clean latents (rows, C, h, w).

        ``source``, same shape: the latents that were noised. They are decoded too, so that what is compared has gone through the same
        autoencoder, and the same mirroring and jitter. ``looks``: which look each row is to take on; None: the first.
        """
        with torch.no_grad():
            kept = self.net(self.backbone.decode(source).clamp(-1, 1))
        # Decoders overshoot; what is saved later is clamped too.
        found = self.net(self.backbone.decode(clean).clamp(-1, 1))
        return {
            "structure": losses.self_similarity(found.keys, kept.keys),
            "contrast": losses.patch_contrast(found.keys, kept.keys),
            "appearance": losses.appearance(found.cls, self.looks[[0] * len(found.cls) if looks is None else list(looks)]),
        }


@torch.no_grad()
def mean_cls(net: StructureNet, pictures: Sequence[np.ndarray]) -> Tensor:
    """(D,) the mean [CLS] token of pictures (H, W, 3) uint8 RGB."""
    rows = [net(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1).cls for picture in pictures]
    return torch.cat(rows).mean(dim=0)
