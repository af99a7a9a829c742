"""What a user waits for: `make run` the first time and again, a folder of pictures to portraits, `magicapture check` and `--help`.

    git clone . /tmp/fresh && python -m benchmarks.run_time /tmp/fresh runs/run_time.json

Installation and data (`make data`) come first and are not counted; the pictures are JPEGs of 512 px of a rendered person, drawn before.
Memory is the greatest sum, over all processes of the command, of proportional set sizes (shared pages counted once), sampled twice a
second. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from magicapture.artifacts import write_json
from magicapture.world.people import Person
from magicapture.world.samples import write_person, write_samples

#: What is asked for on two cores.
BOUNDS = {
    "first run, s": 480.0, "first run, GB": 6.0, "second run, s": 30.0, "train, s": 300.0, "check 20 photos, s": 5.0, "help, s": 0.5,
}  # fmt: skip
PERSON, LOOK = 7000321, ("neon", 5)
_PERIOD = 0.5


@dataclass(frozen=True)
class Measured:
    """One command: seconds of wall clock and peak memory in bytes."""

    seconds: float
    memory: int


def measure(command: Sequence[str], folder: Path) -> Measured:
    """Run a command to its end in a session of its own; its output goes to stderr. Raises CalledProcessError when it fails."""
    started = time.monotonic()
    with subprocess.Popen(command, cwd=folder, stdout=2, start_new_session=True) as process:
        peak, over = [0], threading.Event()

        def watch() -> None:
            while not over.is_set():
                peak[0] = max(peak[0], session_memory(process.pid))
                over.wait(_PERIOD)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            code = process.wait()
        finally:
            over.set()
            watcher.join()
    if code:
        raise subprocess.CalledProcessError(code, list(command))
    return Measured(time.monotonic() - started, peak[0])


def session_memory(session: int) -> int:
    """Bytes: the proportional set sizes of all processes of a session (its leader's id)."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == session:
                    lines = (entry / "smaps_rollup").read_text().splitlines()
                    total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except (ProcessLookupError, FileNotFoundError, PermissionError):
                continue  # it ended between two looks
    return total


def median_seconds(command: Sequence[str], folder: Path, times: int = 7) -> float:
    """Median wall clock of a command, after one run that warms the file cache."""
    seconds = []
    for _ in range(times + 1):
        started = time.monotonic()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds[1:])


def draw(folder: Path) -> None:
    """JPEGs of 512 px: five in ``folder/person`` and ``folder/look`` each, twenty of the person in ``folder/many``."""
    write_samples(folder, PERSON, LOOK, 5, 512)
    write_person(folder / "many", Person.sample(PERSON), 20, 512)
    for path in folder.glob("*/*.png"):
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"), quality=92)
        path.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a fresh clone: without runs/, so that the first run is one")
    parser.add_argument("results", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    checkout = options.checkout.resolve()
    if not (checkout / "Makefile").is_file():
        parser.error(f"{checkout} is no checkout: it has no Makefile")
    if (checkout / "runs").exists():
        parser.error(f"{checkout} holds runs/ already, so its first run would come from the cache; clone afresh")
    subprocess.run(["make", "data"], cwd=checkout, check=True, stdout=2)
    first = measure(["make", "run"], checkout)
    second = measure(["make", "run"], checkout)
    tool = str(checkout / ".venv/bin/magicapture")
    with tempfile.TemporaryDirectory() as scratch:
        draw(Path(scratch))
        trained = measure([tool, "train", f"{scratch}/person", f"{scratch}/look", "--out", f"{scratch}/run"], checkout)
        checked = median_seconds([tool, "check", f"{scratch}/many"], checkout, times=3)
    figures = {
        "first run, s": first.seconds,
        "first run, GB": first.memory / 1e9,
        "second run, s": second.seconds,
        "train, s": trained.seconds,
        "check 20 photos, s": checked,
        "help, s": median_seconds([tool, "--help"], checkout),
    }
    write_json(
        options.results, {"figures": figures, "bounds": BOUNDS, "cores": os.cpu_count(), "first": asdict(first), "second": asdict(second)}
    )
    for name, value in figures.items():
        print(f"{name:18} {value:8.2f}   (at most {BOUNDS[name]:g}){'' if value <= BOUNDS[name] else '   MISSED'}")
    return int(any(value > BOUNDS[name] for name, value in figures.items()))


if __name__ == "__main__":
    raise SystemExit(main())
