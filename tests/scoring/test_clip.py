from __future__ import annotations

import numpy as np
import pytest
import torch

from magicapture.packs import Pack
from magicapture.scoring.clip import ClipEncoder


@pytest.fixture(scope="module")
def encoder(pack: Pack) -> ClipEncoder:
    return ClipEncoder(pack)


def test_rows_are_unit_and_do_not_depend_on_the_batch(encoder: ClipEncoder, pictures: list[np.ndarray]) -> None:
    together = encoder.embed(pictures * 12)  # more than one batch
    assert together.shape == (36, 24)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(36), abs=1e-5)
    assert np.abs(together[2] - encoder.embed(pictures[2:])[0]).max() < 1e-5
    assert encoder.embed([]).shape == (0, 24)


def test_same_as_the_model_itself(encoder: ClipEncoder) -> None:
    """A picture of the network's own size needs no resizing: the arithmetic is (x/255 - mean)/std, channels first."""
    image = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pixels = (image / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.25, 0.3])
    with torch.no_grad():
        vision = encoder.model.vision_model(pixel_values=torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32))
        expected = encoder.model.visual_projection(vision.pooler_output)[0].numpy()
    assert encoder.embed([image])[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


def test_preparing_keeps_the_aspect_and_crops_the_centre(encoder: ClipEncoder) -> None:
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, 64:128] = 255
    white = (1 - encoder.mean) / encoder.std
    assert encoder.prepare(wide)[:, 8:24, 2:30] == pytest.approx(np.broadcast_to(white[:, None, None], (3, 16, 28)), abs=1e-4)


def test_what_is_hidden_cannot_be_seen(encoder: ClipEncoder, pictures: list[np.ndarray]) -> None:
    image, other = pictures[2], pictures[2].copy()
    mask = np.zeros(image.shape[:2], bool)
    mask[31:90, 21:77] = True
    other[mask] = 255 - other[mask]
    plain = encoder.embed([image, other])
    hidden = encoder.embed([image, other], [mask, mask])
    assert np.abs(plain[0] - plain[1]).max() > 1e-3
    assert (hidden[0] == hidden[1]).all()


def test_wrong_input_is_refused(encoder: ClipEncoder, pictures: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        encoder.embed([np.zeros((32, 32), np.uint8)])
    with pytest.raises(ValueError, match="does not fit"):
        encoder.embed(pictures[:1], [np.zeros((4, 4), bool)])
    with pytest.raises(ValueError, match="1 masks for 3"):
        encoder.embed(pictures, [np.zeros((32, 40), bool)])
