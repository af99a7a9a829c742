"""Room for the person's own hair in the pictures of the look.

Composed prompts learn everything of a reference image outside its region. Where the look shows short hair and the person's is
long, they would learn background where the person's hair must be. So the region of a reference image is widened by what the
person covers: her regions from the photos, brought there by the key points of both faces (ours; the paper's region is the face,
which two people share).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from magicapture.faces.align import matrix, warp
from magicapture.faces.prepared import Picture


def widened(reference: Picture, source: Sequence[Picture]) -> Picture:
    """``reference`` with its region widened by the regions of all photos; a picture without a face stays as it is."""
    if reference.keypoints is None:
        return reference
    height, width = reference.mask.shape
    mask = reference.mask.copy()
    for photo in source:
        if photo.keypoints is not None:
            there = matrix(photo.keypoints, template=reference.keypoints)
            mask |= warp(photo.mask.astype(np.uint8) * 255, there, width, height) > 127
    return replace(reference, mask=mask)
