"""git and DVC as they are asked here: a command of git that fails raises nothing, and DVC is an extra that may not be installed."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from magicapture.data.errors import DataError


def git(folder: Path, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str] | None:
    """A git command in a folder, finished; None where there is no git, or no answer within ``timeout`` seconds.

    What is not UTF-8 in its output comes as in names of files.
    """
    command = ("git", "-C", str(folder), *arguments)
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def git_says(folder: Path, *arguments: str, timeout: float | None = None) -> str:
    """What a git command says in a folder; "" where it fails or does not answer."""
    answer = git(folder, *arguments, timeout=timeout)
    return answer.stdout.strip() if answer is not None and answer.returncode == 0 else ""


def need_dvc(what: str) -> None:
    """Raise DataError, which says ``what`` needs it, where DVC is not installed."""
    if find_spec("dvc") is None:
        raise DataError(f"{what} needs DVC, which is not installed here: pip install 'magicapture[data]'")


def dvc_config(root: Path) -> dict[str, Any]:
    """DVC's configuration of the repository at ``root``; {} where DVC keeps nothing of it. Raises DataError without DVC."""
    if not (root / ".dvc").is_dir():
        return {}
    need_dvc(f"finding all pictures of {root}")
    from dvc.config import Config

    return dict(Config(str(root / ".dvc")))


def dvc_cache(root: Path) -> Path:
    """The folder in which DVC keeps the files of the repository at ``root``. Raises as :func:`dvc_config`."""
    return Path((dvc_config(root).get("cache") or {}).get("dir") or root / ".dvc" / "cache") / "files" / "md5"


def in_cache(cache: Path, digest: str) -> Path:
    """Where that folder has, or would have, the file or listing of an md5."""
    return cache / digest[:2] / digest[2:]
