from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import run_time

FORKS = """
import subprocess, sys, time
block = b"x" * 120_000_000
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "child"], check=True)
else:
    time.sleep(1.5)
"""


def test_memory_is_that_of_all_processes_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_time, "_PERIOD", 0.05)
    (tmp_path / "forks.py").write_text(FORKS)
    measured = run_time.measure([sys.executable, "forks.py"], tmp_path)
    assert 240e6 < measured.memory < 400e6
    assert 1.5 < measured.seconds < 30


def test_a_command_that_fails_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run_time.measure([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)


def test_median(tmp_path: Path) -> None:
    assert 0.2 < run_time.median_seconds([sys.executable, "-c", "import time; time.sleep(0.2)"], tmp_path, times=3) < 5


def test_whole_measurement_on_a_small_makefile(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps on a checkout whose main job takes no time: every figure is there and within its bound, which is wide here."""
    monkeypatch.setattr(run_time, "BOUNDS", dict.fromkeys(run_time.BOUNDS, 600.0))
    tool = tmp_path / ".venv/bin/magicapture"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\nsleep 0.05\n")
    tool.chmod(0o755)
    (tmp_path / "Makefile").write_text("data:\n\ttouch data\nrun: data\n\tsleep 0.7\n\tmkdir -p runs\n")
    results = tmp_path / "results.json"
    assert run_time.main([str(tmp_path), str(results)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in run_time.BOUNDS) and "MISSED" not in printed
    assert results.is_file()
    with pytest.raises(SystemExit):
        run_time.main([str(tmp_path), str(results)])  # runs/ is there now: no first run any more
    assert "clone afresh" in capsys.readouterr().err
