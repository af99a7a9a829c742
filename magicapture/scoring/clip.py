"""The pack's CLIP as an image encoder, with preprocessing in cv2 and numpy (no torchvision)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from transformers import CLIPModel

from magicapture.backbones import resolve_device
from magicapture.packs import Pack
from magicapture.progress import progress

# OpenAI's CLIP; a pack whose CLIP was trained otherwise says so in the role's settings.
_SIZE, _MEAN, _STD = 224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_BATCH = 32


class ClipEncoder:
    """Pictures -> L2-normalised CLIP image embeddings.

    Role `clip`: a transformers CLIPModel folder; settings `size` (px), `mean`, `std` (RGB, of 0..1 values).
    """

    def __init__(self, pack: Pack, device: str = "cpu") -> None:
        """`device`: "cpu", "cuda" or "auto". Raises PackError when the role is missing, BackboneError for a device that is not there."""
        settings = pack.role("clip").settings
        self.size = int(settings.get("size", _SIZE))
        self.mean = np.array(settings.get("mean", _MEAN), np.float32)
        self.std = np.array(settings.get("std", _STD), np.float32)
        self.device = resolve_device(device)
        self.model = CLIPModel.from_pretrained(pack.path("clip"), local_files_only=True, use_safetensors=True).eval().to(self.device)

    @torch.inference_mode()
    def embed(self, images: Sequence[np.ndarray], hidden: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB pictures -> (n, D) float32 unit rows.

        `hidden`: a bool mask (H, W) for each; what it covers is filled with the mean colour (0 after normalisation) before
        the network sees it.
        """
        if hidden is not None and len(hidden) != len(images):
            raise ValueError(f"{len(hidden)} masks for {len(images)} pictures; expected one for each")
        rows = []
        batches = range(0, len(images), _BATCH)
        for start in progress(batches, what="CLIP", unit="batch") if len(batches) > 1 else batches:
            stop = min(start + _BATCH, len(images))
            pixels = np.stack([self.prepare(images[i], None if hidden is None else hidden[i]) for i in range(start, stop)])
            output = self.model.get_image_features(pixel_values=torch.from_numpy(pixels).to(self.device))
            rows.append(torch.nn.functional.normalize(output.pooler_output.float(), dim=-1).cpu().numpy())
        return np.concatenate(rows) if rows else np.zeros((0, self.model.config.projection_dim), np.float32)

    def prepare(self, image: np.ndarray, hidden: np.ndarray | None = None) -> np.ndarray:
        """(H, W, 3) uint8 -> (3, size, size) float32: shorter side to `size`, centre crop, normalised, hidden part 0."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected an (H, W, 3) uint8 RGB picture, got {image.shape} {image.dtype}")
        pixels = (self._fit(image.astype(np.float32)) / 255 - self.mean) / self.std
        if hidden is not None:
            if hidden.shape != image.shape[:2]:
                raise ValueError(f"a mask of {hidden.shape} does not fit a picture of {image.shape[:2]}")
            # Any cell the hidden part reaches into goes: half a face pixel at its rim still tells the skin colour.
            pixels[self._fit(hidden.astype(np.float32)) > 0.01] = 0
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)

    def _fit(self, array: np.ndarray) -> np.ndarray:
        height, width = array.shape[:2]
        scale = self.size / min(height, width)
        new = (max(self.size, round(width * scale)), max(self.size, round(height * scale)))
        array = cv2.resize(array, new, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        top, left = (new[1] - self.size) // 2, (new[0] - self.size) // 2
        return array[top : top + self.size, left : left + self.size]
