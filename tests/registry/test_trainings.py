"""Logs of a pack's training in MLflow: one run a training, whatever happened in between, nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

from magicapture.registry.tracking import Tracker
from magicapture.registry.trainings import EXPERIMENT, ship_training


def _log(folder: Path, steps: range) -> None:
    folder.mkdir(exist_ok=True)
    with open(folder / "log.jsonl", "a") as file:
        for step in steps:
            file.write(json.dumps({"step": step, "seconds": 1.0, "lr": 0.1, "total": 1 / step}) + "\n")


def test_a_training_that_went_on_is_one_run(sqlite: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parser"
    assert ship_training(folder) is None
    _log(folder, range(50, 201, 50))
    (folder / "segments.jsonl").write_text(json.dumps({"started": "2026-01-01", "from": 0, "seed": 3}) + "\n")
    first = ship_training(folder)
    _log(folder, range(250, 301, 50))
    with open(folder / "segments.jsonl", "a") as file:
        file.write(json.dumps({"started": "2026-01-02", "from": 200, "seed": 3}) + "\n")
    assert first is not None and ship_training(folder) == first == ship_training(folder)
    client = Tracker.connect(EXPERIMENT).client
    history = client.get_metric_history(first, "total")
    assert [(point.step, point.value) for point in history] == [(step, 1 / step) for step in range(50, 301, 50)]
    assert "seconds" not in client.get_run(first).data.metrics
    assert client.get_run(first).data.params["segment.1"] == "started 2026-01-02, from 200, seed 3"


def test_a_training_begun_anew_in_the_same_folder_is_another_run(sqlite: Path, tmp_path: Path) -> None:
    folder, runs = tmp_path / "judge", set()
    for day in ("2026-01-01", "2026-01-02"):
        _log(folder, range(1, 2))
        (folder / "segments.jsonl").write_text(json.dumps({"started": day, "from": 0}) + "\n")
        runs.add(ship_training(folder))
    assert len(runs) == 2
