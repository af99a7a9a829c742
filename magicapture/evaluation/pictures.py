"""Pictures of the report: composed with masks and attention maps, and packed into data URIs."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from PIL import Image

#: Longest side in px inside the report; larger pictures are reduced (they lie in full beside it).
LONGEST = 640


def data_uri(image: np.ndarray, longest: int = LONGEST) -> str:
    """(H, W, 3) uint8 RGB -> a data URI: PNG for small pictures, where every pixel counts, JPEG for others."""
    height, width = image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    if scale < 1:
        image = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    small = max(image.shape[:2]) <= 96
    kind, options = ("png", {"optimize": True}) if small else ("jpeg", {"quality": 90, "subsampling": 0})
    Image.fromarray(image).save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def lit(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with what lies outside the mask (H, W) drained of colour and faded: what the loss sees is what is lit."""
    grey = image.mean(2, keepdims=True).repeat(3, 2)
    faded = 0.25 * grey + 0.75 * np.array([120, 124, 134])
    return np.where(mask[..., None], image, faded.round()).astype(np.uint8)
