"""What one person takes of a cluster: seconds of every stage, bytes kept, and from them people per GPU-hour and cost.

    make run && python -m benchmarks.capacity runs capacity.json --gpu-price 2.5 --cpu-price 0.05 --storage-price 0.025

Reads the last run under the folder that was not taken from the cache. A stage's seconds are from its input's time to its own: wall
clock, with the start of its process, on the machine that ran it. Bytes are of files. Prices are yours: of a GPU and of a processor for
an hour, and of a gigabyte for a month, in any currency. docs/operate.md has the formulas.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from magicapture.artifacts import read_manifest, write_json

#: Stages of a seed in their order: artifact's kind, whether it runs on the GPU where there is one.
STAGES = {
    "inversion": ("tokens", True),
    "tuning": ("adapter", True),
    "generation": ("images", True),
    "postprocessing": ("portraits", False),
    "evaluation": ("evaluation", False),
}
#: Every artifact lies in Kubeflow's object store, and promotion logs its files to MLflow: at most once more.
COPIES = 2


@dataclass(frozen=True)
class Inputs:
    """What was measured: seconds per stage (of one seed, the mean over seeds), bytes per person, number of seeds."""

    seeds: int
    seconds: dict[str, float]
    artifact_bytes: int
    checkpoint_bytes: int


@dataclass(frozen=True)
class Capacity:
    """What follows for one person: GPU and CPU seconds, people per GPU-hour, bytes kept, cost of the run and of a month of storage."""

    gpu_seconds: float
    cpu_seconds: float
    people_per_gpu_hour: float
    bytes_kept: int
    run_cost: float
    storage_cost_month: float


def measure(runs: Path) -> Inputs:
    """Read the newest run under ``runs`` that made all its artifacts itself. Raises FileNotFoundError that says what to run."""
    for promotion in sorted(runs.glob("stages/*/*/promotion/promotion"), reverse=True):
        home = promotion.parents[1]
        candidates = read_manifest(promotion, "promotion")["content"]["candidates"]
        folders = [{kind: Path(folder) for kind, folder in candidate["folders"].items()} for candidate in candidates]
        if all(home in folder.parents for seed in folders for folder in seed.values()):
            break
    else:
        raise FileNotFoundError(
            f"{runs}: no whole run under stages/ that was not from the cache: `make run` with other --seeds, or rm -r {runs}"
        )
    began, prepared = _time(home / "resolve" / "run", "run"), folders[0]["prepared"]
    seconds = {"preprocess": _time(prepared, "prepared") - began}
    for stage in STAGES:
        seconds[stage] = 0.0
    for seed in folders:
        before = _time(prepared, "prepared")
        for stage, (kind, _) in STAGES.items():
            after = _time(seed[kind], kind)
            seconds[stage] += (after - before) / len(folders)
            before = after
    artifacts = {folder for seed in folders for folder in seed.values()} | {promotion, home / "resolve" / "run"}
    checkpoints = [folder for folder in (runs / "checkpoints").glob("*") if folder.is_dir() and folder.stat().st_mtime >= began]
    return Inputs(len(folders), seconds, sum(map(_size, artifacts)), sum(map(_size, checkpoints)))


def plan(inputs: Inputs, gpu_price: float, cpu_price: float, storage_price: float, processors: float) -> Capacity:
    """The formulas: prices per hour and per GB-month, ``processors`` of a CPU stage's pod (components/cluster.py)."""
    gpu = inputs.seeds * sum(inputs.seconds[stage] for stage, (_, accelerated) in STAGES.items() if accelerated)
    cpu = inputs.seconds["preprocess"] + inputs.seeds * sum(
        inputs.seconds[stage] for stage, (_, accelerated) in STAGES.items() if not accelerated
    )
    kept = COPIES * inputs.artifact_bytes + inputs.checkpoint_bytes
    cost = gpu / 3600 * gpu_price + cpu / 3600 * processors * cpu_price
    return Capacity(gpu, cpu, 3600 / gpu, kept, cost, kept / 1e9 * storage_price)


def _time(folder: Path, kind: str) -> float:
    return float(read_manifest(folder, kind)["made"]["time"])


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write as JSON; 0, or 1 where there is no run to read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder with stages/ and checkpoints/ of `make run`")
    parser.add_argument("out", type=Path)
    parser.add_argument("--gpu-price", type=float, default=0.0, help="of a GPU for an hour")
    parser.add_argument("--cpu-price", type=float, default=0.0, help="of a processor for an hour")
    parser.add_argument("--storage-price", type=float, default=0.0, help="of a GB for a month")
    parser.add_argument("--processors", type=float, default=2.0, help="of a CPU stage's pod")
    given = parser.parse_args(arguments)
    try:
        inputs = measure(given.runs)
    except FileNotFoundError as error:
        print(error)
        return 1
    capacity = plan(inputs, given.gpu_price, given.cpu_price, given.storage_price, given.processors)
    figures: dict[str, Any] = asdict(inputs) | asdict(capacity)
    write_json(given.out, figures)
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
