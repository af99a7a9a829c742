"""The command as docs/operate.md gives it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.purge.people import HE, SHE, bytes_with, make_person, tree

ROOT = Path(__file__).parents[2]


def run(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A line of the guide, in a shell, for the person of these tests."""
    command = line.replace("anna", SHE).replace("magicapture", f"{sys.executable} -m magicapture", 1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(900)
def test_the_guides_commands(sqlite: Path) -> None:
    here = sqlite.parent
    for name in (HE, SHE):
        make_person(here, name)
    guide = (ROOT / "docs" / "operate.md").read_text().split("## Erasing a person")[1].split("\n## ")[0]
    (dry, listed, real), *on_a_cluster = [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)]
    assert on_a_cluster  # those need one, and tests/manifests reads their options
    before = tree(here)
    result = run(here, dry)
    assert result.returncode == 0, result.stderr
    assert "1 registered model" in result.stdout and "Nothing was changed" in result.stdout and tree(here) == before
    assert run(here, listed).returncode == 0
    found = json.loads((here / "found.json").read_text())
    assert found["subject"] == SHE and found["kinds"]["photo"] == 2 and not found["removed"] and found["mlflow"]["versions"]
    (here / "found.json").unlink()
    result = run(here, real)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "found nothing" in result.stdout and bytes_with(SHE, here) == []
    again = run(here, real)
    assert again.returncode == 2 and f"nothing is of '{SHE}'" in again.stderr and "Traceback" not in again.stderr


def test_it_needs_no_package_but_the_registrys() -> None:
    """It runs in a pod of that image, which reads no pictures."""
    code = (
        "import sys, magicapture.purge; print([name for name in ('PIL', 'cv2', 'onnxruntime', 'torch', 'jinja2') if name in sys.modules])"
    )
    result = subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
