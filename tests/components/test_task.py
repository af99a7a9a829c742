"""What a task used, and where it says why it failed."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from components import task
from magicapture.artifacts import USAGE, content_hash


def test_usage_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setattr(task, "PERIOD", 0.02)
    monkeypatch.setenv("PATH", str(tmp_path))
    started = time.monotonic()
    with task.watched("tuning") as usage:
        began = time.monotonic()
        held = np.ones(40_000_000 // 8)
        until = time.process_time() + 0.3  # of this process: however long a busy machine takes for it
        while time.process_time() < until:
            held.sum()
        inside = time.monotonic() - began
    assert inside <= usage.seconds <= time.monotonic() - started
    assert usage.cpu_seconds > 0.25 and usage.memory_mb > 60  # the system counts in hundredths of a second
    assert usage.gpu_memory_mb is None and "gpu_memory_mb" not in usage.numbers()
    before, after = (point["system/memory_usage_megabytes"] for point in (usage.points[0], usage.points[-1]))
    assert min(before, after) > 20 and len(usage.points) > 2
    assert re.fullmatch(r"tuning: \d+\.\d s, CPU \d+\.\d s, memory \d+\.\d GB\n", capsys.readouterr().out)
    (tmp_path / "manifest.json").write_text("{}")
    plain = content_hash(tmp_path)
    usage.save(str(tmp_path))
    assert content_hash(tmp_path) == plain  # what it took to make is not what was made
    rows = [json.loads(line) for line in (tmp_path / USAGE).read_text().splitlines()]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)


def test_samples_are_thinned_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "POINTS", 8)
    sampler = task._Sampler()
    for _ in range(100):
        sampler.sample()
    assert len(sampler.points) <= 8 and sampler.period >= 8 * task.PERIOD


def test_cards_are_read_from_the_drivers_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in for the tool, which answers in the form its manual states: there is no card here to ask."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$1" = --query-gpu=index,utilization.gpu,memory.used ] && printf "0, 87, 2048\\n1, 0, 3\\n"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with task.watched("tuning") as usage:
        pass
    assert usage.points[-1]["system/gpu_0_utilization_percentage"] == 87
    assert usage.gpu_memory_mb == pytest.approx(2147.5)
    tool.write_text("#!/bin/sh\necho No devices were found; exit 6\n")
    with task.watched("tuning") as usage:
        pass
    assert usage.gpu_memory_mb is None


def test_a_failure_is_explained_where_kubernetes_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("MAGICAPTURE_TERMINATION_LOG", str(log))
    for present in (False, True):
        if present:
            log.touch()
        with pytest.raises(ValueError, match="no face"), task.watched("preprocess"):
            raise ValueError("no face")
        assert log.exists() is present
    assert log.read_text() == "preprocess: ValueError: no face\n"
    task.explain("x" * 5000)
    assert len(log.read_text()) < 4096
