"""The library as the README uses it, and that importing it costs nothing."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import magicapture
from magicapture import MagiCapture, stages
from magicapture.api import Person, Portrait, Portraits, _Folder
from magicapture.artifacts import ArtifactError, read_manifest, sha256_file, write_json
from magicapture.config import ConfigError, Evaluation, load_config
from magicapture.evaluation.ranking import rank
from magicapture.options import OptionsError
from magicapture.world.samples import write_samples

ROOT = Path(__file__).parent.parent
SHORT = ("inversion.steps=2", "tuning.steps=2", "tuning.samples=1", "tuning.sample_every=0", "training.augment.versions=1",
         "training.rows=1", "training.threads=1", "generation.steps=2")  # fmt: skip
PROMPT = "a photo of a [V1] person in the [V2] style , wearing sunglasses"


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    folder = tmp_path_factory.mktemp("pictures")
    write_samples(folder, count=2, size=128)
    return MagiCapture("mini", *SHORT).personalise(folder / "person", folder / "look")


def test_several_seeds_are_searched_and_the_best_is_used(tmp_path: Path) -> None:
    write_samples(tmp_path, count=2, size=128)
    knobs = (*SHORT, "tuning.sample_every=1", "search.seeds=2")
    person = MagiCapture("mini", *knobs).personalise(tmp_path / "person", tmp_path / "look", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "search.json").read_text())
    assert set(record["candidates"]) == {"seed-0", "seed-1"}
    assert person.adapter == tmp_path / "out" / record["winner"] / "adapter"
    assert read_manifest(person.adapter, "adapter")["content"]["last_step"] == 2


def test_a_seed_is_the_only_one_to_try(tmp_path: Path) -> None:
    write_samples(tmp_path, count=2, size=128)
    person = MagiCapture("mini", *SHORT).personalise(tmp_path / "person", tmp_path / "look", tmp_path / "out", seed=3)
    assert person.adapter == tmp_path / "out" / "seed-3" / "adapter"
    assert read_manifest(person.adapter, "adapter")["content"]["seed"] == 3
    with pytest.raises(ConfigError, match=r"search.seeds = \(-1,\)"):
        MagiCapture("mini").personalise(tmp_path / "person", tmp_path / "look", seed=-1)


def test_importing_the_package_loads_nothing() -> None:
    code = "import json, sys, magicapture; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "pydantic", "numpy", "magicapture.api"} & set(json.loads(result.stdout))
    with pytest.raises(AttributeError, match="no attribute 'Magicapture'"):
        magicapture.Magicapture  # noqa: B018


def test_from_photos_to_the_best_portraits(person: Person, tmp_path: Path) -> None:
    portraits = person.generate(PROMPT, count=3, seeds=[5])
    assert [(portrait.seed, portrait.prompt, portrait.scores) for portrait in portraits] == [(seed, PROMPT, {}) for seed in (5, 6, 7)]
    assert [portrait.seed for portrait in portraits[1:]] == [6, 7]
    best = portraits.best()
    assert {portrait.seed for portrait in best} <= {5, 6, 7} and len(best) >= 2
    assert all(portrait.scores["face_count"] == 1 for portrait in best)
    assert [portrait.scores["rank"] for portrait in best] == sorted(portrait.scores["rank"] for portrait in best)
    assert [portrait.seed for portrait in portraits.best(2)] == [portrait.seed for portrait in best[:2]]
    saved = portraits.best(2).save(tmp_path / "out")
    assert [path.name for path in saved] == ["0000.png", "0001.png"]
    assert sha256_file(saved[0]) == sha256_file(best[0].file)
    with Image.open(saved[0]) as picture:
        assert picture.size == (256, 256)
    rows = json.loads((tmp_path / "out/portraits.json").read_text())
    assert [row["seed"] for row in rows] == [portrait.seed for portrait in best[:2]]
    assert rows[0]["scores"]["style"] == best[0].scores["style"]


def test_temporary_folders_go_with_the_last_that_uses_them(person: Person) -> None:
    portraits = person.generate(PROMPT, count=1)
    file = portraits[0].file
    first = portraits[:1]
    del portraits
    assert file.is_file()
    del first
    assert not file.exists()
    assert (person.adapter / "manifest.json").is_file()


def test_what_cannot_be_is_refused(person: Person, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tuning\.steps"):
        MagiCapture("mini", "tuning.stepz=1")
    with pytest.raises(OptionsError, match="--count 3 with 2 seeds"):
        person.generate(PROMPT, count=3, seeds=[1, 2])
    with pytest.raises(ArtifactError, match="expected a 'prepared' artifact"):
        MagiCapture("mini").load(person.adapter, tmp_path)


def test_loaded_it_is_as_it_was_made_unless_a_preset_is_named(person: Person) -> None:
    """As `magicapture generate` does it."""
    made = MagiCapture().load(person.adapter, person.prepared)
    assert (made.adapter, made.prepared) == (person.adapter, person.prepared)
    assert made.config.generation == person.config.generation and made.config.generation.steps == 2
    changed = MagiCapture(None, "generation.guidance=5.5", "generation.unet_scale=0.5").load(person.adapter, person.prepared).config
    assert (changed.generation.guidance, changed.generation.unet_scale, changed.generation.steps) == (5.5, 0.5, 2)
    assert MagiCapture("mini").load(person.adapter, person.prepared).config == load_config("mini")
    assert MagiCapture("mini-objects", "generation.steps=3").load(person.adapter, person.prepared).config.generation.steps == 3


def _portraits(tmp_path: Path, count: int) -> Portraits:
    """Pictures in a temporary folder, as generate leaves them."""
    folder = _Folder(None)
    files = [folder.path / f"{number}.png" for number in range(count)]
    for file in files:
        Image.new("RGB", (8, 8)).save(file)
    config = load_config("mini")
    person = Person(config, tmp_path, tmp_path, folder)
    return Portraits([Portrait(file, PROMPT, 1, _folder=folder) for file in files], folder.path, person, config, folder)


def test_the_best_have_as_many_faces_as_the_prompt_names_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two faces and none are left out, the first of them although it ranks first; of both prompts together the better comes first."""
    portraits = _portraits(tmp_path, 4)
    row = {"kind": "portrait", "style": 0.5, "aesthetic": 5.0}
    faces = [(2, 0.9, "a"), (1, 0.4, "a"), (0, None, "b"), (1, 0.6, "b")]
    rows = [
        {**row, "file": f"{number}.png", "face": bool(count), "face_count": count, "identity": identity, "prompt": prompt}
        for number, (count, identity, prompt) in enumerate(faces)
    ]
    write_json(tmp_path / "scores.json", {"items": rank([*rows, {**row, "file": "b.png", "kind": "base", "face": None}], Evaluation())})
    monkeypatch.setattr(stages, "evaluate", lambda *_: tmp_path)
    assert [portrait.file.name for portrait in portraits.best()] == ["3.png", "1.png"]
    assert [portrait.scores["rank"] for portrait in portraits.best(3)] == [2, 3]
    assert [portrait.file.name for portrait in portraits.best(1)] == ["3.png"]
    assert not portraits[2:3].best() and portraits[2:3].best().save(tmp_path / "out") == []


def test_a_portrait_keeps_its_file(tmp_path: Path) -> None:
    portrait = _portraits(tmp_path, 1)[0]
    gc.collect()
    assert portrait.file.is_file() and "_folder" not in repr(portrait) and "_Folder" not in repr(portrait)
    file = portrait.file
    del portrait
    gc.collect()
    assert not file.exists()


def test_saved_again_no_earlier_picture_is_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _portraits(tmp_path, 3).save(out)
    (out / "1234.png").touch()  # a person's own
    _portraits(tmp_path, 1).save(out)
    assert sorted(path.name for path in out.iterdir()) == ["0000.png", "1234.png", "portraits.json"]
