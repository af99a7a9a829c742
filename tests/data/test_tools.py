"""git and DVC as they are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicapture.data.tools import dvc_cache, dvc_config, git, git_says, in_cache
from tests.data import store as stores


def test_git_answers_fails_or_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.run(tmp_path, "git", "init", "--quiet", "--initial-branch", "main", "work")
    assert git_says(tmp_path / "work", "symbolic-ref", "--short", "HEAD") == "main"
    failed = git(tmp_path / "work", "rev-parse", "--verify", "nowhere")
    assert failed is not None and failed.returncode != 0 and git_says(tmp_path / "work", "rev-parse", "--verify", "nowhere") == ""
    assert git(tmp_path / "work", "cat-file", "--batch", timeout=0) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git(tmp_path / "work", "status") is None and git_says(tmp_path / "work", "status") == ""


def test_where_dvc_keeps_files(tmp_path: Path) -> None:
    assert dvc_config(tmp_path) == {}  # no repository of DVC's
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("")
    assert dvc_cache(tmp_path) == tmp_path / ".dvc" / "cache" / "files" / "md5"
    (tmp_path / ".dvc" / "config").write_text(f"[cache]\n    dir = {tmp_path / 'elsewhere'}\n")
    assert in_cache(dvc_cache(tmp_path), "0123abc.dir") == tmp_path / "elsewhere" / "files" / "md5" / "01" / "23abc.dir"
