"""A real training, stopped by Ctrl-C and gone on with by the command that it prints."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from magicapture.artifacts import read_manifest
from magicapture.exits import STOPPED
from magicapture.world.samples import write_samples

ROOT = Path(__file__).parent.parent.parent
STEPS = 12
KNOBS = (
    "inversion.steps=1", f"tuning.steps={STEPS}", "tuning.samples=1", "tuning.sample_every=0", "training.augment.versions=1",
    "training.rows=1", "training.checkpoint_every=1", "generation.steps=1", "generation.seeds=[7]", "evaluation.baseline_images=0",
)  # fmt: skip


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "magicapture", *arguments)
    return subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(900)
def test_ctrl_c_and_the_command_it_prints(tmp_path: Path) -> None:
    write_samples(tmp_path / "data", count=1, size=128)
    out = tmp_path / "run"
    sets = [part for knob in KNOBS for part in ("--set", knob)]
    process = _start("train", str(tmp_path / "data/person"), str(tmp_path / "data/look"), "--out", str(out), *sets)
    while not list(out.glob("seed-0/checkpoints/tuning-*/checkpoints/step-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == STOPPED, errors
    assert "Traceback" not in errors and "stopping after this step" in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("stopped. To go on: ")]
    assert not (out / "seed-0/adapter").exists()

    command, *arguments = shlex.split(line.removeprefix("stopped. To go on: "))
    assert (command, arguments) == ("magicapture", ["train", "--resume", "--out", str(out)])
    process = _start(*arguments)
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert f"going on with the run in {out}: inversion step 1, tuning step" in errors
    assert "tuning: continuing after step" in errors
    assert read_manifest(out / "seed-0/adapter", "adapter", verify=True)["content"]["last_step"] == STEPS
    assert len(list(out.rglob("latents/*"))) == 2  # one photo and one look, each encoded once for both phases

    process = _start("generate", str(out / "seed-0/adapter"), "--out", str(tmp_path / "more"), "--count", "4000")
    while not (tmp_path / "more").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == STOPPED and "Traceback" not in errors, errors
    assert errors.splitlines()[-1] == f"stopped. Folders that were finished stay in {tmp_path / 'more'}; the same command makes them anew"
    assert not list((tmp_path / "more").iterdir())  # nothing half-drawn
    assert "best: " in said
