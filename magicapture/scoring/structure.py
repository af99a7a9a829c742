"""For objects: is the picture built as the photos are, and does it look as the looks do, by the pack's role ``structure``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from magicapture.backbones import resolve_device
from magicapture.backbones.structure import Features, load_structure
from magicapture.packs import Pack


class StructureScores(NamedTuple):
    """``structure`` and ``appearance``, (n,) each in -1..1, greater is better."""

    structure: np.ndarray
    appearance: np.ndarray


class StructureScorer:
    """How near pictures are to the photos of a thing in their build, and to the looks in their [CLS] token.

    The network is the one that the structure losses train against, so its word chooses among pictures and steps, but proves nothing.
    """

    def __init__(self, pack: Pack, device: str = "cpu") -> None:
        """``device``: "cpu", "cuda" or "auto". Raises PackError for a role that is missing or does not fit, BackboneError for a device."""
        self.device = resolve_device(device)
        self.net = load_structure(pack).to(self.device)

    def score(self, images: Sequence[np.ndarray], photos: Sequence[np.ndarray], looks: Sequence[np.ndarray]) -> StructureScores:
        """Scores of (H, W, 3) uint8 RGB pictures.

        ``structure``: correlation of the keys' self-similarity with that of the photo that fits best, since poses differ; ``appearance``:
        mean cosine of the [CLS] token to those of the looks. Raises ValueError without photos or looks.
        """
        if not len(photos) or not len(looks):
            raise ValueError("structure needs at least one photo and one look")
        own, built, seen = (self._features(part) for part in (images, photos, looks))
        structure = (_profile(own.keys) @ _profile(built.keys).T).amax(dim=1)
        appearance = (F.normalize(own.cls, dim=-1) @ F.normalize(seen.cls, dim=-1).T).mean(dim=1)
        return StructureScores(structure.numpy(), appearance.numpy())

    @torch.inference_mode()
    def _features(self, pictures: Sequence[np.ndarray]) -> Features:
        rows = [self.net(torch.from_numpy(picture).to(self.device).permute(2, 0, 1)[None].float() / 127.5 - 1) for picture in pictures]
        keys, cls = zip(*rows, strict=True)
        return Features(torch.cat(keys).cpu(), torch.cat(cls).cpu())


def _profile(keys: Tensor) -> Tensor:
    """(n, patches, D) -> (n, pairs): the self-similarities of different patches, centred and of unit norm, so that products correlate."""
    keys = F.normalize(keys, dim=-1)
    first, second = torch.triu_indices(keys.shape[1], keys.shape[1], 1)
    pairs = torch.stack([(row @ row.T)[first, second] for row in keys])
    return F.normalize(pairs - pairs.mean(dim=1, keepdim=True), dim=-1)
