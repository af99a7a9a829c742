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


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A small file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)), capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    return folder


def test_a_full_and_a_read_only_disk(mounted: Path) -> None:
    try:
        write_text(mounted / "kept", "before")
        full = _caught(lambda: write_text(mounted / "kept", "x" * 200_000))
        assert "No space left on device; free some space" in str(explain(full))
        assert [path.name for path in mounted.iterdir()] == ["kept"]
        assert (mounted / "kept").read_text() == "before"
        subprocess.run(("mount", "-o", "remount,ro", str(mounted)), check=True)
        result = subprocess.run(
            (sys.executable, "-m", "magicapture", "train", "photos", "looks", "--out", str(mounted / "run")),
            cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == UNUSABLE
        assert result.stderr.startswith(f"magicapture: cannot write {mounted}") and "may be written to" in result.stderr
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
