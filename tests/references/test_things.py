"""Preprocessing of objects: no face, no network; photos are cut out by their transparency, looks count whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicapture import references
from magicapture.config import Config, load_config
from magicapture.faces.prepared import PreparedSet
from magicapture.references import ReferencesError
from tests.faces import tinypack


@pytest.fixture
def config(tmp_path: Path) -> Config:
    folder = tinypack.build(tmp_path / "pack")
    (folder / "faces" / "detector.onnx").write_bytes(b"never read")
    return load_config({"pack": str(folder), "preprocess": {"region": "object"}})


def write(path: Path, seed: int, box: tuple[int, int, int, int] | None = None, size: tuple[int, int] = (128, 128)) -> None:
    """A picture; with a box (left, top, right, bottom) px all else is transparent."""
    path.parent.mkdir(exist_ok=True)
    image = tinypack.draw(*size, [], seed)
    if box is None:
        Image.fromarray(image).save(path)
        return
    alpha = np.zeros(size, np.uint8)
    alpha[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(np.dstack([image, alpha])).save(path)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    write(tmp_path / "photos" / "0.png", 0, (20, 40, 90, 110))
    write(tmp_path / "photos" / "1.png", 1, (150, 30, 230, 100), (128, 256))
    write(tmp_path / "photos" / "2.png", 2)
    write(tmp_path / "looks" / "0.png", 3, (20, 20, 60, 60))
    write(tmp_path / "looks" / "1.png", 4)
    return tmp_path


def test_prepared_set(good: Path, config: Config) -> None:
    prepared = PreparedSet.load(references.run(good / "photos", good / "looks", good / "out", config), verify=True)
    assert [item.name for item in prepared.source] == ["0.png", "1.png", "2.png"] and not prepared.set_aside
    assert not prepared.faces and all(item.keypoints is None and item.box is None for item in (*prepared.source, *prepared.reference))
    assert all(len(prepared.embeddings(role)) == 0 for role in ("recogniser", "judge"))
    first, second, whole = (item.mask() for item in prepared.source)
    expected = np.zeros((64, 64), bool)
    expected[20:55, 10:45] = True
    assert np.array_equal(first, expected) and whole.all()
    assert (prepared.source[0].image()[~first] == 128).mean() > 0.97  # but for the seam
    rows, columns = np.flatnonzero(second.any(1)), np.flatnonzero(second.any(0))
    assert abs(columns.mean() - 31.5) < 1 and abs(rows.mean() - 32) < 2  # the square has moved to the object
    assert not any(item.mask().any() or item.parsing().any() for item in prepared.reference)
    assert (prepared.reference[0].image()[40:] == 255).all()  # as pictures of looks always were
    assert list(prepared.warnings) == ["2.png has no transparency: the whole picture counts as the object; cut it out"]
    sheet = (prepared.folder / "sheet.html").read_text()
    assert "Photos of the object" in sheet and "30% of the picture count as the object" in sheet


def test_duplicates_and_small_pictures_are_set_aside_as_ever(good: Path, config: Config) -> None:
    (good / "photos" / "3.png").write_bytes((good / "photos" / "0.png").read_bytes())
    write(good / "photos" / "4.png", 5, (2, 2, 20, 20), (30, 30))
    ghost = np.dstack([tinypack.draw(64, 64, [], 6), np.random.default_rng(0).integers(0, 100, (64, 64)).astype(np.uint8)])
    Image.fromarray(ghost).save(good / "photos" / "5.png")
    write(good / "photos" / "6.png", 7, (0, 0, 0, 0))
    prepared = PreparedSet.load(references.run(good / "photos", good / "looks", good / "out", config))
    reasons = {entry["name"]: entry["reason"] for entry in prepared.set_aside}
    assert set(reasons) == {"3.png", "4.png", "5.png", "6.png"} and "is transparent" in reasons["6.png"]
    assert "same file as 0.png" in reasons["3.png"] and "too small" in reasons["4.png"] and "is transparent" in reasons["5.png"]


def test_too_few_pictures_stop_the_run(good: Path, config: Config) -> None:
    knobs = load_config(config, ["preprocess.min_pictures=4"])
    with pytest.raises(ReferencesError, match="add pictures in which one thing is clear"):
        references.run(good / "photos", good / "looks", good / "out", knobs)
