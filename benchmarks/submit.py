"""How long `pipeline.py submit` takes to start many runs on a server on loopback, beside the bare requests.

    python -m benchmarks.submit runs/submit.json --runs 100

The server is the tests' (tests/kfp_server.py), in a process of its own; the command is the one a person gives, with one YAML
of all parameters. The bare requests send the same bodies, one after another over one connection: what no client could save.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import urllib3
import yaml

from magicapture.artifacts import write_json
from tests.kfp_server import PREFIX, serving

#: What issue 5 asks for, for 100 runs.
BOUND = 30.0
ROOT = Path(__file__).parent.parent


def serve(pipe: Connection) -> None:
    """Answer kfp's client until told to stop; then send what was started."""
    with serving() as server:
        pipe.send(server.host)
        pipe.recv()
        pipe.send(list(server.runs.values()))


@contextmanager
def server() -> Iterator[tuple[str, list[dict]]]:
    """A server's address, and a list that holds the runs it was asked for when it has ended."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    process.start()
    runs: list[dict] = []
    yield here.recv(), runs
    here.send("stop")
    runs += here.recv()
    process.join()


def submit(count: int) -> tuple[float, list[dict]]:
    """Seconds of the whole command, Python's start included, and the runs that the server then has. Raises CalledProcessError."""
    with server() as (host, runs), tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "people.yaml")
        file.write_text(
            yaml.safe_dump([{"name": f"person-{i}", "photos": f"/data/person-{i}", "looks": "/data/look"} for i in range(count)])
        )
        command = [sys.executable, str(ROOT / "pipeline.py"), "submit", "--host", host, "--parameters", str(file)]
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=2, cwd=ROOT)
        seconds = time.monotonic() - started
    return seconds, runs


def bare(runs: Sequence[dict]) -> float:
    """Seconds to post the runs to a new server of the same kind, and nothing else. Raises RuntimeError for one that is refused."""
    pool = urllib3.PoolManager()
    with server() as (host, _):
        made = pool.request("POST", f"{host}{PREFIX}/experiments", json={"display_name": "magicapture"}).json()
        bodies = [{key: run[key] for key in ("display_name", "pipeline_spec", "runtime_config")} for run in runs]
        started = time.monotonic()
        for body in bodies:
            answer = pool.request("POST", f"{host}{PREFIX}/runs", json={**body, "experiment_id": made["experiment_id"]})
            if answer.status != 200:
                raise RuntimeError(f"{host}: {answer.status} {answer.data!r}")
        return time.monotonic() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 1 when the bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="JSON file to write")
    parser.add_argument("--runs", type=int, default=100, help="how many (default: 100)")
    options = parser.parse_args(arguments)
    seconds, runs = submit(options.runs)
    if len(runs) != options.runs:
        raise SystemExit(f"{len(runs)} runs on the server, {options.runs} were submitted")
    floor = bare(runs)
    bound = BOUND * options.runs / 100
    size = len(json.dumps(runs[0])) / 1000
    write_json(
        options.results,
        {"runs": len(runs), "seconds": seconds, "bare": floor, "bound": bound, "kB a run": size, "cores": os.cpu_count()},
    )
    print(f"{len(runs)} runs of {size:.0f} kB: {seconds:.1f} s (at most {bound:g}), {seconds / floor:.1f} times the bare {floor:.2f} s")
    return int(seconds > bound)


if __name__ == "__main__":
    raise SystemExit(main())
