"""Style: cosine of CLIP image embeddings, reference vs generated, faces masked out in both (paper, "How it is measured")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magicapture.packs import Pack
from magicapture.scoring.clip import ClipEncoder
from magicapture.scoring.likeness import csim


class StyleScorer:
    """How near pictures are to a look, whoever's face is in them."""

    def __init__(self, pack: Pack, device: str = "cpu", *, encoder: ClipEncoder | None = None) -> None:
        """`encoder`: one that is loaded already, shared with AestheticScorer."""
        self.encoder = encoder or ClipEncoder(pack, device)

    def score(
        self,
        images: Sequence[np.ndarray],
        faces: Sequence[np.ndarray],
        references: Sequence[np.ndarray],
        reference_faces: Sequence[np.ndarray],
    ) -> np.ndarray:
        """(n,) in -1..1: each picture's mean cosine to the references.

        Pictures (H, W, 3) uint8 RGB, `faces` and `reference_faces` bool masks (H, W), all False where there is no face.
        Raises ValueError when there are no references.
        """
        if not len(references):
            raise ValueError("style needs at least one reference picture")
        return csim(self.encoder.embed(images, faces), self.encoder.embed(references, reference_faces))
