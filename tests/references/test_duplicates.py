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


def test_the_one_with_most_detail_stays() -> None:
    image = render(Person.sample(1), Look.sample(1), Nuisance.sample(1), size=128).image
    names = [("a.jpg", 64), ("b.jpg", 128), ("c.jpg", 128)]
    found = find([take(name, "same", image, side) for name, side in names], 0)
    assert found == {0: "is the same file as b.jpg", 2: "is the same file as b.jpg"}
