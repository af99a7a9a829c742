"""Who the estimate shows: the face of the decoded clean estimate, aligned and embedded with gradients (paper, eq. 7).

Where the face lies is known from preprocessing, so nothing is detected and nothing leaves the graph. On a GPU the pictures stay there; the
host reads the timesteps, from which it tells the rows that count, and sends their numbers and transforms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from magicapture.backbones import Backbone
from magicapture.backbones.recogniser import INPUT as CROP
from magicapture.backbones.recogniser import aligned
from magicapture.faces.align import align, crop_matrix
from magicapture.faces.prepared import PreparedItem
from magicapture.training import losses


class FaceIdentity:
    """The identity term against one person, or against each row's own of several.

    ``recogniser`` maps (B, 3, 112, 112) RGB in [-1, 1] to (B, D) and is frozen; ``person`` (D,) or (subjects, D) is the mean of the source
    photos' unit embeddings. ``timestep_limit`` is T'/T.
    """

    def __init__(self, backbone: Backbone, recogniser: nn.Module, person: Tensor, timestep_limit: float) -> None:
        self.backbone = backbone
        self.recogniser = recogniser.to(backbone.device).eval().requires_grad_(False)
        self.person = F.normalize(torch.atleast_2d(person).float(), dim=-1).to(backbone.device)
        self.timestep_limit = timestep_limit

    def measure_region(self, latents: Tensor, keypoints: Tensor) -> int | None:
        """Let the backbone find how little around these faces it may decode; returns the margin in latent cells, None = everything.

        ``latents`` (B, C, h, w), ``keypoints`` (B, 5, 2) px of pictures as they occur in training.
        """
        transforms = _transforms(keypoints)

        def embed(pictures: Tensor, offsets: Tensor, row: int) -> Tensor:
            return self._embed(pictures, transforms[row : row + 1], offsets)

        region = self.backbone.measure_region(latents.to(self.backbone.device), _boxes(transforms, self.backbone.resolution), embed)
        return region.margin

    def counted(self, timesteps: Tensor, keypoints: Tensor) -> tuple[Tensor, float]:
        """Which rows count (rows,) bool and their weight: t <= T' and a known face; T / T', so that the mean is unbiased for eq. 7."""
        steps = len(self.backbone.schedule.alphas_cumprod)
        limit = max(1, round(self.timestep_limit * steps))
        return (timesteps.cpu() < limit) & ~keypoints.isnan().any(dim=(1, 2)), steps / limit

    def __call__(self, clean: Tensor, keypoints: Tensor, subjects: Sequence[int] | None = None) -> Tensor:
        """1 - cosine to the person (rows,) of estimated clean latents (rows, C, h, w) whose faces are at ``keypoints`` (rows, 5, 2) px.

        ``subjects``: which person each row is to show; None: the first.
        """
        transforms = _transforms(keypoints)
        pictures, offsets = self.backbone.decode_region(clean, _boxes(transforms, self.backbone.resolution))
        embedding = self._embed(pictures, transforms, offsets)
        return losses.identity(embedding, self.person[[0] * len(embedding) if subjects is None else list(subjects)])

    def _embed(self, pictures: Tensor, transforms: Tensor, offsets: Tensor) -> Tensor:
        # Decoders overshoot; what is saved and recognised later is clamped too.
        return self.recogniser(aligned(pictures.clamp(-1, 1), transforms, offsets))


@torch.no_grad()
def embed_person(recogniser: nn.Module, photos: Sequence[PreparedItem]) -> Tensor:
    """(D,) the mean of the unit embeddings of prepared photos, by the very network that the loss will use.

    What preprocessing stored is of the pack's ONNX recogniser, and embeddings of two networks cannot be compared.
    """
    crops = np.stack([align(photo.image(), photo.keypoints, CROP) for photo in photos if photo.keypoints is not None])
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.normalize(recogniser(pixels), dim=-1).mean(dim=0)


def _transforms(keypoints: Tensor) -> Tensor:
    return torch.from_numpy(np.stack([crop_matrix(points, CROP) for points in keypoints.cpu().numpy()]).astype(np.float32))


def _boxes(transforms: Tensor, resolution: int) -> Tensor:
    """(B, 4) px: what of the picture the aligned crops show, at most the picture."""
    corners = torch.tensor([[0, 0], [CROP, 0], [0, CROP], [CROP, CROP]], dtype=torch.float32)
    points = (corners - transforms[:, None, :, 2]) @ torch.linalg.inv(transforms[:, :, :2]).transpose(1, 2)
    return torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1).clamp(0, resolution)
