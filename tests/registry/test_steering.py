"""What a scheduled run asks of MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicapture.artifacts import read_manifest, write_text
from magicapture.registry import nothing_changed, promote, run_page
from magicapture.registry.contents import read_stage
from magicapture.registry.models import model_name
from magicapture.registry.runs import JOB_TAG, URL_TAG, resolve
from magicapture.registry.tracking import Tracker
from tests.faces import tinypack
from tests.registry.artifacts import knobs, make_candidate


@pytest.fixture
def run(tmp_path: Path, tracker: Tracker) -> Path:
    """A run/1 artifact of a run that was just opened."""
    for name in ("person", "look"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_text(name)
    config = knobs(pack=str(tinypack.build(tmp_path / "pack"))).to_yaml()
    resolve(tmp_path / "person", tmp_path / "look", config, [], ["0"], "job-1", tmp_path / "run", "http://kfp/#/runs/details/job-1")
    return tmp_path / "run"


def test_only_the_champion_of_the_same_lineage_ends_a_run(run: Path, tmp_path: Path, tracker: Tracker) -> None:
    assert nothing_changed(run) is None  # no model yet
    promote([make_candidate(tmp_path / "a")], tmp_path / "p", knobs(), run)
    said = nothing_changed(run)
    assert said is not None and said.startswith(f"version 1 of {model_name(knobs())}, the champion")
    opened = tracker.client.get_run(read_manifest(run, "run")["content"]["run"])
    assert opened.data.tags["promotion.reason"] == f"nothing changed: {said}"
    # another champion, of another lineage
    promote([make_candidate(tmp_path / "b", selection=0.9)], tmp_path / "other", knobs())
    other = read_manifest(tmp_path / "other", "promotion")["content"]
    tracker.client.set_registered_model_alias(other["model"], "champion", other["version"])
    assert other["version"] == "2" and nothing_changed(run) is None


def test_run_and_pipeline_lead_to_each_other(run: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    held = read_manifest(run, "run")["content"]["run"]
    tags = tracker.client.get_run(held).data.tags
    assert (tags[JOB_TAG], tags[URL_TAG]) == ("job-1", "http://kfp/#/runs/details/job-1")
    assert "(http://kfp/#/runs/details/job-1)" in tags["mlflow.note.content"]
    assert run_page(run) == ""  # a file has no page
    monkeypatch.setenv("MLFLOW_UI", "http://ann:s3cr@t@mlflow.example.org/")  # the link is for everybody
    assert run_page(run) == f"http://mlflow.example.org/#/experiments/{tracker.experiment}/runs/{held}"


def test_a_server_that_is_down_lets_the_stages_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert nothing_changed(run) is None
    assert run_page(run) == ""


def test_what_a_task_used_is_its_stages_system_metrics(tmp_path: Path) -> None:
    folder = make_candidate(tmp_path)["tokens"]
    write_text(folder / "usage.jsonl", '{"step": 3, "system/memory_usage_megabytes": 512.5}\n')
    assert ("system/memory_usage_megabytes", 512.5, 3) in read_stage("tokens", folder, "0").metrics
