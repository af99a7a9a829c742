"""What is said of an error, and with which exit status."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from magicapture.artifacts import ArtifactError, read_manifest, write_text
from magicapture.exits import FAULT, UNUSABLE, explain, status
from magicapture.world.samples import write_samples
from tests.test_api import SHORT

ROOT = Path(__file__).parent.parent


def _caught(work: Callable[[], object]) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_errors_of_ours_are_told_and_others_are_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = _caught(lambda: read_manifest(tmp_path, "adapter"))
    assert isinstance(error, ArtifactError)
    assert status(error) == UNUSABLE
    assert capsys.readouterr().err == f"magicapture: {error}\n"
    fault = _caught(lambda: int("x"))
    assert explain(fault) is None
    assert status(fault) == FAULT
    assert "Traceback" in capsys.readouterr().err


def test_a_limit_on_files_is_told_and_nothing_is_left_half_written(tmp_path: Path) -> None:
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from pathlib import Path
from magicapture import exits
from magicapture.artifacts import write_bytes, writing
try:
    with writing({str(tmp_path / "out")!r}, "images/1") as draft:
        write_bytes(draft.path / "a.png", bytes(10))
        write_bytes(draft.path / "b.png", bytes(5000))
except Exception as error:
    sys.exit(exits.status(error))
"""
    result = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == UNUSABLE, result.stderr
    assert "cannot write" in result.stderr and "ulimit -f" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_cannot_write_a_checkpoint_leaves_nothing_half_written_and_goes_on(tmp_path: Path) -> None:
    """As on a full disk. The limit is above every file of this training but for its checkpoints of LoRA, of a rank for that."""
    write_samples(tmp_path / "data", count=1, size=128)
    out = tmp_path / "run"
    sets = [part for knob in (*SHORT, "tuning.lora.rank=64", "evaluation.baseline_images=0") for part in ("--set", knob)]
    command = (sys.executable, "-m", "magicapture", "train", tmp_path / "data/person", tmp_path / "data/look", "--out", out, *sets)
    limited = ("bash", "-c", 'ulimit -f 1000 && exec "$@"', "bash", *command)  # in units of 1024 bytes
    result = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == UNUSABLE, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("magicapture: cannot write: File too large") and "ulimit -f" in result.stderr
    assert [path for path in out.rglob("*") if path.name.startswith(".")] == []
    (tuning,) = out.glob("seed-0/checkpoints/tuning-*")  # it came so far
    assert not (out / "seed-0/adapter").exists() and not list(tuning.glob("checkpoints/*"))
    tokens = read_manifest(out / "seed-0/tokens", "tokens", verify=True)

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"going on with the run in {out}: inversion step 2" in result.stderr
    assert read_manifest(out / "seed-0/tokens", "tokens") == tokens  # not learnt again
    assert read_manifest(out / "seed-0/adapter", "adapter", verify=True)["content"]["last_step"] == 2
    assert (out / "seed-0/evaluation/report.html").is_file()


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A small file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)), capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    return folder


def test_a_full_and_a_read_only_disk(mounted: Path, tmp_path: Path) -> None:
    try:
        write_text(mounted / "kept", "before")
        write_samples(tmp_path, count=1, size=64)
        full = _caught(lambda: write_text(mounted / "kept", "x" * 200_000))
        assert "No space left on device; free some space" in str(explain(full))
        assert [path.name for path in mounted.iterdir()] == ["kept"]
        assert (mounted / "kept").read_text() == "before"
        subprocess.run(("mount", "-o", "remount,ro", str(mounted)), check=True)
        result = subprocess.run(
            (sys.executable, "-m", "magicapture", "train", str(tmp_path / "person"), str(tmp_path / "look"), "--out", str(mounted / "run")),
            cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == UNUSABLE
        assert f"{mounted} is no folder that can be written to" in result.stderr and "Traceback" not in result.stderr
    finally:
        subprocess.run(("umount", str(mounted)), check=True)


@pytest.mark.parametrize("path", ["file/deeper", "folder", "a" * 300])
def test_a_path_where_nothing_can_be_written_is_told(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "full").mkdir(parents=True)
    said = explain(_caught(lambda: write_text(tmp_path / path, "x")))
    assert said is not None and said.startswith("cannot ") and str(tmp_path) in said and "path" in said.rpartition(";")[2]


def test_what_may_not_be_read_is_not_called_unwritable() -> None:
    said = explain(PermissionError(errno.EACCES, "Permission denied", "photo.jpg"))
    assert said is not None and said.startswith("cannot read or write photo.jpg")
