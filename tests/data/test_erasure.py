"""A person in a repository of pictures, hand-made; tests/purge/test_repository.py has one that DVC made."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from magicapture.data.erasure import find_pictures, git_paths
from tests.data import store as stores

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of the user's own settings of git and DVC."""
    for name in ("HOME", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.org")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def revision(root: Path, picture: bytes) -> Path:
    """subjects/anna of one picture, as .dvc file and in DVC's cache, committed; returns the picture's place in the cache."""
    cache = root / ".dvc" / "cache" / "files" / "md5"
    digest = hashlib.md5(picture).hexdigest()
    listing = json.dumps([{"md5": digest, "relpath": "0.png"}]).encode()
    whole = hashlib.md5(listing).hexdigest() + ".dir"
    for name, data in ((digest, picture), (whole, listing)):
        (cache / name[:2]).mkdir(parents=True, exist_ok=True)
        (cache / name[:2] / name[2:]).write_bytes(data)
    (root / "subjects").mkdir(exist_ok=True)
    (root / "subjects" / "anna.dvc").write_text(f"outs:\n- md5: {whole}\n  path: anna\n")
    stores.run(root, "git", "add", "subjects")
    stores.run(root, "git", "commit", "--quiet", "--message", "pictures")
    return cache / digest[:2] / digest[2:]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """DVC in a sub-folder of git, with a remote whose address has a password in it."""
    root = tmp_path / "work" / "pictures of people"
    (root / ".dvc").mkdir(parents=True)
    stores.run(root.parent, "git", "init", "--quiet")
    (root / ".dvc" / "config").write_text("['remote \"main\"']\n    url = https://ann:s3cr@t@host.example/store\n")
    return root


def test_every_revision_is_found_below_gits_top(pictures: Path) -> None:
    old, new = revision(pictures, b"old"), revision(pictures, b"new")
    found = find_pictures(pictures, "anna")
    assert found is not None and {old, new} <= {*found.paths}
    said = "\n".join(f"{what}\n{how}" for what, how in found.retained)
    assert "--path 'pictures of people/subjects/anna.dvc' --path 'pictures of people/subjects/anna'" in said
    assert "(https://host.example/store)" in said and "s3cr" not in said


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    stores.run(tmp_path, "git", "init", "--quiet", "work")
    path = tmp_path / "work" / os.fsdecode(b"caf\xe9'.png")
    path.write_bytes(b"x")
    stores.run(tmp_path / "work", "git", "add", ".")
    stores.run(tmp_path / "work", "git", "commit", "--quiet", "--message", "x")
    ((what, how),) = git_paths([path])
    assert "holds 1 of the files themselves" in what and "--path $'caf\\xe9\\x27.png';" in how


def test_history_that_git_does_not_tell_is_not_said_to_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere")
    found = find_pictures(tmp_path, "anna")
    assert found is not None and "was not looked at" in found.retained[0][0]
    assert "was not looked at" in git_paths([tmp_path / "x.png"])[0][0]


def test_without_dvc_its_repository_cannot_be_searched(pictures: Path) -> None:
    """One with nothing of the person can."""
    revision(pictures, b"old")
    code = (
        "import sys; sys.modules['dvc'] = None\n"
        "from magicapture.data.erasure import find_pictures\n"
        "print(find_pictures(sys.argv[1], sys.argv[2]))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def asked(name: str) -> str:
        command = (sys.executable, "-c", code, str(pictures), name)
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return (result.stdout + result.stderr).strip().splitlines()[-1]

    assert asked("anna").startswith("magicapture.data.errors.DataError") and asked("anna").endswith("pip install 'magicapture[data]'")
    assert asked("ben").startswith("Pictures(")
