"""The trainings of a pack's roles as MLflow runs: what ``magicapture.world.train`` wrote as JSON lines, shipped."""

from __future__ import annotations

import json
import time
from pathlib import Path

from magicapture.registry.tracking import Tracker

EXPERIMENT = "magicapture-packs"
_TAG = "training"


def ship_training(folder: Path) -> str | None:
    """Send ``folder/log.jsonl`` (a role's records {"step", name: value...}) to its MLflow run, and its segments as parameters.

    The run is found again by the folder and where its training began, and only records it does not hold yet are sent, so that a
    training that went on after a kill is one run. Returns the run's id, None when nothing is logged yet. Raises TrackingDown.
    """
    log, file = folder / "log.jsonl", folder / "segments.jsonl"
    if not log.is_file():
        return None
    records = [json.loads(line) for line in log.read_text().splitlines()]
    segments = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    tracker = Tracker.connect(EXPERIMENT)
    with tracker.guarded():
        key = f"{folder.resolve()} {segments[0].get('started', '') if segments else ''}".strip()
        runs = tracker.find_runs(_TAG, key)
        run = runs[0] if runs else tracker.open_run(folder.name, {_TAG: key})
        held = max((point.step for point in tracker.client.get_metric_history(run, "total")), default=0)
        points = [
            (name, float(value), record["step"])
            for record in records
            if record["step"] > held
            for name, value in record.items()
            if name not in ("step", "seconds")
        ]
        # "total" last: a run cut short in the middle of a shipment is sent the missing records again.
        tracker.log_metrics(run, sorted(points, key=lambda point: point[0] == "total"), int(time.time() * 1000))
        known = tracker.client.get_run(run).data.params
        texts = {f"segment.{i}": ", ".join(f"{k} {v}" for k, v in segment.items()) for i, segment in enumerate(segments)}
        tracker.log_params(run, {name: text for name, text in texts.items() if name not in known})
        tracker.close_run(run, "FINISHED")
    return run
