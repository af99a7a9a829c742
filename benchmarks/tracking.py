"""What tracking costs: curves of 1,000 steps sent to a real MLflow server, against the time such a training takes.

    python -m benchmarks.tracking runs/tracking.json --adapter runs/stages/.../adapter

Training writes its curves to a file, and registry sends them in batches afterwards: the server can hold nothing up. The adapter's own
seconds a step, measured when it was trained, are the yardstick; the points are its own curves, repeated up to 1,000 steps.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from magicapture.artifacts import read_manifest, write_json
from magicapture.registry.tracking import Tracker
from tests.registry.servers import MlflowServer

#: What issue 5 asks for.
BOUND = 0.02
STEPS = 1000


def curves(adapter: Path) -> list[tuple[str, float, int]]:
    """The points of the adapter's tuning, its lines repeated up to STEPS steps."""
    rows = [json.loads(line) for line in (adapter / "curves.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["phase"] == "tuning"]
    return [
        (name, value, step) for step in range(STEPS) for name, value in rows[step % len(rows)].items() if isinstance(value, float)
    ]  # fmt: skip


def measure(adapter: Path) -> dict[str, float | int | str]:
    """Seconds of training and of sending, and the share."""
    content = read_manifest(adapter, "adapter")["content"]
    trained = content["train_seconds"] / content["last_step"] * STEPS
    points = curves(adapter)
    with tempfile.TemporaryDirectory() as folder:
        server = MlflowServer(Path(folder), f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts")
        server.start()
        try:
            os.environ["MLFLOW_TRACKING_URI"] = server.address
            tracker = Tracker.connect()
            run = tracker.open_run("benchmark", {})
            began = time.perf_counter()
            tracker.log_metrics(run, points, int(time.time() * 1000))
            sent = time.perf_counter() - began
            arrived = len(tracker.client.get_metric_history(run, points[0][0]))
        finally:
            server.kill()
    return {
        "steps": STEPS, "points": len(points), "arrived_of_one_curve": arrived, "train_seconds": trained, "send_seconds": sent,
        "share": sent / trained, "bound": BOUND,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="JSON to write")
    parser.add_argument("--adapter", type=Path, required=True, help="an adapter/1 artifact")
    options = parser.parse_args(arguments)
    result = measure(options.adapter)
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
