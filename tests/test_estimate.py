"""``train --dry-run``: counts from the knobs, seconds from what was measured, and nothing written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from magicapture import estimate as estimates
from magicapture.cli import app
from magicapture.config import load_config
from magicapture.estimate import MEASURED, estimate, obstacles
from magicapture.packs import load_pack
from magicapture.world.samples import write_samples

KINDS = {"open", "photo", "inversion_row", "tuning_row", "picture_step", "finish", "score", "memory_gb"}
COSTS = dict.fromkeys(KINDS, 0.0)


def _measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **costs: float) -> None:
    entry = {
        "pack": "mini", "device": "cpu", "machine": "a machine", "unit": "CPU seconds", "date": "2026-01-01", "cores": 2, "load": 9.5,
        "costs": COSTS | costs,
    }  # fmt: skip
    (tmp_path / "measured.json").write_text(json.dumps([entry]))
    monkeypatch.setattr(estimates, "MEASURED", tmp_path / "measured.json")


def test_a_dry_run_says_what_stands_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_PACKS", str(tmp_path / "packs"))
    write_samples(tmp_path, count=1, size=64)
    (tmp_path / "file").write_text("taken")
    shutil.copytree(tmp_path / "person", tmp_path / "run/prepared/photos")
    person, look, out = (str(tmp_path / name) for name in ("person", "look", "out"))
    for arguments, said in (
        ([person, look, "--out", out], ""),
        ([person, person, "--out", out], "photos and looks are the same folder"),
        ([person, look, "--out", str(tmp_path)], ""),
        ([str(tmp_path / "run/prepared/photos"), look, "--out", str(tmp_path / "run")], "holds the photos folder and would replace it"),
        ([person, look, "--out", str(tmp_path / "file/out")], "is no folder that can be written to"),
        ([person, look, "--out", out, "--preset", "sd15"], "magicapture packs fetch sd15"),
    ):
        result = CliRunner().invoke(app, ["train", *arguments, "--dry-run"])
        assert (result.exit_code, bool(said)) in ((0, False), (2, True)), result.output
        assert said in result.stderr and ("cannot start: " in result.stderr) == bool(said)
        assert "together" in result.stdout or "sd15" in arguments  # the plan is told all the same
    result = CliRunner().invoke(app, ["train", str(tmp_path / "no"), str(tmp_path / "none"), "--out", out, "--dry-run", "--json"])
    assert result.exit_code == 2 and [text.split(" does")[0] for text in json.loads(result.stdout)["obstacles"]] == [
        f"the photos folder {tmp_path / 'no'}", f"the looks folder {tmp_path / 'none'}"
    ]  # fmt: skip
    if not torch.cuda.is_available():
        result = CliRunner().invoke(app, ["train", person, look, "--out", out, "--device", "cuda", "--dry-run", "--json"])
        assert result.exit_code == 2 and "sees no CUDA device" in json.loads(result.stdout)["obstacles"][0]
    assert not (tmp_path / "out").exists()


def test_a_run_is_stopped_by_the_weights_it_reads_alone(tmp_path: Path) -> None:
    write_samples(tmp_path, count=1, size=64)
    folder = shutil.copytree(load_pack("mini").folder, tmp_path / "pack")
    content = yaml.safe_load((folder / "pack.yaml").read_text())
    for role in ("recogniser_torch", "restorer", "structure"):
        (folder / content["roles"][role]["path"]).rename(tmp_path / role)
    places = (str(tmp_path / "person"), str(tmp_path / "look"), tmp_path / "out")

    def told(*knobs: str) -> str:
        return "; ".join(obstacles(load_config("mini", [f"pack={folder}", *knobs]), *places))

    assert "recogniser_torch is missing" in told() and "no restorer" in told() and "structure" not in told()
    for knob in ("tuning.lambda_identity=0", "tuning.composed=false"):
        assert "recogniser_torch" not in told(knob) and told(knob, "postprocessing.restore=false") == ""
    assert "no role 'adaface_torch'" in told("tuning.recogniser=adaface")
    things = ("preprocess.region=object", "tuning.lambda_identity=0", "tuning.lambda_structure=0.1", "postprocessing.restore=false")
    assert "no structure" in told(*things)


def test_what_is_kept_as_measured_is_complete() -> None:
    for entry in json.loads(MEASURED.read_text()):
        assert set(entry["costs"]) == KINDS
        assert all(value >= 0 for value in entry["costs"].values()) and entry["costs"]["tuning_row"] > 0
        assert entry["machine"] and entry["date"] and entry["unit"]


@pytest.mark.parametrize(
    ("kind", "overrides", "stage", "count"),
    [
        ("photo", [], "preprocess", 9),
        ("inversion_row", ["inversion.steps=10", "training.rows=3"], "inversion", 10 * 2 * 3),
        ("tuning_row", ["tuning.steps=10", "training.rows=1", "training.accumulation=2"], "tuning", 10 * 3 * 2),
        ("tuning_row", ["tuning.steps=10", "training.rows=1", "tuning.composed=false"], "tuning", 10 * 2),
        ("picture_step", ["tuning.sample_every=0", "tuning.samples=3", "generation.steps=5"], "tuning", 3 * 5),
        ("picture_step", ["generation.seeds=[1,2]", "evaluation.baseline_images=1", "generation.steps=5"], "generation", (2 + 2) * 5),
        ("finish", ["generation.seeds=[1,2]", "evaluation.baseline_images=0"], "postprocessing", 2),
        ("finish", ["postprocessing.upscale=false", "postprocessing.restore=false"], "postprocessing", 0),
        ("score", ["generation.seeds=[1,2]", "evaluation.baseline_images=0"], "evaluation", 2),
    ],
)
def test_seconds_are_counts_times_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, overrides: list[str], stage: str, count: int
) -> None:
    _measured(tmp_path, monkeypatch, **{kind: 2.0, "memory_gb": 1.5})
    found = estimate(load_config("mini", overrides), pictures=9)
    assert {work.stage: work.seconds for work in found.stages}[stage] == 2.0 * count
    assert found.seconds == sum(work.seconds or 0 for work in found.stages)
    assert found.memory == 1.5 and "a machine" in found.how and "busy (load 9.5 on 2 cores)" in found.how


def test_a_search_needs_what_it_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four seeds share an inversion, and two of them stop at a quarter of the steps, one at half: twice one run's tuning."""
    _measured(tmp_path, monkeypatch, inversion_row=1.0, tuning_row=1.0, score=1.0)
    seconds = [
        {work.stage: work.seconds or 0 for work in estimate(load_config("mini", [f"search.seeds={count}"])).stages} for count in (1, 4)
    ]
    assert seconds[1]["inversion"] == seconds[0]["inversion"] and seconds[1]["evaluation"] == seconds[0]["evaluation"]
    assert seconds[1]["tuning"] == 2 * seconds[0]["tuning"] > 0
    times = [estimate(load_config("mini", [f"search.seeds={count}"])).times for count in (1, 4)]
    assert times == [1, (60 + 320 + 160 + 2 * 80) / 380]


def test_what_was_not_measured_is_not_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _measured(tmp_path, monkeypatch)
    found = estimate(load_config("sd15"))
    assert found.seconds is None and found.memory is None
    assert "not measured (measured: mini on cpu)" in found.how
    assert all(work.seconds is None for work in found.stages)


def test_a_dry_run_says_all_and_writes_nothing(tmp_path: Path) -> None:
    write_samples(tmp_path / "data", count=2, size=64)
    places = [str(tmp_path / "data/person"), str(tmp_path / "data/look"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, ["train", *places, "--seed", "4", "--dry-run", "--json"])
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert (plan["photos"], plan["seeds"], plan["stages"][0]["does"]) == (places[0], [4], "4 pictures")
    assert [stage["stage"] for stage in plan["stages"]] == [
        "preprocess", "inversion", "tuning", "generation", "postprocessing", "evaluation",
    ]  # fmt: skip
    text = CliRunner().invoke(app, ["train", *places, "--dry-run"]).stdout
    assert f"-> {tmp_path / 'run/seed-N/adapter'}" in text and "estimate: " in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(app, ["train", str(tmp_path / "empty"), *places[1:], "--dry-run"])
    assert result.exit_code == 2 and "holds no files" in result.stderr
