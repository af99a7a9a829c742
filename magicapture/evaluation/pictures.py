"""Pictures of the report: composed with masks and attention maps, and packed into data URIs."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from PIL import Image

#: Longest side in px inside the report; larger pictures are reduced (they lie in full beside it).
LONGEST = 640
#: Greatest opacity of a map over its picture.
_OPAQUE = 0.85


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


def tinted(level: np.ndarray, colour: tuple[int, int, int], side: int = 96) -> str:
    """A map (h, w) in [0, 1] as the data URI of a PNG to lie over a picture: one colour, the more opaque the higher the map."""
    smooth = cv2.resize(level.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    # 32 steps of opacity are more than the eye sees in a soft map, and a third of the bytes of 256.
    alpha = (smooth * 31).round() * (_OPAQUE * 255 / 31)
    image = np.concatenate([np.broadcast_to(np.array(colour, np.uint8), (side, side, 3)), alpha[..., None].astype(np.uint8)], axis=2)
    buffer = io.BytesIO()
    Image.fromarray(image, "RGBA").save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def lit(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with what lies outside the mask (H, W) drained of colour and faded: what the loss sees is what is lit."""
    grey = image.mean(2, keepdims=True).repeat(3, 2)
    faded = 0.25 * grey + 0.75 * np.array([120, 124, 134])
    return np.where(mask[..., None], image, faded.round()).astype(np.uint8)
