from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from magicapture.evaluation.pictures import data_uri, lit


def _open(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_small_pictures_are_kept_exactly_large_ones_reduced() -> None:
    small = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    uri = data_uri(small)
    assert uri.startswith("data:image/png;base64,")
    assert (np.array(_open(uri)) == small).all()
    large = np.full((1000, 2000, 3), 128, np.uint8)
    uri = data_uri(large)
    assert uri.startswith("data:image/jpeg;base64,")
    assert _open(uri).size == (640, 320)


def test_lit_keeps_the_mask_and_drains_the_rest() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 255
    mask = np.eye(4, dtype=bool)
    out = lit(image, mask)
    assert (out[mask] == image[mask]).all()
    assert np.ptp(out[~mask].astype(int), axis=1).max() < 20
