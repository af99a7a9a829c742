from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import submit


def test_a_few_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "BOUND", 60 * 100 / 5)  # a loaded machine's time is no failure here
    assert submit.main([str(tmp_path / "r.json"), "--runs", "5"]) == 0
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["runs"] == 5 and 0 < figures["bare"] < figures["seconds"] < figures["bound"] == 60
    assert "5 runs of" in capsys.readouterr().out
    monkeypatch.setattr(submit, "BOUND", 0.1)
    assert submit.main([str(tmp_path / "r.json"), "--runs", "1"]) == 1
