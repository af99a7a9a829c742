"""The prepared set reads back what was written, and says what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from magicapture.artifacts import ArtifactError, write_json
from magicapture.faces.prepared import Picture, PreparedSet, write


def _picture(name: str, rng: np.random.Generator, face: bool = True) -> Picture:
    parsing = rng.integers(0, 19, (32, 32), dtype=np.uint8)
    points = rng.uniform(0, 32, (5, 2)).astype(np.float32)
    return Picture(
        name=name,
        image=rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        parsing=parsing,
        mask=(parsing == 1) & face,
        keypoints=points if face else None,
        box=np.array([4, 5, 20, 28.5], np.float32) if face else None,
        score=0.9 if face else None,
        sharpness=31.25 if face else None,
        sha256="ab" * 32,
    )


@pytest.fixture
def pictures() -> list[Picture]:
    rng = np.random.default_rng(0)
    return [
        _picture("anna one.jpg", rng),
        _picture("anna-2.jpg", rng),
        _picture("beach.jpg", rng),
        _picture("no face.jpg", rng, face=False),
    ]


@pytest.fixture
def folder(tmp_path: Path, pictures: list[Picture]) -> Path:
    embeddings = {"source.recogniser": np.eye(2, 8, dtype=np.float32), "source.judge": np.eye(2, 4, dtype=np.float32)}
    return write(
        tmp_path / "prepared", resolution=32, source=pictures[:2], reference=pictures[2:], embeddings=embeddings,
        set_aside=[{"set": "source", "name": "cat.jpg", "reason": "no face"}], warnings=["few"], descriptions={"source": "a person"},
        sheet="<html></html>", lineage="0123", config={"preprocess": {}},
    )  # fmt: skip


def test_round_trip(folder: Path, pictures: list[Picture]) -> None:
    prepared = PreparedSet.load(folder, verify=True)
    assert (prepared.resolution, prepared.lineage, len(prepared.source), len(prepared.reference)) == (32, "0123", 2, 2)
    for item, picture in zip((*prepared.source, *prepared.reference), pictures, strict=True):
        assert item.name == picture.name and item.sha256 == picture.sha256 and item.score == picture.score
        assert np.array_equal(item.image(), picture.image)
        assert np.array_equal(item.mask(), picture.mask) and item.mask().dtype == bool
        assert np.array_equal(item.parsing(), picture.parsing)
        if picture.keypoints is None:
            assert item.keypoints is None and item.box is None
        else:
            np.testing.assert_allclose(item.keypoints, picture.keypoints, atol=1e-3)
            np.testing.assert_allclose(item.box, picture.box, atol=1e-3)
    assert (
        prepared.set_aside[0]["reason"] == "no face" and prepared.warnings == ("few",) and prepared.descriptions == {"source": "a person"}
    )
    assert np.array_equal(prepared.embeddings("judge"), np.eye(2, 4, dtype=np.float32))
    assert (folder / "sheet.html").is_file()


def test_errors_name_what_is_missing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no 'source.referee'; it holds source.judge, source.recogniser"):
        PreparedSet.load(folder).embeddings("referee")
    with pytest.raises(ArtifactError, match="no manifest.json"):
        PreparedSet.load(tmp_path / "nothing")
    (folder / "source" / "0.png").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="source/0.png differs"):
        PreparedSet.load(folder, verify=True)


@pytest.mark.parametrize("part", ["file", "mask", "parsing"])
@pytest.mark.parametrize(("fault", "said"), [("lost", "missing"), ("cut", "cannot be read as a picture"), ("outside", "not in the folder")])
def test_pictures_that_are_lost_damaged_or_elsewhere(folder: Path, part: str, fault: str, said: str) -> None:
    """A manifest may be a stranger's: what it names outside its folder is not read."""
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = manifest["content"]["source"][0]
    file = folder / entry[part]
    data = file.read_bytes()
    if fault == "outside":
        (folder.parent / "secret.png").write_bytes(data)
        entry[part] = "../secret.png"
        write_json(folder / "manifest.json", manifest)
    else:
        file.write_bytes(data[: len(data) // 2])
    if fault == "lost":
        file.unlink()
    item = PreparedSet.load(folder).source[0]
    with pytest.raises(ArtifactError, match=said):
        {"file": item.image, "mask": item.mask, "parsing": item.parsing}[part]()


def test_refuses_arrays_that_do_not_fit(tmp_path: Path, pictures: list[Picture]) -> None:
    common = {"resolution": 32, "reference": pictures[2:], "source": pictures[:2]}
    with pytest.raises(ValueError, match=r"'source.judge': expected 2 rows"):
        write(tmp_path / "a", embeddings={"source.judge": np.zeros((3, 4), np.float32)}, **common)  # type: ignore[arg-type]
    bad = replace(pictures[0], mask=np.zeros((16, 16), bool))
    with pytest.raises(ValueError, match=r"anna one.jpg: mask is \(16, 16\)"):
        write(tmp_path / "a", embeddings={}, **{**common, "source": [bad]})  # type: ignore[arg-type]
    assert not (tmp_path / "a").exists() and not list(tmp_path.glob(".a.*"))


def test_parts_of_a_set_of_several_concepts(tmp_path: Path, pictures: list[Picture]) -> None:
    people = [replace(pictures[i], concept=name) for i, name in enumerate(("anna", "ben", "ben"))]
    folder = write(
        tmp_path / "p", resolution=32, source=people, reference=pictures[2:], embeddings={"source.judge": np.eye(3, 4, dtype=np.float32)}
    )
    prepared = PreparedSet.load(folder)
    assert prepared.concepts("source") == ("anna", "ben") and prepared.concepts("reference") == ("",)
    assert prepared.tokens("source") == ("[V1:anna]", "[V1:ben]") and prepared.tokens("reference") == ("[V2]",)
    ben = prepared.of(["[V1:ben]", "[V2]"])
    assert [item.concept for item in ben.source] == ["ben", "ben"] and len(ben.reference) == 2
    assert np.array_equal(ben.embeddings("judge"), np.eye(3, 4)[1:]) and np.array_equal(prepared.embeddings("judge"), np.eye(3, 4))
    assert ben.tokens("source") == ("[V1]",)  # alone it needs no name
    assert len(prepared.of([]).source) == 3  # nobody named: everybody
