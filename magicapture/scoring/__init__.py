"""Measuring pictures: likeness (face embeddings), style and aesthetic (CLIP), and the intervals around their means.

`likeness` and `statistics` are plain numpy; only `clip`, `style` and `aesthetic` import torch, so import them by module.
"""

from __future__ import annotations

#: Raised whenever a measure changes its meaning or is added, so that scores of different versions are never compared.
SCORER_VERSION = "4"
