"""What the doctor finds."""

from pathlib import Path

import pytest

from magicapture.doctor import Finding, examine
from tests.cli import run


def test_doctor_finds_this_machine_fit() -> None:
    found = {finding.what: finding for finding in examine()}
    for name in ("magicapture", "torch", "device", "onnxruntime", "opencv", "pack mini", "git"):
        assert found[name].ok, found[name]
    assert "CPUExecutionProvider" in found["onnxruntime"].found
    assert "sha256 ok" in found["pack mini"].found


def test_doctor_says_what_to_do_about_what_is_missing(tmp_path: Path) -> None:
    result = run("doctor", PATH=str(tmp_path))  # neither git nor chromium
    lines = result.stdout.splitlines()
    git = next(number for number, line in enumerate(lines) if line.startswith("MISS git"))
    assert "apt-get install git" in lines[git + 1]
    chromium = next(number for number, line in enumerate(lines) if line.startswith("-    chromium"))
    assert "apt-get install chromium" in lines[chromium + 1]
    assert result.returncode == 1


def test_doctor_looks_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def data() -> Finding | None:
        return next((finding for finding in examine() if finding.what == "data"), None)

    monkeypatch.chdir(tmp_path)
    assert data() is None
    (tmp_path / "data.dvc").touch()
    missing = data()
    assert missing is not None
    assert (missing.ok, missing.remedy) == (False, "dvc pull")
