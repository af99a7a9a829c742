"""Promotion on a real store: versions, alias, idempotence, and what happens when the server is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicapture.artifacts import ArtifactError, read_manifest, writing
from magicapture.registry import TrackingDown, promote, track
from magicapture.registry.tracking import Tracker
from tests.registry.artifacts import knobs, make_candidate

NAME = "magicapture-anna"


def run_of(folder: Path, lineage: str, tracker: Tracker | None = None) -> Path:
    """A run/1 artifact as resolve writes it."""
    run = tracker.open_run("pipeline", {"lineage": lineage}) if tracker else None
    with writing(folder, "run/1", lineage=lineage) as draft:
        draft.content = {
            "job": f"job-{lineage}",
            "run": run,
            "reason": None,
            "tags": {"lineage": lineage, "data.dvc": "md5.dir", "git.commit": "c0"},
        }
    return folder


def content(folder: Path) -> dict:
    return read_manifest(folder, "promotion")["content"]


def test_the_best_seed_becomes_champion_and_the_same_lineage_one_version(tracker: Tracker, tmp_path: Path) -> None:
    candidates = [make_candidate(tmp_path, seed, selection=value) for seed, value in enumerate((0.6, 0.8))]
    run = run_of(tmp_path / "run", "L1", tracker)
    promote(candidates, tmp_path / "out", knobs(), run)
    first = content(tmp_path / "out")
    assert (first["model"], first["version"], first["champion"], first["previous"], first["best"]) == (NAME, "1", True, None, 1)
    version = tracker.client.get_model_version_by_alias(NAME, "champion")
    assert (str(version.version), version.tags["seed"], version.tags["data.dvc"], version.tags["git.commit"]) == ("1", "1", "md5.dir", "c0")
    parent = tracker.client.get_run(first["run"])
    assert parent.info.run_id == read_manifest(run, "run")["content"]["run"]
    assert parent.info.status == "RUNNING"  # the pipeline's exit handler ends it
    stages = sorted(name for name in parent.data.tags if name.startswith("made."))
    assert len(stages) == 11  # one prepared set, five artifacts of each of two seeds
    promote(candidates, tmp_path / "again", knobs(), run_of(tmp_path / "run2", "L1", tracker))
    again = content(tmp_path / "again")
    assert (again["version"], again["champion"]) == ("1", True)
    assert "champion already" in again["reason"]
    assert len(tracker.client.search_model_versions(f"name = '{NAME}'")) == 1
    links = tracker.client.get_run(again["run"]).data.tags
    assert sorted(name for name in links if name.startswith("from.")) == [name.replace("made.", "from.") for name in stages]


def test_a_better_one_replaces_the_champion_a_worse_one_does_not(tracker: Tracker, tmp_path: Path) -> None:
    said = []
    for lineage, selection in (("L1", 0.6), ("L2", 0.5), ("L3", 0.7)):
        candidate = make_candidate(tmp_path / lineage, selection=selection)
        promote([candidate], tmp_path / lineage / "out", knobs(), run_of(tmp_path / lineage / "run", lineage, tracker))
        said.append(content(tmp_path / lineage / "out"))
    assert [entry["champion"] for entry in said] == [True, False, True]
    assert [entry["previous"] for entry in said] == [None, "1", "1"]
    assert "0.5000 against the champion's 0.6000" in said[1]["reason"]
    assert str(tracker.client.get_model_version_by_alias(NAME, "champion").version) == "3"
    assert str(tracker.client.get_model_version_by_alias(NAME, "previous").version) == "1"


def test_the_model_is_logged_as_code_with_its_requirements(tracker: Tracker, tmp_path: Path) -> None:
    import mlflow

    promote([make_candidate(tmp_path)], tmp_path / "out", knobs(), run_of(tmp_path / "run", "L1", tracker))
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@champion", dst_path=str(tmp_path / "model")))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".bin"))]
    assert {"pyfunc_model.py", "artifacts/adapter/pytorch_lora_weights.safetensors", "artifacts/config.yaml"} <= files
    requirements = (folder / "requirements.txt").read_text()
    assert "torch==" in requirements and "magicapture" in requirements
    assert "subject: anna" in (folder / "artifacts" / "config.yaml").read_text()


def test_evaluation_folders_alone_stand_for_what_lies_beside_them(tracker: Tracker, tmp_path: Path) -> None:
    candidates = [make_candidate(tmp_path, seed)["evaluation"] for seed in (0, 1)]
    promote(candidates, tmp_path / "out", knobs())
    said = content(tmp_path / "out")
    assert said["version"] == "1"
    assert set(said["candidates"][1]["folders"]) == {"prepared", "tokens", "adapter", "images", "portraits", "evaluation"}
    assert tracker.client.get_run(said["run"]).info.status == "FINISHED"  # opened by promotion, so ended by it
    promote(candidates, tmp_path / "again", knobs())
    assert content(tmp_path / "again")["version"] == "1"


def test_a_server_that_is_down_loses_nothing_and_track_sends_it_later(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = [make_candidate(tmp_path / "stages", seed, selection=value) for seed, value in enumerate((0.9, 0.8))]
    out = tmp_path / "out"
    with monkeypatch.context() as down:
        down.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        promote(candidates, out, knobs(), run_of(tmp_path / "run", "L1"))
        kept = content(out)
        assert (kept["version"], kept["champion"]) == (None, False)
        assert "does not answer" in kept["reason"]
        with pytest.raises(TrackingDown):
            track(out)
        assert content(out) == kept
    (tmp_path / "stages").rename(tmp_path / "gone")  # on a cluster the originals are gone with the pod
    said = track(out)
    assert "sent 11 stages" in said and f"{NAME} version 1" in said
    sent = content(out)
    assert (sent["version"], sent["champion"], sent["best"]) == ("1", True, 0)
    assert "outbox" not in sent and not (out / "outbox").exists()
    assert tracker.client.get_model_version(NAME, "1").tags["data.dvc"] == "md5.dir"
    runs = tracker.client.search_runs([tracker.experiment], "tags.stage = 'tuning'")
    assert sorted(run.data.tags["best_hash"] for run in runs) == ["best0", "best1"]
    assert len(tracker.client.get_metric_history(runs[0].info.run_id, "total")) == 20
    assert "nothing to send" in track(out)


def test_candidates_that_cannot_be_promoted(tmp_path: Path) -> None:
    good = make_candidate(tmp_path)
    for candidates, said in (
        ([], "no candidates"),
        ([{"adapter": good["adapter"]}], "needs adapter and evaluation"),
        ([good | {"weights": good["adapter"]}], "may have prepared"),
        ([good | {"adapter": good["tokens"]}], "holds 'tokens/1'"),
    ):
        with pytest.raises(ArtifactError, match=said):
            promote(candidates, tmp_path / "out", knobs())
    assert not (tmp_path / "out").exists()
