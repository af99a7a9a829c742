"""Promotion on a real store: versions, alias, idempotence, and what happens when the server is away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from safetensors.numpy import load_file

from magicapture.artifacts import ArtifactError, read_manifest, writing
from magicapture.config import Config
from magicapture.registry import TrackingDown, decision, lease, promote, promotion, track
from magicapture.registry.decision import ScoreAgain
from magicapture.registry.gate import read_scores
from magicapture.registry.tracking import Tracker
from tests.registry.artifacts import knobs, make_candidate

NAME = "magicapture.anna.noir"


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


def test_weights_trained_anew_are_a_version_of_their_own(tracker: Tracker, tmp_path: Path) -> None:
    """Another torch comes to other weights for one lineage; their scores say nothing of those that are registered."""

    def run(number: int, lineage: str, selection: float, weights: str) -> dict:
        candidate = make_candidate(tmp_path / str(number), selection=selection, weights=weights)
        return content(promote([candidate], tmp_path / f"out{number}", knobs(), run_of(tmp_path / f"run{number}", lineage, tracker)))

    assert run(1, "L1", 0.6, "w")["champion"]
    assert run(2, "L2", 0.5, "w")["outcome"] == "challenger"
    anew = run(3, "L2", 0.9, "v")
    assert (anew["version"], anew["champion"], tracker.client.get_model_version(NAME, "3").tags["best_hash"]) == ("3", True, "v0")
    again = run(4, "L2", 0.9, "v")  # made again without a cache, to the same weights
    assert (again["version"], again["champion"]) == ("3", True) and "of the same lineage is the champion already" in again["reason"]
    assert len(tracker.client.search_model_versions(f"name = '{NAME}'")) == 3


def test_a_better_one_replaces_the_champion_a_worse_one_does_not(tracker: Tracker, tmp_path: Path) -> None:
    said = []
    for lineage, selection in (("L1", 0.6), ("L2", 0.5), ("L3", 0.7)):
        candidate = make_candidate(tmp_path / lineage, selection=selection)
        promote([candidate], tmp_path / lineage / "out", knobs(), run_of(tmp_path / lineage / "run", lineage, tracker))
        said.append(content(tmp_path / lineage / "out"))
    assert [entry["champion"] for entry in said] == [True, False, True]
    assert [entry["previous"] for entry in said] == [None, "1", "1"]
    assert [entry["outcome"] for entry in said] == ["champion", "challenger", "champion"]
    assert said[1]["reason"].startswith("selection -0.10")
    assert {alias: str(held) for alias, held in tracker.client.get_registered_model(NAME).aliases.items()} == {
        "champion": "3", "challenger": "2",
    }  # fmt: skip
    tags = tracker.client.get_model_version(NAME, "2").tags
    assert (tags["promotion.decision"], tags["promotion.reason"]) == ("challenger", said[1]["reason"])
    assert json.loads(tags["promotion.policy"])["false_promotion"] == 0.05
    assert float(tags["promotion.gain.selection"]) == pytest.approx(-0.1, abs=0.01)


def test_the_best_seed_is_that_of_the_better_half(tracker: Tracker, tmp_path: Path) -> None:
    candidates = [make_candidate(tmp_path, seed, selection=mean, half=half) for seed, (mean, half) in enumerate(((0.8, 0.8), (0.7, 0.9)))]
    assert content(promote(candidates, tmp_path / "out", knobs(), run_of(tmp_path / "run", "L1", tracker)))["best"] == 1


def test_the_best_of_many_has_to_be_better_by_more(tracker: Tracker, tmp_path: Path) -> None:
    """Eight portraits that are all better are one chance in 256, of two candidates' one in 128."""
    strict = knobs(promotion={"subject": "anna", "style": "noir", "policy": {"false_promotion": 0.006}})

    def run(lineage: str, selection: float, seeds: int) -> dict:
        candidates = [make_candidate(tmp_path / lineage, seed, selection=selection - seed / 10) for seed in range(seeds)]
        return content(promote(candidates, tmp_path / lineage / "out", strict, run_of(tmp_path / lineage / "run", lineage, tracker)))

    assert run("L1", 0.5, 1)["champion"]
    said = run("L2", 0.6, 2)
    assert said["outcome"] == "challenger" and "among 2 candidates" in said["reason"]
    assert run("L3", 0.6, 1)["champion"]


def test_two_candidates_of_one_seed_are_refused(tmp_path: Path) -> None:
    """By its seed a candidate is logged and kept: one of them would be lost."""
    candidates = [make_candidate(tmp_path / name, 3) for name in ("a", "b")]
    with pytest.raises(ArtifactError, match=r"of training seed 3: .*a/seed-3/adapter, .*b/seed-3/adapter; .*give the better one alone"):
        promote(candidates, tmp_path / "out", knobs())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"schema": 3}'])
def test_another_tools_manifest_beside_an_evaluation(text: str, tmp_path: Path) -> None:
    folders = make_candidate(tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "manifest.json").write_text(text)
    assert promotion._folders(folders["evaluation"]) == folders


def test_a_version_carries_scores_card_report_and_its_best_portraits(tracker: Tracker, tmp_path: Path) -> None:
    candidates = [make_candidate(tmp_path, seed, selection=value) for seed, value in enumerate((0.8, 0.7))]
    promote(candidates, tmp_path / "out", knobs(), run_of(tmp_path / "run", "L1", tracker))
    version = tracker.client.get_model_version(NAME, "1")
    held = {entry.path for folder in (None, "portraits", "scores/p1") for entry in tracker.client.list_artifacts(version.run_id, folder)}
    assert {"card.md", "config.yaml", "report.html", "scores/p1/scores.json", *(f"portraits/000{i}.png" for i in range(4))} <= held
    assert "portraits/0004.png" not in held
    means = read_scores(candidates[0]["evaluation"]).means
    assert {name: float(version.tags[f"score.{name}"]) for name in means} == pytest.approx(means, abs=1e-5)
    assert (version.tags["protocol"], version.tags["faces"], version.tags["candidates"]) == ("p1", "8", "2")
    for text in ("**anna**", "**noir**", f"| selection | {means['selection']:.4f} |", "- lineage: `L1`", "data.dvc: `md5.dir`", "consent"):
        assert text in version.description
    evaluation = tracker.client.get_run(version.tags["evaluation.run"])
    assert evaluation.data.tags["stage"] == "evaluation" and evaluation.data.tags["seed"] == "0"


def test_a_champion_of_another_protocol_is_scored_again_or_the_reason_says_how(tracker: Tracker, tmp_path: Path) -> None:
    asked = []

    def score_again(adapter: Path, prepared: Path, out: Path, config: Config, prompts: list[str], seeds: list[int]) -> Path:
        """The champion's portraits come out at 0.5 under the candidate's protocol."""
        weights = load_file(adapter / "pytorch_lora_weights.safetensors")["weight"]
        asked.append((float(weights[0]), prepared, config.evaluation.baseline_images, prompts, seeds))
        return make_candidate(out, selection=0.5, protocol="p2")["evaluation"]

    def run(lineage: str, selection: float, again: ScoreAgain | None, protocol: str = "p2") -> dict:
        candidate = make_candidate(tmp_path / lineage, 7, selection=selection, protocol=protocol)
        run = run_of(tmp_path / lineage / "run", lineage, tracker)
        return content(promote([candidate], tmp_path / lineage / "out", knobs(), run, again))

    assert run("L1", 0.9, score_again, "p1")["champion"] and not asked
    said = run("L2", 0.6, None)
    assert said["outcome"] == "challenger" and not said["champion"]
    command = f"magicapture registry promote {NAME} --version 2 --prepared FOLDER"
    assert "version 1, was never scored under protocol p2" in said["reason"] and command in said["reason"]
    said = run("L3", 0.4, lambda *_: 1 / 0)
    assert said["outcome"] == "challenger" and "scoring it again failed: ZeroDivisionError" in said["reason"]
    said = run("L4", 0.4, score_again)
    assert said["reason"].startswith("selection -0.1") and said["previous"] == "1"
    assert asked == [(7.0, tmp_path / "L4" / "prepared", 0, ["a [V1]"], list(range(1000, 1008)))]
    said = run("L5", 0.6, score_again)
    assert said["champion"] and said["reason"].startswith("selection +0.1")
    assert len(asked) == 1  # the scores are kept with the champion
    run("L6", 0.6, lambda adapter, prepared, out, *_: make_candidate(out, protocol="p9")["evaluation"], "p3")
    assert "under another protocol" in tracker.client.get_model_version(NAME, "6").tags["promotion.reason"]


@pytest.mark.parametrize("run", ["gone", "none"])
def test_a_champion_whose_run_is_gone_stops_no_promotion(run: str, tracker: Tracker, tmp_path: Path) -> None:
    """`mlflow gc` removes runs, and a version made by hand may never have had one."""
    if run == "none":
        tracker.client.create_registered_model(NAME)
        tracker.client.create_model_version(NAME, "/nowhere")
        tracker.client.set_registered_model_alias(NAME, "champion", "1")
    else:
        promote([make_candidate(tmp_path / "a")], tmp_path / "a" / "out", knobs(), run_of(tmp_path / "a" / "run", "L1", tracker))
        held = tracker.client.get_model_version(NAME, "1").run_id
        tracker.client.delete_run(held)
        SqlAlchemyStore(tracker.uri, str(tmp_path))._hard_delete_run(held)
    better = make_candidate(tmp_path / "b", 7, selection=0.9)
    said = content(promote([better], tmp_path / "out", knobs(), run_of(tmp_path / "run", "L2", tracker), lambda *_: tmp_path))
    assert (said["version"], said["outcome"], said["previous"]) == ("2", "challenger", "1")
    assert "MLflow has its run no more" in said["reason"] and "--force" in said["reason"]
    assert decision.force(NAME, "2", "it is better").champion


def test_an_attempt_that_was_cut_short_is_taken_up_again(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One parent and one holder of the version, however often it is tried."""
    candidate = make_candidate(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr("magicapture.registry.promotion.register", lambda *_: 1 / 0)
        assert content(promote([candidate], tmp_path / "first", knobs()))["version"] is None
    said = content(promote([candidate], tmp_path / "second", knobs()))
    assert said["version"] == "1"
    runs = [run.data.tags for run in tracker.client.search_runs([tracker.experiment])]
    assert sum("mlflow.parentRunId" not in tags for tags in runs) == 1
    assert sum(tags["mlflow.runName"] == "promotion" for tags in runs) == 1


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


def test_in_a_cluster_a_server_that_is_down_fails_the_task_which_is_tried_again(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(lease, "ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingDown, match="does not answer"):
        promote([make_candidate(tmp_path / "stages")], tmp_path / "out", knobs())
    assert not (tmp_path / "out").exists()


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
    (tmp_path / "stages").rename(tmp_path / "gone")  # the originals may be gone by then
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
