"""What a local run shows and publishes."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from components.local import Quiet, parallel_seeds, publish
from magicapture.artifacts import read_manifest
from magicapture.config import load_config
from magicapture.registry import promote
from tests.registry.artifacts import knobs, make_candidate

NOISE = """    [KFP Executor 2026 INFO]: Looking for component
    [KFP Executor 2026 INFO]: Got executor_input:
    {
        "inputs": {
            "config": "{\\"a\\": {}}"
        }
    }
    training: 50%
"""


def test_quiet_drops_kfps_echoes_and_keeps_the_stages_words() -> None:
    stream = io.StringIO()
    quiet = Quiet(stream)
    quiet.write(NOISE)
    quiet.write("12:00 - INFO - Task 'x' outputs:\n    code: 'abc'\n    run: Artifact( name='run',\n            uri='/x' )\n----\n")
    for part in ("    Trace", "back\n", "ValueError: no face\n"):
        quiet.write(part)
    assert stream.getvalue() == "    training: 50%\n----\n    Traceback\nValueError: no face\n"


def test_quiet_tells_two_seeds_apart() -> None:
    stream = io.StringIO()
    quiet = Quiet(stream)
    quiet.write("    [KFP Executor 2026 INFO]: Got executor_input:\n    {\n")
    other = threading.Thread(target=quiet.write, args=("    seed 1: 10%\n",))
    other.start()
    other.join()
    quiet.write('        "x": 1\n    }\n    seed 0: 10%\n')
    assert stream.getvalue() == "    seed 1: 10%\n    seed 0: 10%\n"


@pytest.mark.parametrize(
    ("cores", "threads", "seeds", "expected"),
    [(2, 1, 2, 2), (2, 2, 2, 1), (1, 2, 2, 1), (16, 2, 2, 2), (4, 0, 2, 2), (4, 0, 1, 1), (16, 1, 5, 2)],
)
def test_seeds_run_side_by_side_only_where_cores_allow(
    cores: int, threads: int, seeds: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert parallel_seeds(load_config("mini", [f"training.threads={threads}"]), seeds) == expected


def test_publish_puts_the_best_seeds_portraits_in_rank_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    candidates = [make_candidate(tmp_path, seed, selection=value) for seed, value in enumerate((0.4, 0.9))]
    promote(candidates, tmp_path / "promotion", knobs())
    publish(tmp_path / "promotion", tmp_path / "latest")
    best = candidates[1]["evaluation"]
    pictures = sorted((tmp_path / "latest" / "portraits").iterdir())
    assert [picture.name for picture in pictures] == [f"0{place}.png" for place in range(1, 9)]
    assert pictures[0].read_bytes() == (best / "images" / "0000.png").read_bytes()  # rank 1, listed second
    assert (tmp_path / "latest" / "report.html").read_text() == "<p>report</p>"
    content = read_manifest(tmp_path / "latest", "results")["content"]
    assert (content["seed"], content["portraits"], content["version"]) == ("1", 8, None)
