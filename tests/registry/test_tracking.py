"""Runs on a real store: sqlite here, http in test_http.py."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
import sys
import time
import traceback
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from magicapture.registry import tracking
from magicapture.registry.contents import read_stage
from magicapture.registry.lock import FileLock, choose
from magicapture.registry.tracking import Tracker, TrackingDown, pages, store_exists, tracking_uri
from tests.registry.artifacts import make_candidate


def test_default_store_is_absolute_and_keeps_artifacts_beside_it(tracker: Tracker, sqlite: Path) -> None:
    (sqlite.parent / "mlruns").mkdir()  # MLflow alone would fall back to this folder
    assert tracking_uri() == f"sqlite:///{sqlite}"
    experiment = tracker.client.get_experiment(tracker.experiment)
    assert experiment.artifact_location == (sqlite.parent / "mlartifacts").as_uri()


def test_a_stage_becomes_a_child_run_with_curves_pictures_and_checkpoints(tracker: Tracker, tmp_path: Path) -> None:
    folders = make_candidate(tmp_path, seed=3)
    parent = tracker.open_run("parent", {"lineage": "abc"})
    run = tracker.log_stage(parent, read_stage("adapter", folders["adapter"], "3"), {"lineage": "abc", "git.dirty": "true"})
    logged = tracker.client.get_run(run)
    tags = logged.data.tags
    assert tags["mlflow.parentRunId"] == parent
    assert {name: tags[name] for name in ("lineage", "git.dirty", "stage", "seed", "best_hash", "last_hash")} == {
        "lineage": "abc", "git.dirty": "true", "stage": "tuning", "seed": "3", "best_hash": "best3", "last_hash": "last3",
    }  # fmt: skip
    assert logged.info.status == "FINISHED"
    assert logged.data.params["tuning.lora.rank"] == "8"
    assert "promotion.subject" not in logged.data.params
    assert logged.data.metrics["best_step"] == 10
    curve = tracker.client.get_metric_history(run, "total")
    assert [(point.step, point.value) for point in curve] == [(step, 1 / (step + 1)) for step in range(20)]
    files = {entry.path for folder in (None, "last", "attention", "samples") for entry in tracker.client.list_artifacts(run, folder)}
    assert {"pytorch_lora_weights.safetensors", "last/tokens.safetensors", "attention/source-v2.png", "samples/step-00010-0.png"} <= files


def test_crops_of_a_persons_face_stay_here(tracker: Tracker, tmp_path: Path) -> None:
    parent = tracker.open_run("parent", {})
    run = tracker.log_stage(parent, read_stage("prepared", make_candidate(tmp_path)["prepared"]), {})
    assert {entry.path for entry in tracker.client.list_artifacts(run)} == {"manifest.json", "sheet.html"}


def test_a_stage_from_the_cache_is_linked_not_logged_again(tracker: Tracker, tmp_path: Path) -> None:
    record = read_stage("tokens", make_candidate(tmp_path)["tokens"], "0")
    first, second = tracker.open_run("first", {}), tracker.open_run("second", {})
    made = tracker.log_stage(first, record, {})
    assert tracker.log_stage(second, record, {}) == made
    assert tracker.client.get_run(second).data.tags["from.inversion seed 0"] == made
    assert tracker.client.get_run(first).data.tags["made.inversion seed 0"] == made


def test_a_child_cut_short_does_not_pass_for_a_whole_one(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = read_stage("tokens", make_candidate(tmp_path)["tokens"], "0")
    parent = tracker.open_run("parent", {})
    with monkeypatch.context() as patch:
        patch.setattr(tracker.client, "log_artifact", _full_disk)
        with pytest.raises(TrackingDown, match="No space left"), tracker.guarded():
            tracker.log_stage(parent, record, {})
    whole = tracker.log_stage(parent, record, {})
    assert "tokens.safetensors" in {entry.path for entry in tracker.client.list_artifacts(whole)}


def _full_disk(*_: object) -> None:
    raise OSError("No space left on device")


def test_thousands_of_points_are_logged_in_batches(tracker: Tracker, tmp_path: Path) -> None:
    record = read_stage("tokens", make_candidate(tmp_path, steps=1700)["tokens"], "0")
    assert len(record.metrics) == 3 * 1700 + 1
    run = tracker.open_run("run", {})
    calls = []
    real = tracker.client.log_batch
    tracker.client.log_batch = lambda *a, **k: (calls.append(1), real(*a, **k))  # type: ignore[method-assign]
    tracker.log_metrics(run, record.metrics, record.time_ms)
    assert len(calls) == 6
    assert len(tracker.client.get_metric_history(run, "source")) == 1700


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_a_server_that_is_down_is_noticed_within_seconds(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "silent":
            listener.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listener.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(TrackingDown, match="does not answer .*MLFLOW_TRACKING_URI"):
            Tracker.connect()
        assert time.monotonic() - began < 10


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str | None]]]:
    """A server on loopback that answers any request so: its port, and the credentials that it was given."""
    given: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, given
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "alive"), [(200, True), (401, True), (404, True), (500, False), (503, False)])
def test_a_server_that_answers_is_up_unless_it_says_otherwise(status: int, alive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it thinks of the credentials in its address, which it is given as MLflow gives them."""
    with answering(status) as (port, given):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cr%40t@127.0.0.1:{port}/")
        if alive:
            Tracker.connect(None)
        else:
            with pytest.raises(
                TrackingDown, match=rf"tracking server http://\*\*\*@127.0.0.1:{port}/ does not answer \(HTTP Error {status}"
            ):
                Tracker.connect(None)
    assert given == [f"Basic {base64.b64encode(b'ann:s3cr@t').decode()}"]


def test_whom_to_trust_is_mlflows_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads MLFLOW_TRACKING_SERVER_CERT_PATH and the like, of which the look at the server's health knows nothing."""

    def distrust(*_: object, **__: object) -> None:
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, "self-signed certificate"))

    with monkeypatch.context() as patch:
        patch.setattr("urllib.request.urlopen", distrust)
        tracking._probe("https://mlflow.example.org")
    with pytest.raises(TrackingDown, match="does not answer"):
        tracking._probe("https://127.0.0.1:9")


def test_a_server_has_longer_for_files(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers once they are in its own store; who set a time of their own keeps it."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    for before, inside in (("30", "900"), ("7", "7")):
        monkeypatch.setenv(name, before)
        with tracking.patient():
            assert os.environ[name] == inside
        assert os.environ[name] == before


@pytest.mark.parametrize("host", ["127.0.0.2", "127.0.0.2:9", "127.0.0.2:port", "[::1", "a" * 70])
def test_a_password_in_the_address_is_in_no_message(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cret@{host}")
    with pytest.raises(TrackingDown, match=r"tracking server http://\*\*\*@.* does not answer") as caught:
        Tracker.connect(None)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_searches_go_on_to_the_last_page(tracker: Tracker) -> None:
    for name in ("a", "b", "c"):
        tracker.client.create_registered_model(name)
    found = pages(partial(tracker.client.search_registered_models, max_results=2, order_by=["name"]))
    assert [model.name for model in found] == ["a", "b", "c"]


def test_mlflow_is_imported_only_when_a_server_is_talked_to() -> None:
    code = "import sys, magicapture.registry; sys.exit(any(name in sys.modules for name in ('mlflow', 'torch', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sqlite_store_is_there_whatever_options_its_address_has(tmp_path: Path) -> None:
    (tmp_path / "m.db").touch()
    for uri, there in (("m.db", True), ("m.db?timeout=30", True), ("n.db?timeout=30", False)):
        assert store_exists(f"sqlite:///{tmp_path / uri}") is there
    assert store_exists("http://127.0.0.1:9")
    locks = [choose("m", f"sqlite:///{tmp_path / uri}") for uri in ("m.db", "m.db?timeout=30")]
    assert [lock.path for lock in locks if isinstance(lock, FileLock)] == [tmp_path / "m.db.locks" / "m.lock"] * 2
