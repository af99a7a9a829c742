"""Options of `generate`, and `train` and `generate` run as a person runs them, with the embedded pack and a handful of steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from magicapture.artifacts import ArtifactError, read_manifest
from magicapture.cli import app
from magicapture.config import ConfigError, load_config
from magicapture.options import OptionsError
from magicapture.search import best_of
from magicapture.world.samples import write_samples

ROOT = Path(__file__).parents[2]
CONFIG = load_config("mini", ["generation.seeds=[70, 80]"])


@pytest.mark.parametrize("best", [0, 3])
def test_more_than_are_drawn_cannot_be_kept(best: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--best {best} of 2: expected 1 to 2"):
        best_of("adapter", "prepared", tmp_path / "out", CONFIG, best, None, [1, 2])
    assert not (tmp_path / "out").exists()


def test_how_many_seeds_and_which_contradict() -> None:
    result = CliRunner().invoke(app, ["train", "photos", "looks", "--out", "o", "--seed", "1", "--search-seeds", "4"])
    assert isinstance(result.exception, OptionsError) and "not both" in str(result.exception)


def test_train_searches_and_generate_keeps_the_best(tmp_path: Path) -> None:
    write_samples(tmp_path / "data", count=1, size=128)
    short = ["inversion.steps=1", "tuning.steps=2", "tuning.sample_every=0", "tuning.samples=1", "training.augment.versions=1"]
    short += ["training.threads=1", "generation.steps=8", "generation.seeds=[7]", "evaluation.baseline_images=0"]
    knobs = [part for knob in short for part in ("--set", knob)]
    out = tmp_path / "run"
    said = _run("train", tmp_path / "data" / "person", tmp_path / "data" / "look", "--out", out, "--search-seeds", "2", *knobs)
    record = json.loads((out / "search.json").read_text())
    assert {entry["state"] for entry in record["candidates"].values()} == {"best", "stopped"}
    assert f"best: {out / record['winner'] / 'adapter'}" in said and f"search: 4 steps of training, 1.33 times one run; sheet {out}" in said
    assert (out / record["winner"] / "evaluation" / "report.html").is_file() and (out / "search.html").is_file()
    card = (out / record["winner"] / "README.md").read_text()
    assert "Means and 95 % intervals under protocol" in card and "![portrait](evaluation/images/" in card
    assert sorted(path.name for path in out.glob("seed-*/portraits")) == ["portraits"]  # of the winner alone
    trained, scored = (read_manifest(out / record["winner"] / kind, kind)["config"] for kind in ("adapter", "evaluation"))
    assert trained["tuning"] == scored["tuning"] and trained["tuning"]["sample_every"] == 1  # the search's own, not the 0 it was told

    said = _run("generate", out / record["winner"] / "adapter", "--out", tmp_path / "more", "--best", "2", "--of", "4")
    rows = json.loads((tmp_path / "more" / "selection.json").read_text())
    assert [row["seed"] for row in sorted(rows, key=lambda row: row["file"])] == [7, 8, 9, 10]
    assert len(list((tmp_path / "more" / "images" / "images").iterdir())) == 4
    kept = [row for row in rows if row["kept"]]
    items = read_manifest(tmp_path / "more" / "portraits", "portraits", verify=True)["content"]["items"]
    assert 1 <= len(kept) <= 2 and [item["file"] for item in items] == [row["file"] for row in kept]
    assert all(row["face_count"] == 1 for row in kept) and [row["rank"] for row in kept] == sorted(row["rank"] for row in kept)
    finished = json.loads((tmp_path / "more" / "evaluation" / "scores.json").read_text())["items"]
    assert sorted(row["file"] for row in finished) == sorted(item["file"] for item in items)
    assert len(json.loads((tmp_path / "more" / "drawn" / "scores.json").read_text())["items"]) == 4
    assert f"report {tmp_path / 'more' / 'evaluation' / 'report.html'}" in said
    with Image.open(tmp_path / "more" / "portraits" / items[0]["file"]) as picture:
        assert picture.size == (256, 256)


def _run(*arguments: str | Path) -> str:
    command = (sys.executable, "-m", "magicapture", *map(str, arguments))
    result = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_without_the_prepared_folder_nothing_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="name it with --prepared"):
        best_of("adapter", tmp_path / "prepared", tmp_path / "out", CONFIG, 1, None, [1, 2])
    assert not (tmp_path / "out").exists()
