"""On a tiny pack: who goes on, at what cost, and what a restart repeats."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from magicapture import search, stages
from magicapture.artifacts import MANIFEST, read_manifest, write_json
from magicapture.config import Config, ConfigError
from magicapture.packs import Pack
from magicapture.training.trainer import TrainingError
from tests.search.conftest import few_steps

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(pack: Pack) -> Config:
    return few_steps(pack, "search.seeds=4")


@pytest.fixture(scope="module")
def whole(prepared: Path, pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> search.Found:
    """An uninterrupted search over four seeds."""
    return search.run(prepared, tmp_path_factory.mktemp("whole"), few_steps(pack, "search.seeds=4"))


def _outcome(record: dict[str, Any]) -> dict[str, Any]:
    """All but the times."""
    entries = {
        name: {**entry, "checks": [{"step": check["step"], "judge": check["judge"]} for check in entry["checks"]]}
        for name, entry in record["candidates"].items()
    }
    return {"candidates": entries, "winner": record["winner"], "steps": record["cost"]["steps"]}


def test_the_better_half_goes_on_at_each_check(whole: search.Found) -> None:
    entries = whole.record["candidates"]
    checks = {name: {check["step"]: check["judge"] for check in entry["checks"]} for name, entry in entries.items()}
    assert sorted(map(len, checks.values())) == [1, 1, 2, 3]
    for step, going in ((2, 2), (4, 1)):
        at = {name: own[step] for name, own in checks.items() if step in own}
        left = {name for name, own in checks.items() if len(own) > 1 and max(own) > step}
        assert len(left) == going
        assert min(at[name] for name in left) >= max(at[name] for name in at.keys() - left)
    assert [entry["state"] for entry in entries.values()].count("stopped") == 3
    assert entries[whole.record["winner"]]["state"] == "best" and max(checks[whole.record["winner"]]) == 8
    assert "of 4 by the judge at step 2; 2 went on" in " ".join(entry["reason"] for entry in entries.values())
    assert read_manifest(whole.adapter, "adapter", verify=True)["content"]["last_step"] == 8


def test_the_scores_are_the_adapters_own(whole: search.Found) -> None:
    """What is compared is what tuning measured: on validation pictures, by the judge."""
    for name, entry in whole.record["candidates"].items():
        content = read_manifest(whole.folder.parent / name / "adapter", "adapter")["content"]
        assert content["seed"] == entry["seed"] and content["last_step"] == entry["checks"][-1]["step"]
        assert entry["checks"][-1]["judge"] == pytest.approx(max(score["judge"] for score in content["scores"]), abs=1e-5)
    assert len({entry["checks"][0]["judge"] for entry in whole.record["candidates"].values()}) == 4  # the seeds do differ


def test_cost_is_counted_and_bounded(whole: search.Found) -> None:
    last = {name: read_manifest(whole.folder.parent / name / "adapter", "adapter")["content"]["last_step"] for name in
            whole.record["candidates"]}  # fmt: skip
    inverted = read_manifest(whole.tokens, "tokens")["content"]["steps"]
    cost = whole.record["cost"]
    assert cost["steps"] == inverted + sum(last.values()) == 4 + 2 + 2 + 4 + 8
    assert cost["full_steps"] == 4 + 8 and cost["ratio"] == pytest.approx(20 / 12, abs=1e-3) and cost["ratio"] <= 2
    assert cost["cpu_seconds"] > 0 and len(whole.record["inversions"]) == 1


def test_the_sheet_shows_all_candidates_on_the_same_axes(whole: search.Found) -> None:
    assert whole.sheet is not None
    page = whole.sheet.read_text()
    assert "://" not in page and "1.67 times" in page
    shown = re.findall(r'<section class="(\w+)">\s*<h2>([^<]+)</h2>(.*?)</section>', page, re.DOTALL)
    assert [state for state, _, _ in shown] == ["best", "stopped", "stopped", "stopped"]
    assert {name for _, name, _ in shown} == set(whole.record["candidates"]) and shown[0][1] == whole.record["winner"]
    axes = set()
    for _, name, body in shown:
        pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', body)
        assert len({data for data, _ in pictures}) == 2 and all(alt.startswith(f"{name}, validation picture") for _, alt in pictures)
        assert whole.record["candidates"][name]["reason"] in body
        axes.add(tuple(re.findall(r"<text[^>]*>([^<]+)</text>", body)))
    assert len(axes) == 1


def test_the_winner_is_what_its_seed_alone_would_have_been(whole: search.Found, prepared: Path, config: Config, tmp_path: Path) -> None:
    """Stops and neighbours change nothing: bit for bit the adapter of one uninterrupted training from the same tokens."""
    alone = stages.tune(prepared, whole.tokens, tmp_path / "adapter", config, whole.seed, tmp_path / "checkpoints")
    found, wanted = (read_manifest(folder, "adapter")["content"] for folder in (whole.adapter, alone))
    assert (found["best_hash"], found["last_hash"], found["scores"]) == (wanted["best_hash"], wanted["last_hash"], wanted["scores"])


def test_one_candidate_is_one_training_and_no_sheet(prepared: Path, pack: Pack, tmp_path: Path) -> None:
    found = search.run(prepared, tmp_path, few_steps(pack, "tuning.steps=2", "search.seeds=[3]"))
    assert (found.seed, found.adapter, found.sheet, found.lines()) == (3, tmp_path / "seed-3" / "adapter", None, [])
    assert found.record["cost"]["ratio"] == 1
    assert not (tmp_path / "search.html").exists()


def test_prompts_of_somebody_who_is_not_shown_are_refused_before_anything_runs(prepared: Path, pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[V1:eve\] is not a token of these pictures; they have \[V1\], \[V2\]"):
        search.run(prepared, tmp_path / "out", few_steps(pack, 'generation.prompts=["a [V1:eve] vase"]'))
    assert not (tmp_path / "out").exists()


SCRIPT = """
import json, sys, time
from magicapture import search
from magicapture.config import load_config
from magicapture.training.checkpoints import CheckpointFolder

prepared, out, config, moment = sys.argv[1:]
write = CheckpointFolder.write

def wait_at_the_moment(folder, checkpoint):
    if write(folder, checkpoint).match(moment):
        print("the moment", flush=True)
        time.sleep(600)

CheckpointFolder.write = wait_at_the_moment
search.run(prepared, out, load_config(json.load(open(config))))
"""


@pytest.mark.parametrize("moment", ["inversion-*/checkpoints/step-000002", "tuning-*/checkpoints/step-000003"])
def test_killed_and_started_again_it_ends_with_the_same_winner(
    moment: str, whole: search.Found, prepared: Path, config: Config, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_json(tmp_path / "config.json", config.model_dump(mode="json"))
    command = [sys.executable, "-c", SCRIPT, *map(str, (prepared, out, tmp_path / "config.json", moment))]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, cwd=tmp_path,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    assert process.stdout is not None
    assert "the moment\n" in process.stdout, "the moment to kill it did not come"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    if moment.startswith("tuning"):  # in the second round: the first is written down
        done = json.loads((out / "search.json").read_text())
        assert done["winner"] is None and all(entry["checks"] for entry in done["candidates"].values())
    found = search.run(prepared, out, config)
    assert _outcome(found.record) == _outcome(whole.record)
    ours, theirs = (read_manifest(run.adapter, "adapter")["content"] for run in (found, whole))
    assert (ours["best_hash"], ours["last_hash"]) == (theirs["best_hash"], theirs["last_hash"])


def test_what_is_finished_is_not_repeated(prepared: Path, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = few_steps(pack, "tuning.steps=4", "search.seeds=2")
    first = search.run(prepared, tmp_path, config)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")}
    again = search.run(prepared, tmp_path, config)
    assert again.record == first.record and made == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")}
    # Other knobs are another search, in the same folder.
    other = search.run(prepared, tmp_path, few_steps(pack, "tuning.steps=2", "search.seeds=2"))
    assert other.record["key"] != first.record["key"] and other.record["cost"]["full_steps"] == 6


def test_other_pictures_or_other_code_are_another_search(
    prepared: Path, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = few_steps(pack, "tuning.steps=2", "search.seeds=[1]")
    other = shutil.copytree(prepared, tmp_path / "other")
    write_json(other / MANIFEST, read_manifest(other, "prepared") | {"lineage": "other pictures"})
    keys = [search.run(folder, tmp_path / "out", config).record["key"] for folder in (prepared, other)]
    monkeypatch.setattr("magicapture.training.checkpoints.code_hash", lambda: "other code")
    keys.append(search.run(prepared, tmp_path / "out", config).record["key"])
    assert len(set(keys)) == 3


def test_a_candidate_that_diverges_is_set_aside_and_the_rest_go_on(prepared: Path, pack: Pack, tmp_path: Path) -> None:
    config = few_steps(pack, "tuning.steps=4", "search.grid={tuning.lambda_attention: [1.0e+300, 2.5, 1.0]}")
    found = search.run(prepared, tmp_path, config)
    entries = found.record["candidates"]
    broken = entries["seed-0-lambda_attention-1e_300"]
    assert broken["state"] == "failed" and broken["checks"] == [] and "loss or gradient is not finite" in broken["reason"]
    others = [entry for entry in entries.values() if entry is not broken]
    assert sorted(entry["state"] for entry in others) == ["best", "stopped"]
    assert found.record["cost"]["steps"] == 4 + 2 + 4  # with one of three gone, nobody has to stop at the first of the two checks
    page = (tmp_path / "search.html").read_text()
    assert "loss or gradient is not finite" in page and "failed" in "".join(found.lines())
    assert _outcome(search.run(prepared, tmp_path, config).record) == _outcome(found.record)  # nor is it tried again


def test_the_best_that_stopped_takes_the_place_of_one_that_fails_later(
    whole: search.Found, prepared: Path, config: Config, tmp_path: Path
) -> None:
    """Where the record says that both of the second round diverged in it, the two that had stopped are trained instead."""
    shutil.copytree(whole.folder.parent, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "search.json").read_text())
    entries = record["candidates"]
    leaders = [name for name, entry in entries.items() if len(entry["checks"]) > 1]
    others = sorted(entries.keys() - set(leaders), key=lambda name: -entries[name]["checks"][0]["judge"])
    for name in leaders:
        entries[name] |= {"state": "failed", "reason": "diverged", "checks": entries[name]["checks"][:1]}
    write_json(tmp_path / "out" / "search.json", record | {"winner": None, "cost": None})
    found = search.run(prepared, tmp_path / "out", config)
    after = found.record["candidates"]
    assert found.record["winner"] in others and after[found.record["winner"]]["checks"][-1]["step"] == 8
    assert [after[name]["state"] for name in leaders] == ["failed", "failed"]
    assert [check["step"] for check in after[others[0]]["checks"]][:2] == [2, 4]
    assert _outcome(search.run(prepared, tmp_path / "out", config).record) == _outcome(found.record)


def test_when_all_fail_each_reason_is_told_and_a_second_call_tries_again(prepared: Path, pack: Pack, tmp_path: Path) -> None:
    config = few_steps(pack, "tuning.lambda_attention=1.0e+300", "search.seeds=2")
    for _ in range(2):
        with pytest.raises(search.SearchError, match=r"all 2 candidates .*seed-0: tuning step 1.*seed-1: tuning step 1"):
            search.run(prepared, tmp_path, config)
    with pytest.raises(TrainingError, match="tuning step 1"):  # a single one: as without a search
        search.run(prepared, tmp_path, few_steps(pack, "tuning.lambda_attention=1.0e+300"))


def test_other_knobs_of_inversion_have_their_own_tokens(prepared: Path, pack: Pack, tmp_path: Path) -> None:
    config = few_steps(pack, "tuning.steps=2", "search.grid={inversion.steps: [1, 3]}", "search.reduction=1")
    found = search.run(prepared, tmp_path, config)
    assert {name: part["steps"] for name, part in found.record["inversions"].items()} == {"seed-0-steps-1": 1, "seed-0-steps-3": 3}
    states = {entry["state"] for entry in found.record["candidates"].values()}
    assert states == {"best", "finished"}  # without reduction none is stopped
    assert found.record["cost"]["steps"] == 1 + 3 + 2 + 2


def test_what_is_told_of_the_winner_is_what_it_was_made_with(prepared: Path, pack: Pack, tmp_path: Path) -> None:
    config = few_steps(pack, "tuning.steps=2", "search.grid={tuning.lambda_attention: [0.5, 1.5]}", "search.reduction=1")
    found = search.run(prepared, tmp_path, config)
    won = found.record["candidates"][found.record["winner"]]["knobs"]["tuning.lambda_attention"]
    assert found.config.tuning.lambda_attention == won != config.tuning.lambda_attention
    assert found.config.search == config.search
    assert found.config.model_dump(mode="json")["tuning"] == read_manifest(found.adapter, "adapter")["config"]["tuning"]


@pytest.mark.parametrize("gone", ["seed-1", "seed-1/tokens", "seed-1/adapter"])
def test_what_was_taken_away_of_a_finished_run_is_made_again(gone: str, prepared: Path, pack: Pack, tmp_path: Path) -> None:
    config = few_steps(pack, "tuning.steps=2", "search.seeds=[1]")
    first = search.run(prepared, tmp_path, config)
    digest = read_manifest(first.adapter, "adapter")["content"]["best_hash"]
    shutil.rmtree(tmp_path / gone)
    again = search.run(prepared, tmp_path, config)
    assert read_manifest(again.adapter, "adapter", verify=True)["content"]["best_hash"] == digest
    assert read_manifest(again.tokens, "tokens", verify=True)["content"]["steps"] == 4


def test_tokens_taken_away_before_tuning_was_done_are_learnt_again(prepared: Path, pack: Pack, tmp_path: Path) -> None:
    config = few_steps(pack, "tuning.steps=2", "search.seeds=[1]")
    record = search.run(prepared, tmp_path, config).record
    entry = record["candidates"]["seed-1"] | {"state": "training", "checks": []}
    write_json(tmp_path / "search.json", record | {"winner": None, "cost": None, "candidates": {"seed-1": entry}})
    shutil.rmtree(tmp_path / "seed-1")
    assert search.run(prepared, tmp_path, config).record["winner"] == "seed-1"
