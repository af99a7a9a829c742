"""The tracking server is killed while a run is under way, and again while its results are being sent; nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from magicapture.artifacts import read_manifest
from magicapture.config import load_config
from magicapture.registry import TrackingDown, promote, resolve, track
from magicapture.registry.tracking import Tracker
from tests.faces import tinypack
from tests.registry.artifacts import knobs, make_candidate
from tests.registry.servers import MlflowServer

STEPS = 400


@pytest.fixture
def server(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copyfile(empty_store, folder / "mlflow.db")
    server = MlflowServer(folder, f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.mark.timeout(420)
def test_a_server_killed_in_mid_run_gets_every_point_when_it_is_back(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("person", "look"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_text(name)
    config = load_config({"preset": "mini", "pack": str(tinypack.build(tmp_path / "pack"))}).to_yaml()
    resolve(tmp_path / "person", tmp_path / "look", config, [], ["0"], "job", tmp_path / "run")
    parent = read_manifest(tmp_path / "run", "run")["content"]["run"]
    assert parent is not None
    server.kill()
    candidate, out = make_candidate(tmp_path / "stages", steps=STEPS), tmp_path / "out"  # the stages go on without it
    promote([candidate], out, knobs(), tmp_path / "run")
    assert "does not answer" in read_manifest(out, "promotion")["content"]["reason"]
    server.start()

    sent, log_batch = [], Tracker.log_metrics

    def killed_at_the_tuning_curves(self: Tracker, run: str, points: list, time_ms: int) -> None:
        if len(points) > STEPS and sent:
            log_batch(self, run, points[:STEPS], time_ms)
            server.kill()
        sent.append(run)
        log_batch(self, run, points, time_ms)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "log_metrics", killed_at_the_tuning_curves)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        with pytest.raises(TrackingDown):
            track(out)
    assert len(sent) >= 2
    server.start()
    assert "magicapture.anna.noir version 1: first champion" in track(out)
    client = Tracker.connect().client
    experiment = client.get_experiment_by_name("magicapture").experiment_id
    whole = {run.data.tags["stage"]: run for run in client.search_runs([experiment], "tags.made != ''") if "stage" in run.data.tags}
    for stage in ("inversion", "tuning"):
        assert whole[stage].data.tags["mlflow.parentRunId"] == parent
        for name in ("total", "source", "lr"):
            history = client.get_metric_history(whole[stage].info.run_id, name)
            assert [point.step for point in sorted(history, key=lambda point: point.step)] == list(range(STEPS))
    assert read_manifest(out, "promotion")["content"]["champion"] and not (out / "outbox").exists()
