"""Sample data of an object: one thing in everyday textures, cut out; other things in one texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicapture.world import samples


def test_object_data(tmp_path: Path) -> None:
    for out in ("a", "b"):
        samples.main([str(tmp_path / out), "--object", "teapot:7000123", "--look", "marble", "--count", "3", "--size", "64"])
    files = sorted(str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*.*"))
    assert files == [f"{kind}/{name}" for kind in ("look", "object") for name in ("1.png", "2.png", "3.png", "description.txt")]
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    photos = [np.array(Image.open(tmp_path / "a" / "object" / f"{i}.png")) for i in (1, 2, 3)]
    assert all(photo.shape == (64, 64, 4) and set(np.unique(photo[..., 3])) == {0, 255} for photo in photos)
    assert not np.array_equal(photos[0][..., :3], photos[1][..., :3])
    assert Image.open(tmp_path / "a" / "look" / "1.png").mode == "RGB"
    words = (tmp_path / "a" / "object" / "description.txt").read_text()
    assert "teapot" in words and "style" not in words and not words.startswith("a photo")
    assert (tmp_path / "a" / "look" / "description.txt").read_text() == "in the marble style\n"


def test_what_the_world_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no kind of object 'boat'"):
        samples.write_object_samples(tmp_path, ("boat", 1))
