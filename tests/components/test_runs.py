"""Runs on a Kubeflow Pipelines server: orders from a file, started once, waited for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler
from kfp.dsl.base_component import BaseComponent
from typer.testing import CliRunner

import pipeline
from components import runs
from components.remote import Server, ServerError
from components.runs import Order, read_orders, submit, wait
from magicapture.config import ConfigError, load_config
from tests.kfp_server import KfpServer

GIVEN: dict[str, Any] = {
    "name": "", "photos": "/p", "looks": "/l", "preset": "mini", "seeds": "0,1", "set": ["tuning.steps=9"], "always": False,
}  # fmt: skip
RUNNING = ("RUNNING", {"preprocess": "SUCCEEDED", "tuning": "RUNNING", "tuning-driver": "RUNNING"}, "")
FAILED = ("FAILED", {"tuning": "FAILED"}, "out of memory")


def orders(*names: str) -> list[Order]:
    return [Order(name, {"photos": f"/data/{name}", "looks": "/l", "config": "mini", "seeds": ["0"]}) for name in names]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_without_a_file_the_options_are_the_order() -> None:
    (order,) = read_orders(None, **GIVEN)
    assert order.name == "" and {key: order.parameters[key] for key in ("photos", "looks", "seeds")} == {
        "photos": "/p", "looks": "/l", "seeds": ["0", "1"],
    }  # fmt: skip
    assert load_config(yaml.safe_load(order.parameters["config"])) == load_config("mini", ["tuning.steps=9"])


def test_a_file_says_more_than_the_options(tmp_path: Path) -> None:
    text = "- {name: anna, photos: /data/anna}\n- {name: ben, seeds: [3], set: [tuning.steps=7]}\n- {name: eve, seeds: 4}\n"
    anna, ben, eve = read_orders(write(tmp_path / "r.yaml", text), **GIVEN)
    assert (anna.name, anna.parameters["photos"], anna.parameters["seeds"]) == ("anna", "/data/anna", ["0", "1"])
    assert (ben.parameters["photos"], ben.parameters["seeds"], eve.parameters["seeds"]) == ("/p", ["3"], ["4"])
    assert [yaml.safe_load(order.parameters["config"])["tuning"]["steps"] for order in (anna, ben, eve)] == [9, 7, 9]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "at least one set"),
        ("", "expected a mapping of name, photos"),
        ("- 5", "set 1: 5: expected a mapping"),
        ("{phottos: /x}", "unknown 'phottos': did you mean 'photos'?"),
        ("{zzzz: /x}", "unknown 'zzzz': expected one of name, photos, looks, preset, seeds, set, always"),
        ("- {name: a}\n- {name: a}", "set 2: name 'a': expected a name of its own"),
        ("- {photos: /x}", "set 1: name '': expected a name"),
        ("- {name: a}\n- {name: b, seeds: [x]}", "set 2: seeds ['x']: expected whole numbers"),
        ("{photos: }", "photos = None: expected a folder that the pods see, or git+URL"),
        ("{set: tuning.steps=5}", "set = 'tuning.steps=5': expected a list"),
        ("{set: [tuning.stepz=5]}", "did you mean 'tuning.steps'?"),
        ("{preset: min}", "min"),
        ("{always: maybe}", "always = 'maybe': expected true or false"),
        ("{set: [a}", "expected ',' or ']'"),
    ],
)
def test_bad_files_are_refused_by_name_and_place(text: str, said: str, tmp_path: Path) -> None:
    file = write(tmp_path / "r.yaml", text)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        read_orders(file, **GIVEN)
    assert str(file) in str(caught.value)


def test_a_run_is_what_kfps_own_client_would_start(kfp: KfpServer, client: Server, portraits: BaseComponent, tmp_path: Path) -> None:
    ((_, run, new),) = submit(client, portraits, orders("anna"), "e")
    assert new
    compiler.Compiler().compile(portraits, str(tmp_path / "p.yaml"))
    parameters = orders("anna")[0].parameters
    other = client.run_pipeline(next(iter(kfp.experiments)), "anna", str(tmp_path / "p.yaml"), parameters).run_id
    ours, theirs = ({k: v for k, v in kfp.runs[key].items() if k not in ("run_id", "created_at")} for key in (run, other))
    assert ours == theirs


def test_the_same_names_start_nothing_twice_and_failed_ones_again(kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
    first = {name: run for name, run, _ in submit(client, portraits, orders("anna", "ben", "eve"), "e")}
    kfp.runs[first["ben"]]["state"] = "FAILED"
    kfp.runs[first["eve"]]["state"] = "SUCCEEDED"
    again = {name: (run, new) for name, run, new in submit(client, portraits, orders("anna", "ben", "eve"), "e")}
    assert (again["anna"], again["eve"]) == ((first["anna"], False), (first["eve"], False))
    assert again["ben"][1] and len(kfp.runs) == 4
    assert [new for _, _, new in submit(client, portraits, orders("ben"), "e")] == [False]
    assert [new for _, _, new in submit(client, portraits, orders("ben"), "another experiment")] == [True]
    assert [new for _, _, new in submit(client, portraits, orders("Ben"), "e")] == [True]


def test_runs_without_a_name_are_always_new(kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
    names = {name for _ in range(2) for name, _, new in submit(client, portraits, orders(""), "e") if new}
    assert len(names) == len(kfp.runs) == 2


@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
@pytest.mark.parametrize("name", ["anna", ""])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 0}, {"status": 200, "delay": 1.3}], ids=["500", "cut", "slow"])
def test_a_lost_answer_starts_no_second_run(
    fault: dict, name: str, done: bool, kfp: KfpServer, client: Server, portraits: BaseComponent
) -> None:
    kfp.fail("POST", "/runs", done=done, **fault)
    if fault["status"] == 200 and not done:
        with pytest.raises(ServerError, match=r"start the run .*look before you ask again"):
            list(submit(client, portraits, orders(name), "e"))
    ((_, run, _),) = submit(client, portraits, orders(name), "e")
    assert list(kfp.runs) == [run]


def test_an_error_among_many_says_how_far_it_came_and_the_rest_follows(kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
    kfp.fail("POST", "/runs", 500, times=3, after=2)
    with pytest.raises(ServerError, match="2 of 4 runs are started, the same command starts the rest"):
        list(submit(client, portraits, orders(*"abcd"), "e"))
    assert [new for _, _, new in submit(client, portraits, orders(*"abcd"), "e")] == [False, False, True, True]


def test_a_run_that_the_server_refuses(kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
    with pytest.raises(ServerError, match=r"refused to start the run 'a': 400 unexpected parameters"):
        list(submit(client, portraits, [Order("a", {"colour": "red"})], "e"))
    assert kfp.asked.count("POST /runs") == 1


def waited(kfp: KfpServer, client: Server, portraits: BaseComponent, *names: str) -> tuple[bool, list[str]]:
    lines: list[str] = []
    started = {name: run for name, run, _ in submit(client, portraits, orders(*names), "e")}
    return wait(client, started, lines.append), [line.split("  ", 1)[1] for line in lines]


def test_waiting_says_what_changes(kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
    kfp.progress = [("PENDING", {}, ""), ("PENDING", {}, ""), RUNNING, RUNNING, ("SUCCEEDED", {}, "")]
    good, lines = waited(kfp, client, portraits, "anna")
    assert good and lines == ["anna  PENDING", "anna  RUNNING: tuning", "anna  SUCCEEDED"]


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED", "SUCCEEDED"])
def test_every_end_is_an_end(state: str, kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
    kfp.progress = [(state, {}, "")]
    assert waited(kfp, client, portraits, "a", "b") == (state in runs.GOOD, [f"a  {state}", f"b  {state}"])


def test_a_failure_is_told_with_its_reason(kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
    kfp.progress = [RUNNING, FAILED]
    assert waited(kfp, client, portraits, "a") == (False, ["a  RUNNING: tuning", "a  FAILED: tuning: out of memory"])


def test_a_server_that_restarts_is_waited_for(kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
    kfp.fail("GET", "/runs/.*", 503, times=9)
    assert waited(kfp, client, portraits, "a") == (True, ["a  no answer; still waiting", "a  SUCCEEDED"])


def test_a_server_that_stays_away_is_not(kfp: KfpServer, client: Server, portraits: BaseComponent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "OUTAGE", 0.1)
    kfp.fail("GET", "/runs/.*", 503, times=10**6)
    with pytest.raises(ServerError, match="the runs go on: http"):
        waited(kfp, client, portraits, "a")


def test_a_token_that_expires_meanwhile_is_said(kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
    kfp.fail("GET", "/runs/.*", 401, times=99)
    with pytest.raises(ServerError, match="KFP_EXISTING_TOKEN.*the runs go on"):
        waited(kfp, client, portraits, "a")


@pytest.mark.parametrize("command", ["submit", "schedule"])
def test_a_device_that_a_stage_would_not_have_is_refused_before_anything_is_sent(command: str, kfp: KfpServer) -> None:
    more = ["--name", "anna", "--every", "12h"] if command == "schedule" else []
    given = ["--photos", "/p", "--looks", "/l", "--set", "device=cuda", "--gpu-type", "nvidia.com/gpu", *more]
    result = CliRunner().invoke(pipeline.app, [command, "--host", kfp.host, *given])
    assert result.exit_code != 0 and "preprocess, postprocessing, evaluation would have no accelerator" in str(result.exception)


@pytest.mark.parametrize(("end", "code"), [(("SUCCEEDED", {}, ""), 0), (FAILED, 1)])
def test_the_commands_exit_code_is_the_runs(end: tuple, code: int, kfp: KfpServer, tmp_path: Path) -> None:
    kfp.progress = [RUNNING, end]
    file = write(tmp_path / "r.yaml", "- {name: anna}\n- {name: ben}\n")
    given = ["--photos", "/data/person", "--looks", "/data/look"]
    result = CliRunner().invoke(pipeline.app, ["submit", "--host", kfp.host, "--parameters", str(file), *given, "--wait"])
    assert result.exit_code == code, result.output
    assert re.findall(r"^(\w+)  http\S+/runs-\d+$", result.output, re.MULTILINE) == ["anna", "ben"]
    assert len(re.findall(rf"  {end[0]}", result.output)) == 2
