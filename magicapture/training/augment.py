"""Variation of the training pictures: colour jitter and mirroring, of image, mask and key points together."""

from __future__ import annotations

import hashlib

import numpy as np

from magicapture.artifacts import lineage_key
from magicapture.config import Augment

_SWAPPED = [1, 0, 2, 4, 3]
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def is_flipped(version: int, config: Augment) -> bool:
    """Whether a version is mirrored: every second one, never version 0."""
    return config.flip and version % 2 == 1


def augmented(image: np.ndarray, version: int, config: Augment) -> np.ndarray:
    """Version ``version`` of a picture: (H, W, 3) uint8 -> (H, W, 3) float32 in [0, 255].

    Version 0 is the picture itself. The others have brightness and contrast factors from 1 +- the configured range (paper: 0.1
    each) and every second one is mirrored. What a version looks like depends on picture, version and ranges alone, so that
    cached latents of equal content are equal.
    """
    result = image.astype(np.float32)
    if version > 0:
        key = lineage_key(picture_hash(image), str(version), repr((config.brightness, config.contrast)))
        brightness, contrast = 1 + np.random.default_rng(int(key, 16)).uniform(-1, 1, 2) * (config.brightness, config.contrast)
        result = result * np.float32(brightness)
        mean = np.float32((result @ _GREY).mean())
        result = (mean + (result - mean) * np.float32(contrast)).clip(0, 255)
    return np.ascontiguousarray(result[:, ::-1]) if is_flipped(version, config) else result


def flipped_keypoints(keypoints: np.ndarray, width: int) -> np.ndarray:
    """Key points (5, 2) px of the mirrored picture: x mirrored, and left and right eye and mouth corner change places.

    Key points scale with the picture (``faces.align``), so the picture spans 0..width and x goes to width - x.
    """
    mirrored = np.asarray(keypoints, np.float32) * (-1, 1) + (width, 0)
    return mirrored[_SWAPPED].astype(np.float32)


def picture_hash(image: np.ndarray) -> str:
    """Hex sha256 of a picture's shape and pixels."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
