from __future__ import annotations

import numpy as np
import pytest

from magicapture.world import degrade
from magicapture.world.clip_training import WORST, spoil


@pytest.fixture(scope="module")
def image(portraits) -> np.ndarray:
    return np.ascontiguousarray(portraits.images[0][::4, ::4])


def _error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize(
    ("harm", "little", "much"),
    [
        ("blur", 0.4, 2.0),
        ("coarsen", 1.2, 4.0),
        ("jpeg", 95, 5),
        ("sharpen", 0.1, 1.5),
    ],
)
def test_more_harm_is_further_from_the_picture(image: np.ndarray, harm: str, little: float, much: float) -> None:
    function = getattr(degrade, harm)
    near, far = function(image, little), function(image, much)
    assert near.shape == far.shape == image.shape and far.dtype == np.uint8
    assert 0 < _error(near, image) < _error(far, image)


@pytest.mark.parametrize("harm", ["noise", "recolour", "warp"])
def test_random_harm_grows_and_repeats(image: np.ndarray, harm: str) -> None:
    function, little, much = getattr(degrade, harm), *{"noise": (2.0, 25.0), "recolour": (0.02, 0.4), "warp": (0.004, 0.05)}[harm]

    def make(amount: float) -> np.ndarray:
        rng = np.random.default_rng(3)
        return function(image, amount, rng) if harm == "noise" else function(image, rng, amount)

    assert np.array_equal(make(much), make(much))
    assert _error(make(little), image) < _error(make(much), image)


def test_spoiling_is_graded(image: np.ndarray) -> None:
    assert np.array_equal(spoil(image, 0.0, np.random.default_rng(0)), image)
    errors = [
        np.mean([_error(spoil(image, level, np.random.default_rng(seed)), image) for seed in range(12)]) for level in (0.5, 2.0, WORST)
    ]
    assert errors == sorted(errors)


def test_worn_pictures_are_still_pictures(image: np.ndarray) -> None:
    worn = [degrade.wear(image, np.random.default_rng(seed)) for seed in range(20)]
    assert all(w.shape == image.shape and w.dtype == np.uint8 for w in worn)
    assert np.mean([_error(w, image) for w in worn]) < 25
