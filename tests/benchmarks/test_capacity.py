from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks import capacity
from magicapture.artifacts import MANIFEST, writing


def make(folder: Path, kind: str, time: float, size: int, **content: object) -> Path:
    """An artifact with one file, as if written at ``time``."""
    with writing(folder, f"{kind}/1") as draft:
        (draft.path / "file").write_bytes(b"x" * size)
        draft.content.update(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["made"]["time"] = time
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def make_run(runs: Path, day: str, prepared: Path | None = None) -> None:
    home = runs / "stages" / day / "magicapture-1"
    make(home / "resolve" / "run", "run", 1000.0, 1)
    prepared = prepared or make(home / "preprocess" / "prepared", "prepared", 1003.0, 100)
    candidates = []
    for seed, delay in enumerate((0.0, 2.0)):
        folders, time = {"prepared": str(prepared)}, 1003.0
        for stage, (kind, _) in capacity.STAGES.items():
            time += 10 + delay
            folders[kind] = str(make(home / f"loop-{seed}" / stage / kind, kind, time, 1000))
        candidates.append({"seed": str(seed), "folders": folders})
    make(home / "promotion" / "promotion", "promotion", time, 10, candidates=candidates)
    for name, when in (("tuning-new", 2000.0), ("tuning-old", 500.0)):
        folder = runs / "checkpoints" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "step").write_bytes(b"x" * 5000)
        os.utime(folder, (when, when))


def test_figures_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, "1")
    make_run(tmp_path, "2", prepared=tmp_path / "stages/1/magicapture-1/preprocess/prepared")  # newer, but in part from the cache
    command = [str(tmp_path), str(tmp_path / "c.json"), "--gpu-price", "3600", "--cpu-price", "36", "--storage-price", "1e9"]
    assert capacity.main(command) == 0
    figures = json.loads((tmp_path / "c.json").read_text())
    assert figures == json.loads(capsys.readouterr().out)
    assert figures["seeds"] == 2
    assert figures["seconds"] == {"preprocess": 3.0} | dict.fromkeys(capacity.STAGES, 11.0)
    assert (figures["gpu_seconds"], figures["cpu_seconds"]) == (66.0, 47.0)
    assert figures["people_per_gpu_hour"] == pytest.approx(3600 / 66)
    assert figures["run_cost"] == pytest.approx(66 * 1 + 47 * 2 * 0.01)
    files = sum(p.stat().st_size for p in (tmp_path / "stages" / "1").rglob("*") if p.is_file())
    assert (figures["artifact_bytes"], figures["checkpoint_bytes"]) == (files, 5000)
    assert figures["bytes_kept"] == figures["storage_cost_month"] == 2 * files + 5000


def test_nothing_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main([str(tmp_path), str(tmp_path / "c.json")]) == 1
    assert "make run" in capsys.readouterr().out
    assert not (tmp_path / "c.json").exists()
