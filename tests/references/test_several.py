"""Several subjects and looks in one prepared set: each judged by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicapture import references
from magicapture.artifacts import sha256_file
from magicapture.config import Config, load_config
from magicapture.faces.prepared import PreparedSet
from magicapture.references import ReferencesError
from tests.faces import tinypack

Draw = Callable[[str, int, int], None]


@pytest.fixture
def config(tiny_folder: Path) -> Config:
    return load_config({"pack": str(tiny_folder)})


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Write a picture of a marker person: draw("photos/anna/0.png", person, seed)."""

    def write(name: str, person: int, seed: int) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tinypack.draw(256, 256, [(96 + 32 * (seed % 3), 128, 116, person)], seed)).save(tmp_path / name)

    return write


@pytest.fixture
def several(draw: Draw, tmp_path: Path) -> Path:
    """Two people, three photos each, and two looks, one of which has two pictures."""
    for i in range(3):
        draw(f"photos/ben/{i}.png", 1, 10 + i)
        draw(f"photos/anna/{i}.png", 0, i)
    for i, name in enumerate(("noir/0.png", "noir/1.png", "gala/0.png")):
        draw(f"looks/{name}", 2, 20 + i)
    return tmp_path


def run(folder: Path, config: Config) -> PreparedSet:
    return PreparedSet.load(references.run(folder / "photos", folder / "looks", folder / "out", config), verify=True)


def test_items_keep_their_concept_and_nobody_is_a_stranger_for_not_being_another_subject(several: Path, config: Config) -> None:
    (several / "photos" / "ben" / "description.txt").write_text("a person with a beard")
    prepared = run(several, config)
    assert [item.concept for item in prepared.source] == ["anna"] * 3 + ["ben"] * 3
    assert [item.name for item in prepared.reference] == ["gala/0.png", "noir/0.png", "noir/1.png"] and not prepared.set_aside
    assert prepared.descriptions == {"source:ben": "a person with a beard"}
    assert prepared.warnings == ("only one usable picture in looks of gala: it works, 4 to 6 work better",)
    anna, ben = (prepared.of([token]).embeddings("judge") for token in prepared.tokens("source"))
    assert len(anna) == len(ben) == 3 and (anna @ anna.T).min() > 0.8 > (anna @ ben.T).max()


def test_whose_photos_they_are_is_recorded_by_name_and_hash(several: Path, config: Config) -> None:
    """Of every photo given: of one of a kind that is not read, too."""
    (several / "photos" / "ben" / "9.heic").write_bytes(b"\0\0\0\x18ftypheic, not read, yet his")
    hashes = {name: sorted(sha256_file(path) for path in (several / "photos" / name).iterdir()) for name in ("anna", "ben")}
    assert run(several, config).manifest["subjects"] == hashes
    alone = PreparedSet.load(references.run(several / "photos" / "ben", several / "looks", several / "out", config))
    assert alone.manifest["subjects"] == {"ben": hashes["ben"]}
    called = load_config(config, ["promotion.subject=other"])
    alone = PreparedSet.load(references.run(several / "photos" / "ben", several / "looks", several / "out", called))
    assert alone.manifest["subjects"] == {"other": hashes["ben"]}


def test_a_photo_of_the_other_subject_is_set_aside_by_name(several: Path, config: Config, draw: Draw) -> None:
    draw("photos/anna/9.png", 1, 7)
    prepared = run(several, config)
    assert [(entry["name"], "someone else" in entry["reason"]) for entry in prepared.set_aside] == [("anna/9.png", True)]
    assert "anna/9.png" in (prepared.folder / "sheet.html").read_text()


def test_too_few_photos_of_one_subject_stop_the_run_and_name_it(several: Path, config: Config) -> None:
    (several / "photos" / "ben" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ReferencesError, match=r"^photos of ben: 2 of 3 pictures can be used(?s:.)*ben/1.png: is not a picture"):
        run(several, load_config(config, ["preprocess.min_pictures=3"]))


def test_a_picture_in_another_concept_is_another_lineage(several: Path, config: Config) -> None:
    first = run(several, config).lineage
    (several / "looks" / "noir" / "1.png").rename(several / "looks" / "gala" / "1.png")
    assert run(several, config).lineage != first


def test_one_sub_folder_is_a_flat_folder_with_a_name(several: Path, config: Config) -> None:
    for path in sorted((several / "looks" / "gala").iterdir()):
        path.unlink()
    prepared = run(several, config)
    assert prepared.concepts("reference") == ("noir",) and prepared.tokens("reference") == ("[V2]",)
    flat = PreparedSet.load(references.run(several / "photos", several / "looks" / "noir", several / "flat", config))
    for one, other in zip(prepared.reference, flat.reference, strict=True):
        assert np.array_equal(one.image(), other.image()) and np.array_equal(one.mask(), other.mask())
