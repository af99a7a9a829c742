"""What happens to pictures on their way: blur, lost resolution, noise, compression, colour. uint8 RGB in, uint8 RGB out."""

from __future__ import annotations

import cv2
import numpy as np


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, sigma in px."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def coarsen(image: np.ndarray, factor: float) -> np.ndarray:
    """Resolution divided by ``factor`` and brought back to the old size."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(4, round(width / factor)), max(4, round(height / factor))), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def noise(image: np.ndarray, sigma: float, rng: np.random.Generator, grain: int = 1) -> np.ndarray:
    """Gaussian noise of ``sigma`` levels in cells of ``grain`` px (more than 1: blotches, as decoders leave)."""
    height, width = image.shape[:2]
    field: np.ndarray = rng.standard_normal((-(-height // grain), -(-width // grain), 3)).astype(np.float32) * np.float32(sigma)
    if grain > 1:
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + field + 0.5, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """JPEG of ``quality`` 1 to 100 and back."""
    done, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def sharpen(image: np.ndarray, amount: float) -> np.ndarray:
    """Unsharp mask of 1 px."""
    return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.0), -amount, 0)


def recolour(image: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """Brightness, contrast and each channel's gain moved by about ``amount`` (0.1: a little)."""
    gain = (1 + amount * rng.standard_normal()) * (1 + 0.6 * amount * rng.standard_normal(3))
    shift = 128 * amount * rng.standard_normal()
    table = np.clip(np.arange(256)[:, None] * gain + shift, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table.reshape(256, 1, 3))


def warp(image: np.ndarray, rng: np.random.Generator, amount: float, cells: int = 5) -> np.ndarray:
    """Bend the picture by a smooth random field of about ``amount`` (share of the width)."""
    height, width = image.shape[:2]
    field = rng.standard_normal((cells, cells, 2)).astype(np.float32) * (amount * width)
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(image, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def wear(image: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """A random mixture such as generated, enlarged and sent pictures show; ``strength`` 1 is clearly visible, the person still known."""
    if rng.random() < 0.35:
        image = blur(image, 0.3 + 0.9 * strength * rng.random())
    if rng.random() < 0.3:
        image = coarsen(image, 1 + 0.8 * strength * rng.random())
    if rng.random() < 0.15:
        image = warp(image, rng, 0.006 * strength * rng.random())
    if rng.random() < 0.2:
        image = sharpen(image, 0.7 * strength * rng.random())
    if rng.random() < 0.35:
        image = noise(image, 9 * strength * rng.random(), rng, int(rng.integers(1, 5)))
    if rng.random() < 0.25:
        image = jpeg(image, int(100 - 60 * strength * rng.random()))
    if rng.random() < 0.5:
        image = recolour(image, rng, 0.06 * strength)
    return image
