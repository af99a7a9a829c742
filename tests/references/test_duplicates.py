from __future__ import annotations

import io

import numpy as np
from PIL import Image

from magicapture.references.duplicates import difference_hash, find, take
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render


def _encoded(image: np.ndarray, side: int, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).resize((side, side)).save(buffer, "jpeg", quality=quality)
    return np.array(Image.open(buffer))


def test_hash_is_of_gradients() -> None:
    ramp = np.tile(np.arange(90, dtype=np.uint8), (80, 1))
    assert difference_hash(ramp) == 0 and difference_hash(ramp[:, ::-1]) == 2**64 - 1


def test_same_picture_encoded_again_is_found_and_another_pose_is_not() -> None:
    images = [render(Person.sample(5), Look.sample(5), Nuisance.sample(i), size=128).image for i in range(6)]
    prints = [take(f"{i}.png", f"{i}", image, 128) for i, image in enumerate(images)]
    assert find(prints, 2) == {}
    again = [take(f"again{i}.jpg", f"x{i}", _encoded(image, 90, 60), 90) for i, image in enumerate(images)]
    found = find([*again, *prints], 3)
    assert sorted(found) == [0, 1, 2, 3, 4, 5]
    assert found[4] == "shows the same picture as 4.png (preprocess.duplicate_distance)"


def test_a_copy_whose_rim_was_trimmed_unevenly_is_found() -> None:
    for i in range(4):
        image = render(Person.sample(40 + i), Look.sample(60 + i), Nuisance.sample(i), size=256).image
        trimmed = _encoded(image[5:254, 0:252], 180, 85)
        found = find([take("whole.png", "whole", image, 256), take("trimmed.jpg", "trimmed", trimmed, 180)], 12)
        assert found == {1: "shows the same picture as whole.png (preprocess.duplicate_distance)"}


def test_pictures_of_one_grey() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert find([take("a.png", "a", flat, 64), take("b.png", "b", flat + 20, 64)], 0)
    assert not find(
        [take("a.png", "a", flat, 64), take("b.png", "b", render(Person.sample(1), Look.sample(1), Nuisance.frontal(), size=64).image, 64)],
        64,
    )


def test_the_one_with_most_detail_stays() -> None:
    image = render(Person.sample(1), Look.sample(1), Nuisance.sample(1), size=128).image
    names = [("a.jpg", 64), ("b.jpg", 128), ("c.jpg", 128)]
    found = find([take(name, "same", image, side) for name, side in names], 0)
    assert found == {0: "is the same file as b.jpg", 2: "is the same file as b.jpg"}
