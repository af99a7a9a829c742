"""A pack that knows rendered people says so when it is given photographs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from magicapture import references
from magicapture.config import Config, load_config
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import load_pack
from magicapture.references import ReferencesError
from magicapture.world.samples import write_samples
from tests.faces import tinypack

COMMANDS = "For photographs: `magicapture packs fetch sd15`, then `magicapture train PHOTOS LOOKS --preset sd15`"


@pytest.fixture
def tiny(tmp_path: Path) -> Config:
    """The marker faces' pack, which says what it knows."""
    return load_config({"pack": str(_with_domain(tinypack.build(tmp_path / "pack"), "marker faces", 0.9))})


@pytest.fixture
def mini(tmp_path: Path) -> Config:
    """The embedded pack, with what packing writes into its pack.yaml."""
    (tmp_path / "pack").mkdir()
    for path in load_pack("mini").folder.iterdir():
        (tmp_path / "pack" / path.name).symlink_to(path)
    return load_config("mini", [f"pack={_with_domain(tmp_path / 'pack', 'rendered people', 0.87)}"])


def _with_domain(folder: Path, domain: str, usual: float) -> Path:
    data = yaml.safe_load((folder / "pack.yaml").read_text())
    data["domain"] = domain
    data["roles"]["detector"]["settings"].setdefault("usual_score", usual)
    (folder / "pack.yaml").unlink()
    (folder / "pack.yaml").write_text(yaml.safe_dump(data))
    return folder


def _save(folder: Path, faces: int, empty: int) -> None:
    """Photos of one marker person, some without a face, and two looks."""
    for name, count in (("photos", faces), ("looks", 2)):
        (folder / name).mkdir()
        for i in range(count):
            face = (100.0 + 20 * i, 128.0, 116.0, 0)
            Image.fromarray(tinypack.draw(256, 256, [face], seed=len(name) * 10 + i)).save(folder / name / f"{i}.png")
    for i in range(empty):
        Image.fromarray(tinypack.draw(256, 256, [], seed=50 + i)).save(folder / "photos" / f"empty{i}.png")


def _run(folder: Path, config: Config) -> PreparedSet:
    return PreparedSet.load(references.run(folder / "photos", folder / "looks", folder / "out", config))


def test_faces_of_its_world_are_not_doubted(tmp_path: Path, tiny: Config) -> None:
    _save(tmp_path, faces=3, empty=1)
    prepared = _run(tmp_path, tiny)
    assert not prepared.warnings
    assert prepared.set_aside[0]["reason"].endswith("in which the face is clear (pack 'tiny' knows marker faces only)")


def test_most_without_a_face_is_a_warning_and_none_with_one_the_end(tmp_path: Path, tiny: Config) -> None:
    _save(tmp_path, faces=1, empty=3)
    prepared = _run(tmp_path, tiny)
    (warning,) = [warning for warning in prepared.warnings if COMMANDS in warning]
    assert "found in 1 of 4 pictures" in warning and "pack 'tiny' knows marker faces only" in warning
    (tmp_path / "photos" / "0.png").unlink()
    with pytest.raises(ReferencesError) as caught:
        _run(tmp_path, tiny)
    assert str(caught.value).splitlines()[-1].endswith(COMMANDS)
    assert "found in 0 of 3 pictures" in str(caught.value)


def test_low_scores_are_a_warning(tmp_path: Path, tiny: Config) -> None:
    _save(tmp_path, faces=3, empty=0)
    score = np.mean([item.score for item in _run(tmp_path, tiny).source])
    file = Path(tiny.pack) / "pack.yaml"
    file.write_text(file.read_text().replace("usual_score: 0.9", f"usual_score: {score + 0.001:.4f}"))
    prepared = _run(tmp_path, tiny)
    assert len(prepared.source) == 3
    assert f"with a mean score of {score:.2f} (usual: at least {score + 0.001:.4g}" in prepared.warnings[0].replace("0)", ")")


def test_a_pack_for_photographs_says_nothing_of_it(tmp_path: Path, tiny: Config) -> None:
    file = Path(tiny.pack) / "pack.yaml"
    file.write_text(file.read_text().replace("domain: marker faces\n", ""))
    _save(tmp_path, faces=0, empty=2)
    with pytest.raises(ReferencesError) as caught:
        _run(tmp_path, tiny)
    assert "sd15" not in str(caught.value) and "knows" not in str(caught.value)


def test_rendered_people_pass_the_mini_pack(tmp_path: Path, mini: Config) -> None:
    write_samples(tmp_path / "data", count=4, size=256)
    prepared = PreparedSet.load(references.run(tmp_path / "data" / "person", tmp_path / "data" / "look", tmp_path / "out", mini))
    assert len(prepared.source) == 4
    assert not [warning for warning in prepared.warnings if "photographs" in warning]


def test_photographs_given_to_the_mini_pack_end_with_what_to_do(tmp_path: Path, mini: Config) -> None:
    """A real astronaut and five real actors, from the wheels of scikit-image and insightface."""
    write_samples(tmp_path / "data", count=1, size=256)
    (tmp_path / "photos").mkdir()
    astronaut = np.array(Image.open(_wheel("skimage") / "data" / "astronaut.png").convert("RGB"))
    Image.fromarray(astronaut[0:220, 120:320]).save(tmp_path / "photos" / "astronaut.png")
    group = np.array(Image.open(_wheel("insightface") / "data" / "images" / "t1.jpg").convert("RGB"))
    for x, y in ((100, 0), (400, 120), (500, 120), (700, 240), (900, 120)):
        Image.fromarray(group[y : y + 320, x : x + 300]).save(tmp_path / "photos" / f"{x}.png")
    try:
        said = "\n".join(PreparedSet.load(references.run(tmp_path / "photos", tmp_path / "data" / "look", tmp_path / "out", mini)).warnings)
    except ReferencesError as error:
        said = str(error)
    assert "these may be photographs" in said and "knows rendered people only" in said and COMMANDS in said


def _wheel(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent
