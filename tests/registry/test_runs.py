"""Both ends of a pipeline run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from magicapture.artifacts import read_manifest
from magicapture.config import ConfigError, load_config
from magicapture.packs.pack import Pack
from magicapture.registry import close, lineage, resolve
from magicapture.registry.runs import JOB_TAG, Plan, read_config, read_seeds
from magicapture.registry.tracking import Tracker
from tests.faces import tinypack


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path, str]:
    """Photos, looks, and knobs as YAML."""
    for name in ("person", "look"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_text(name)
    pack = tinypack.build(tmp_path / "pack")
    return tmp_path / "person", tmp_path / "look", load_config({"preset": "mini", "pack": str(pack)}).to_yaml()


@pytest.mark.parametrize(("state", "status"), [("SUCCEEDED", "FINISHED"), ("FAILED", "FAILED"), ("CANCELLED", "KILLED")])
def test_resolve_opens_a_run_and_close_ends_it(
    state: str, status: str, data: tuple[Path, Path, str], tmp_path: Path, tracker: Tracker
) -> None:
    photos, looks, config = data
    plan = resolve(photos, looks, config, ["tuning.steps=7"], ["0", "1"], "job-1", tmp_path / "run")
    assert json.loads(plan.tuning)["tuning"]["steps"] == 7
    manifest = read_manifest(tmp_path / "run", "run")
    content = manifest["content"]
    run = tracker.client.get_run(content["run"])
    assert run.info.status == "RUNNING"
    assert run.data.params["tuning.steps"] == manifest["config"]["tuning"]["steps"].__str__() == "7"
    for tag in ("data.hash", "code.hash", "git.commit", "git.dirty", "config.digest", "pack.digest", "lineage"):
        assert run.data.tags[tag] == content["tags"][tag] != ""
    close("job-2", "SUCCEEDED")
    assert tracker.client.get_run(content["run"]).info.status == "RUNNING"
    close("job-1", state)
    assert tracker.client.get_run(content["run"]).info.status == status


def test_stages_that_ended_keep_their_own_end(data: tuple[Path, Path, str], tmp_path: Path, tracker: Tracker) -> None:
    photos, looks, config = data
    resolve(photos, looks, config, [], ["0"], "job-1", tmp_path / "run")
    parent = read_manifest(tmp_path / "run", "run")["content"]["run"]
    tags = {JOB_TAG: "job-1", "mlflow.parentRunId": parent}
    done, cut_short = (tracker.client.create_run(tracker.experiment, tags=tags).info.run_id for _ in range(2))
    tracker.client.set_terminated(done, "FINISHED", end_time=1000)
    close("job-1", "FAILED")
    ends = {run: tracker.client.get_run(run).info for run in (parent, done, cut_short)}
    assert [info.status for info in ends.values()] == ["FAILED", "FINISHED", "FAILED"] and ends[done].end_time == 1000


def test_the_plan_changes_with_data_code_and_knobs_alone(
    data: tuple[Path, Path, str], tmp_path: Path, sqlite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, looks, config = data

    def plan(job: str, *overrides: str) -> Plan:
        return resolve(photos, looks, config, overrides, ["0"], job, tmp_path / job)

    first = plan("a")
    assert plan("b") == first
    assert plan("c", "generation.steps=3").inversion == first.inversion
    (photos / "a.jpg").write_text("another")
    changed = plan("d")
    assert changed.data != first.data
    assert changed._replace(data=first.data) == first
    others = []
    for owner, name in ((lineage, "code_hash"), (Pack, "digest")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, lambda _: "another")
            others.append(plan(name))
    assert len({first.code, *(other.code for other in others)}) == 3
    assert all(other._replace(code=first.code) == changed for other in others)


def test_the_lineage_of_a_run_names_data_knobs_pack_code_and_seeds(data: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    photos, looks, config = data

    def named(*overrides: str, seeds: Sequence[int] = (0,)) -> str:
        return lineage.run_lineage(photos, looks, read_config(config, overrides), seeds)["lineage"]

    first = named()
    assert named() == first
    others = [named("promotion.policy.margin=0.5"), named(seeds=[1]), named(seeds=[0, 1])]
    for owner, name in ((lineage, "code_hash"), (Pack, "digest")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, lambda _: "another")
            others.append(named())
    for folder in (photos, looks):
        (folder / "b.jpg").write_text("one more")
        others.append(named())
    assert len({first, *others}) == 8


def test_resolve_goes_on_without_a_server(data: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    photos, looks, config = data
    resolve(photos, looks, config, [], ["0"], "job", tmp_path / "run")
    content = read_manifest(tmp_path / "run", "run")["content"]
    assert content["run"] is None
    assert "does not answer" in content["reason"]
    close("job", "SUCCEEDED")


def test_config_comes_as_name_path_or_text(tmp_path: Path) -> None:
    file = tmp_path / "knobs.yaml"
    file.write_text("preset: mini\ntuning: {steps: 5}\n")
    assert read_config("mini", []) == load_config("mini")
    assert read_config(str(file), []) == read_config(file.read_text(), []) == load_config("mini", ["tuning.steps=5"])
    with pytest.raises(ConfigError, match="not valid YAML: while parsing .*expected the name of a preset, a file, or YAML"):
        read_config("tuning: {steps: [", [])
    with pytest.raises(ConfigError, match=r"tuning\.steps"):
        read_config("mini", ["tuning.stepz=5"])
    with pytest.raises(ConfigError, match="the pipeline makes no search"):
        read_config("mini", ["search.seeds=4"])
    assert read_config("mini", ["search.seeds=1"]) == load_config("mini")


@pytest.mark.parametrize("seeds", [[], ["a"], ["1", "1"], ["-1"], [""]])
def test_impossible_seeds(seeds: list[str]) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        read_seeds(seeds)
