"""What a local run shows and publishes."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from components import local
from components.local import Quiet, find_promotion, parallel_seeds, publish, run_here
from magicapture.artifacts import ArtifactError, read_manifest, writing
from magicapture.config import load_config
from magicapture.purge import traces
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


def test_two_runs_begun_in_one_second_have_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their beginning, and by a name that purging knows."""
    for name in ("MLFLOW_TRACKING_URI", "PYTHONPATH", "MAGICAPTURE_TERMINATION_LOG", "OMP_NUM_THREADS"):  # it sets them for good
        monkeypatch.setenv(name, os.environ.get(name, ""))

    def build(cluster: None, parallel: int) -> Any:
        def run(**given: object) -> None:
            raise RuntimeError("no stage today")

        return run

    begun = []
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no stage today"):
            run_here(build, "p", "l", "mini", [], ["0"], tmp_path / "latest")
        begun += sorted({path.name for path in (tmp_path / "stages").iterdir()} - {*begun})
    assert len(begun) == 3 and begun == sorted(begun) and all(traces.RUN.fullmatch(name) for name in begun)


def test_what_would_not_be_replaced_in_the_end_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "mine.txt").write_text("keep")
    with pytest.raises(ArtifactError, match="latest exists and is no results artifact"):
        run_here(lambda *_: pytest.fail("built"), "p", "l", "mini", [], ["0"], tmp_path / "latest")  # type: ignore[arg-type, return-value]
    assert [path.name for path in tmp_path.rglob("*")] == ["latest", "mine.txt"]


def test_an_older_run_that_cannot_be_read_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, lineage in (("20260101-000000", "mine"), ("20260101-000001-000000", "mine"), ("20260101-000001-000001", "theirs")):
        with writing(tmp_path / run / "x" / "promotion" / "promotion", "promotion/1", lineage=lineage):
            pass
    for run, text in (("20260101-000002", "{"), ("20260101-000003", '{"schema": "promotion/1"}')):
        (tmp_path / run / "x" / "promotion" / "promotion").mkdir(parents=True)
        (tmp_path / run / "x" / "promotion" / "promotion" / "manifest.json").write_text(text)
    found = find_promotion(tmp_path, "mine")
    assert found is not None and found.parts[-4] == "20260101-000001-000000" and find_promotion(tmp_path, "nobodys") is None
    assert "passed over: " in (said := capsys.readouterr().err) and "20260101-000002" in said and "is damaged" in said


def test_what_is_told_at_the_end_has_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"model": "m", "version": "1", "champion": True, "reason": "r", "portraits": 1, "seed": "0"}
    with writing(tmp_path / "latest", "results/1") as draft:
        draft.content = content
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:hunter2@mlflow.example.org")
    said = local._summary(tmp_path / "latest", tmp_path / "stages", 1.0)
    assert "https://***@mlflow.example.org" in said and "hunter2" not in said
