"""Aesthetic: a small head on the CLIP image embedding (paper: the LAION predictor; the mini pack has its own)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from safetensors.numpy import load_file

from magicapture.packs import Pack, PackError
from magicapture.scoring.clip import ClipEncoder


class AestheticScorer:
    """Rendering quality of pictures, about 1 (worst) to 10 (best)."""

    def __init__(self, pack: Pack, device: str = "cpu", *, encoder: ClipEncoder | None = None) -> None:
        """Role `aesthetic`: safetensors with `<i>.weight` (out, in), `<i>.bias` of linear layers in the order of i, last out = 1.

        The role's setting `activation` between them is "relu" (default) or "none" (LAION's released predictor has none).
        """
        self.encoder = encoder or ClipEncoder(pack, device)
        file = pack.path("aesthetic")
        tensors = load_file(file)
        order = sorted(int(name.removesuffix(".weight")) for name in tensors if name.endswith(".weight"))
        self.layers = [(tensors[f"{i}.weight"].astype(np.float32), tensors[f"{i}.bias"].astype(np.float32)) for i in order]
        self.activation = str(pack.role("aesthetic").settings.get("activation", "relu"))
        width, shapes = self.encoder.model.config.projection_dim, [weight.shape for weight, _ in self.layers]
        if not shapes or shapes[0][1] != width or shapes[-1][0] != 1:
            raise PackError(f"{file}: expected linear layers from CLIP's {width} values to 1, got {shapes}")
        if self.activation not in ("relu", "none"):
            raise PackError(f"pack {pack.name!r}: aesthetic activation is {self.activation!r}, expected relu or none")

    def score(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """(H, W, 3) uint8 RGB pictures -> (n,) float32."""
        return self.from_embeddings(self.encoder.embed(images))

    def from_embeddings(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, D) unit CLIP image embeddings -> (n,) float32."""
        values = embeddings
        for i, (weight, bias) in enumerate(self.layers):
            values = values @ weight.T + bias
            if self.activation == "relu" and i + 1 < len(self.layers):
                values = np.maximum(values, 0)
        return values[:, 0]
