"""What kfp adds to the stages of a local run: `pipeline.py run` on the sample data with few steps, task by task.

    python -m benchmarks.kfp_overhead runs/kfp_overhead.json

A stage's own time is from the first line of its component to the last, as each says at its end; a task's time is kfp's, from "Executing
task" to "finished". The rest is Python's start, the pipeline's compilation and the results' publication.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from magicapture.artifacts import write_json

#: What issue 5 asks for: seconds a stage.
BOUND = 3.0
ROOT = Path(__file__).parent.parent
FEW_STEPS = (
    "inversion.steps=2", "tuning.steps=2", "tuning.sample_every=0", "tuning.samples=1", "generation.steps=2", "generation.seeds=[1000]",
    "evaluation.baseline_images=1", "training.threads=1", "training.augment.versions=1",
)  # fmt: skip
_TASK = re.compile(r"(\d+):(\d+):(\d+\.\d+) - INFO - (Executing task|Task) '(\w+)'( finished)?")
_OWN = re.compile(r"^\s*(\w+): (\d+\.\d+) s, CPU ")


def overheads(lines: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Stage -> (its own seconds, what kfp added to them), from what a run of one seed printed."""
    own, began, whole = dict[str, float](), dict[str, float](), dict[str, float]()
    for line in lines:
        plain = re.sub(r"\x1b\[\d+m", "", line)
        said, task = _OWN.match(plain), _TASK.match(plain)
        if said:
            own[said[1]] = float(said[2])
        elif task:
            now = 3600 * int(task[1]) + 60 * int(task[2]) + float(task[3])
            if task[4] != "Task":
                began[task[5]] = now
            elif task[6]:
                whole[task[5]] = (now - began[task[5]]) % 86400  # a run may go on past midnight
    return {name: (own[name], whole[name] - own[name]) for name in whole}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 1 when the bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    data = ROOT / "data"
    command = [sys.executable, str(ROOT / "pipeline.py"), "run", "--photos", str(data / "person"), "--looks", str(data / "look")]
    command += ["--seeds", "0", *(part for knob in FEW_STEPS for part in ("--set", knob))]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        started = time.monotonic()
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - started
    tasks = overheads(done.stdout.splitlines())
    rest = seconds - sum(own + added for own, added in tasks.values())
    mean = (seconds - sum(own for own, _ in tasks.values())) / len(tasks)
    print(f"{'stage':15} {'own, s':>8} {'kfp, s':>8}")
    for name, (own, added) in tasks.items():
        print(f"{name:15} {own:8.1f} {added:8.2f}")
    print(f"rest of the command {rest:.1f} s; all that is not a stage's own, over {len(tasks)} stages: {mean:.2f} s (at most {BOUND:g})")
    figures = {name: {"own": own, "kfp": added} for name, (own, added) in tasks.items()}
    write_json(options.results, {"stages": figures, "rest": rest, "mean": mean, "bound": BOUND, "cores": os.cpu_count()})
    return int(mean > BOUND)


if __name__ == "__main__":
    raise SystemExit(main())
