"""How a run ended, asked of a real HTTP server; and a webhook that is told, refuses, or is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from components import ending
from components.ending import CANCELLED, FAILED, SUCCEEDED, find_out, notify
from tests.components.webhook import listening
from tests.kfp_server import KfpServer


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "PAUSES", (0.001, 0.001, None))
    for name in ("KFP_UI", "KFP_ENDPOINT", "MAGICAPTURE_WEBHOOK", "MAGICAPTURE_TERMINATION_LOG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(kfp: KfpServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run whose tuning failed, on a server that tells of it."""
    kfp.runs["r1"] = {"run_id": "r1"}
    kfp.progress = [("RUNNING", {"preprocess": "SUCCEEDED", "tuning": "FAILED"}, "out of memory")]
    monkeypatch.setenv("KFP_ENDPOINT", kfp.host)
    return "r1"


@pytest.mark.parametrize(
    ("state", "ended"), [("SUCCEEDED", SUCCEEDED), ("COMPLETE", SUCCEEDED), ("FAILED", FAILED), ("CANCELED", CANCELLED)]
)
def test_the_servers_words_for_the_end(state: str, ended: str) -> None:
    assert find_out("r1", state, None)[0] == ended


def test_the_reason_is_the_failed_tasks_own(run: str) -> None:
    assert find_out(run, "FAILED", "Task exit-handler-1 failed.") == (FAILED, "tuning: out of memory")


def test_a_server_that_calls_an_ended_run_running_is_asked_for_its_tasks(run: str, kfp: KfpServer) -> None:
    assert find_out(run, "RUNNING", None) == (FAILED, "tuning: out of memory")
    kfp.progress = [("RUNNING", {"tuning": "SUCCEEDED", "close": "RUNNING"}, "")]
    assert find_out(run, "RUNNING", None) == (SUCCEEDED, "")


def test_what_cannot_be_found_out_is_no_success(kfp: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_out("r1", "RUNNING", None)[0] == FAILED
    monkeypatch.setenv("KFP_ENDPOINT", kfp.host)  # it knows no such run
    ended, reason = find_out("r1", "RUNNING", None)
    assert ended == FAILED and "not known" in reason
    assert find_out("r1", "FAILED", "Task tuning failed.") == (FAILED, "Task tuning failed.")


def test_a_local_runs_reason_lies_in_its_termination_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log").write_text("tuning: ValueError: x\n")
    monkeypatch.setenv("MAGICAPTURE_TERMINATION_LOG", str(tmp_path / "log"))
    assert find_out("r1", "FAILED", "Task exit-handler-1 failed.") == (FAILED, "tuning: ValueError: x")


def test_the_webhook_is_told_of_failures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as (address, told):
        monkeypatch.setenv("MAGICAPTURE_WEBHOOK", address)
        assert not notify(SUCCEEDED, "", "r1", {})
        assert notify(FAILED, "tuning: x", "r1", {"run": "http://kfp/#/runs/details/r1", "MLflow": ""})
    (message,) = told
    assert message["text"] == "MagiCapture run r1 failed: tuning: x\nrun: http://kfp/#/runs/details/r1"
    assert (message["state"], message["reason"], message["links"]) == (FAILED, "tuning: x", {"run": "http://kfp/#/runs/details/r1"})


@pytest.mark.parametrize(("answers", "times", "taken"), [([500, 503], 3, True), ([500] * 3, 3, False), ([404], 1, False)])
def test_a_webhook_that_fails_is_asked_again_where_that_may_help(
    answers: list[int], times: int, taken: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(answers) as (address, told):
        monkeypatch.setenv("MAGICAPTURE_WEBHOOK", address)
        assert notify(FAILED, "x", "r1", {}) is taken
    assert len(told) == times
    said = capsys.readouterr()
    assert "secret-token" not in said.out + said.err
    assert taken or f"does not take the message ({answers[0]}" in said.err


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/secret-token", "ftp://h/secret-token", "http://h:port/secret-token", "http://"])
def test_a_webhook_that_is_gone_or_none_raises_nothing(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAGICAPTURE_WEBHOOK", address)
    assert not notify(FAILED, "x", "r1", {})
    said = capsys.readouterr().err
    assert said and "secret-token" not in said
