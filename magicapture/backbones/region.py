"""Decoding only the part of a picture around the face, where the decoder allows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Decode = Callable[[Tensor], Tensor]
Embed = Callable[[Tensor, Tensor, int], Tensor]

_MARGINS = (2, 4, 8, 16)


@dataclass(frozen=True)
class Region:
    """How to decode a face: with ``margin`` latent cells around its box, or whole (None).

    A decoder is not local: its group norms and its mid-block attention see the whole latent. Whether a part decodes to
    (nearly) the same face is therefore measured on the VAE at hand, and whole decodes are the answer when it does not.
    """

    margin: int | None = None
    #: Margin in cells -> least cosine of the embeddings of part and whole, as measured.
    agreement: tuple[tuple[int, float], ...] = ()

    @staticmethod
    def measure(latents: Tensor, boxes: Tensor, decode: Decode, scale: int, embed: Embed, least: float = 0.99) -> Region:
        """The smallest margin (2, 4, 8, 16 cells) at which every row's cosine reaches ``least``; one that saves nothing is not tried.

        ``embed(pictures (1, 3, H', W'), offsets (1, 2), row) -> (1, D)``: row by row, since many large pictures at once may not fit into
        memory.
        """

        def embedded(region: Region) -> Tensor:
            parts = zip(*(each.split(1) for each in region._cut(latents, boxes, scale)), strict=True)
            return torch.cat([embed(decode(part), offset, row).float() for row, (part, offset) in enumerate(parts)])

        agreement = []
        with torch.no_grad():
            whole = embedded(Region())
            for margin in _MARGINS:
                region = Region(margin)
                size, _ = region.windows(latents, boxes, scale)
                if size == tuple(latents.shape[-2:]):
                    break
                agreement.append((margin, float(functional.cosine_similarity(embedded(region), whole, dim=1).min())))
                if agreement[-1][1] >= least:
                    return Region(margin, tuple(agreement))
        return Region(None, tuple(agreement))

    def windows(self, latents: Tensor, boxes: Tensor, scale: int) -> tuple[tuple[int, int], Tensor]:
        """One window size (h', w') in cells for the whole batch, and each row's corner (B, 2) (x, y); windows lie inside the latent."""
        height, width = latents.shape[-2:]
        if self.margin is None:
            return (height, width), torch.zeros(len(latents), 2, dtype=torch.long)
        limit = torch.tensor([width, height])
        boxes = boxes.detach().float().cpu()
        low = (torch.floor(boxes[:, :2] / scale).long() - self.margin).clamp(min=0)
        high = torch.minimum(torch.ceil(boxes[:, 2:] / scale).long() + self.margin, limit)
        size = (high - low).clamp(min=1).amax(0)
        corner = torch.minimum(low, limit - size).clamp(min=0)
        return (int(size[1]), int(size[0])), corner

    def decode(self, latents: Tensor, boxes: Tensor, decode: Decode, scale: int) -> tuple[Tensor, Tensor]:
        """Latents (B, C, h, w), boxes (B, 4) px -> pictures (B, 3, H', W') and their corners (B, 2) (x, y) in px."""
        parts, corner = self._cut(latents, boxes, scale)
        return decode(parts), corner

    def _cut(self, latents: Tensor, boxes: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """The latents (B, C, h', w') in the windows, and the windows' corners (B, 2) (x, y) in px of the picture."""
        (height, width), corner = self.windows(latents, boxes, scale)
        if (height, width) != tuple(latents.shape[-2:]):
            latents = torch.stack([row[:, y : y + height, x : x + width] for row, (x, y) in zip(latents, corner.tolist(), strict=True)])
        return latents, (corner * scale).to(latents.device)
