from __future__ import annotations

import cv2
import numpy as np
import pytest

from magicapture.config import Preprocess
from magicapture.faces.analysis import Face
from magicapture.faces.parse import face_mask
from magicapture.references.errors import SetAside
from magicapture.references.quality import check_photo, check_size, only_face, sharpness, strangers
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import Picture, render

KNOBS = Preprocess()


def _face(left: float, top: float, side: float) -> Face:
    return Face(np.array([left, top, left + side, top + side], np.float32), np.zeros((5, 2), np.float32), 0.9)


def test_size() -> None:
    check_size(np.zeros((48, 900, 3), np.uint8), KNOBS)
    with pytest.raises(SetAside, match=r"too small: 900 x 47 px; at least 48 px a side \(preprocess.min_side\)"):
        check_size(np.zeros((47, 900, 3), np.uint8), KNOBS)


def test_only_face() -> None:
    assert only_face([], KNOBS) is None
    large = _face(10, 10, 100)
    assert only_face([large, _face(200, 10, 49)], KNOBS) is large, "a small face behind is no harm"
    assert only_face([large, _face(30, 40, 60)], KNOBS) is large, "one head seen twice"
    with pytest.raises(SetAside, match="3 faces of comparable size"):
        only_face([_face(200, 10, 51), large, _face(300, 10, 70)], KNOBS)


def _check(picture: Picture, image: np.ndarray) -> None:
    mask = face_mask(picture.parsing, picture.box)
    check_photo(image, mask, sharpness(image, picture.box), Preprocess(min_sharpness=50))


def test_every_skin_in_ordinary_light_passes_and_bad_light_does_not() -> None:
    for seed in range(20):
        picture = render(Person.sample(seed), Look.sample(seed, "office"), Nuisance.sample(seed), size=64)
        _check(picture, picture.image)
        with pytest.raises(SetAside, match="too dark: 95 % of the face lies below"):
            _check(picture, (picture.image * 0.08).astype(np.uint8))
        with pytest.raises(SetAside, match="burnt out: 95 % of the face lies above"):
            _check(picture, np.maximum(picture.image, np.where(np.indices((64, 64))[0] % 4 == 0, 255, 240)[:, :, None]).astype(np.uint8))
        with pytest.raises(SetAside, match="blurred: sharpness of the face"):
            _check(picture, cv2.GaussianBlur(picture.image, (0, 0), 6))


def test_sharpness_falls_with_blur_and_survives_edges() -> None:
    picture = render(Person.sample(3), Look.sample(3), Nuisance.sample(3), size=64)
    values = [sharpness(cv2.GaussianBlur(picture.image, (0, 0), s) if s else picture.image, picture.box) for s in (0, 0.7, 1.5, 3)]
    assert values == sorted(values, reverse=True) and values[0] > 10 * values[2]
    assert np.isfinite(sharpness(picture.image, np.array([63.2, 63.5, 64, 64])))


def _around(centre: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    rows = centre + 0.5 * rng.normal(size=(count, len(centre))) / np.sqrt(len(centre))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_strangers() -> None:
    rng = np.random.default_rng(0)
    anna, *others = np.eye(64)[:4]
    assert strangers(_around(anna, 5, rng), 0.1) == {}
    rows = np.concatenate([_around(anna, 2, rng), _around(others[0], 1, rng), _around(anna, 2, rng), _around(others[1], 1, rng)])
    found = strangers(rows, 0.2)
    assert sorted(found) == [2, 5] and max(found.values()) < 0.2
    assert strangers(np.concatenate([_around(anna, 1, rng), _around(others[0], 1, rng)]), 0.1) == {}, "of two, nobody can say who is wrong"
    assert strangers(np.zeros((0, 8), np.float32), 0.1) == {}
