"""The repository that pictures are added to: which remote they go to, and that a failed addition leaves no trace."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from magicapture.data import DataError, Repository
from tests.data.store import Store, make, run


def _tree(folder: Path) -> dict[str, bytes]:
    """Every file but those of git and of DVC's own housekeeping."""
    skip = (".git/", ".dvc/tmp/")
    found = (path for path in folder.rglob("*") if path.is_file())
    return {name: path.read_bytes() for path in found if not (name := path.relative_to(folder).as_posix()).startswith(skip)}


def _fill(repository: Repository, name: str, text: str, remote: str = "main") -> None:
    with repository.staging() as staging:
        (staging / name).mkdir()
        (staging / name / "1.png").write_text(text)
        repository.add(f"subjects/{name}", staging / name, remote)


def test_added_pictures_are_dvcs_and_not_gits(repository: Path) -> None:
    _fill(Repository(repository), "anna", "a picture")
    record = yaml.safe_load((repository / "subjects" / "anna.dvc").read_text())["outs"][0]
    assert (record["path"], record["remote"], record["nfiles"]) == ("anna", "main", 1)
    run(repository, "git", "add", ".")
    staged = run(repository, "git", "diff", "--cached", "--name-only").split()
    assert staged == ["subjects/.gitignore", "subjects/anna.dvc"]
    assert run(repository, "dvc", "status", "subjects/anna.dvc").strip() == "Data and pipelines are up to date."


def test_no_push_takes_them_to_the_embedded_remote(repository: Path, store: Store) -> None:
    """It is the repository's default, and named outright even: the .dvc file decides."""
    before = set(store.names())
    _fill(Repository(repository), "anna", "a picture that nobody else has")
    for arguments in (("push", "subjects/anna.dvc", "--remote", "samples"), ("push",)):
        run(repository, "dvc", *arguments)
    assert not (repository / ".dvc" / "samples").exists()
    assert len(set(store.names()) - before) == 2  # the picture and its folder's listing


@pytest.mark.parametrize(
    ("config", "wanted", "expected"),
    [
        ({"samples": "samples", "far": "s3://b/x"}, "", "far"),
        ({"*far": "s3://b/x", "other": "gs://b/x"}, "", "far"),
        ({"far": "s3://b/x", "other": "gs://b/x"}, "other", "other"),
        ({"disk": "../../elsewhere"}, "", "disk"),
    ],
)
def test_the_remote_that_is_taken(repository: Path, config: dict[str, str], wanted: str, expected: str) -> None:
    _configure(repository, config)
    assert Repository(repository).remote(wanted) == expected


@pytest.mark.parametrize(
    ("config", "wanted", "said"),
    [
        ({}, "", "pictures of people need a DVC remote outside the repository; for example:\n  dvc remote add store s3://BUCKET"),
        ({"*samples": "samples"}, "", r"the remote 'samples', .dvc/samples, lies in it, and git would publish it.*dvc remote add store"),
        ({"samples": "samples", "far": "s3://b/x"}, "samples", "the remote 'samples', .dvc/samples, lies in it"),
        ({"here": "../pictures/x"}, "", "the remote 'here', pictures/x, lies in it"),
        ({"far": "s3://b/x"}, "fat", "no DVC remote 'fat'; there are far"),
        ({"a": "s3://b/x", "b": "gs://b/x"}, "", "several DVC remotes could take the pictures: say which with --remote: a, b"),
        ({"far": "s3://b/x\n    secret_access_key = hunter2"}, "", "has secret_access_key in .dvc/config, which git publishes"),
        ({"far": "s3://b/x\n    nonsense = 1"}, "", "config cannot be read: .*nonsense"),
    ],
)
def test_remotes_that_will_not_do(repository: Path, config: dict[str, str], wanted: str, said: str) -> None:
    _configure(repository, config)
    with pytest.raises(DataError, match=f"(?s){said}"):
        Repository(repository).remote(wanted)


def test_a_symbolic_link_does_not_hide_an_embedded_remote(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repository / ".dvc")
    _configure(repository, {"link": str(tmp_path / "link" / "samples")})
    with pytest.raises(DataError, match="lies in it, and git would publish it"):
        Repository(repository).remote()


def test_a_remote_that_only_this_clone_knows(repository: Path) -> None:
    _configure(repository, {})
    run(repository, "dvc", "remote", "add", "--local", "mine", "s3://b/x")
    with pytest.raises(DataError, match="'mine' is not in .dvc/config, so that clones could not find it"):
        Repository(repository).remote()


def _configure(repository: Path, remotes: dict[str, str]) -> None:
    """Write .dvc/config; * marks the default."""
    default = [name.strip("*") for name in remotes if name.startswith("*")]
    text = f"[core]\n    remote = {default[0]}\n" if default else ""
    text += "".join(f"['remote \"{name.strip('*')}\"']\n    url = {url}\n" for name, url in remotes.items())
    (repository / ".dvc" / "config").write_text(text)


def test_where_there_is_no_repository(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(DataError, match="is not within a repository with DVC.*git init && dvc init"):
        Repository(tmp_path)
    assert Repository(repository / ".dvc").root == repository
    shutil.rmtree(repository / ".git")
    with pytest.raises(DataError, match="has DVC but no git"):
        Repository(repository)


@pytest.mark.parametrize("already", [False, True])
def test_what_dvc_refuses_leaves_no_trace(repository: Path, already: bool) -> None:
    """Its cache cannot be written, half-way: a file stands where the picture's folder would have to be made."""
    found = Repository(repository)
    if already:
        _fill(found, "anna", "the first")
    before = _tree(repository)
    blocked = repository / ".dvc" / "cache" / "files" / "md5" / "32"  # of md5("the second")
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("")
    with pytest.raises(DataError, match="`dvc add subjects/anna` failed, nothing was added: .*Not a directory"):
        _fill(found, "anna", "the second")
    blocked.unlink()
    assert _tree(repository) == before
    assert (repository / "subjects").exists() is already
    _fill(found, "anna", "the second")
    assert (repository / "subjects" / "anna" / "1.png").read_text() == "the second"


def test_an_interrupted_addition_leaves_no_trace(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Repository(repository)
    _fill(found, "anna", "the first")
    before = _tree(repository)
    monkeypatch.setattr(os, "rename", _interrupting(os.rename, 2))
    with pytest.raises(KeyboardInterrupt):
        _fill(found, "anna", "the second")
    monkeypatch.undo()
    assert _tree(repository) == before


def _interrupting(rename: Callable[..., None], call: int) -> Callable[..., None]:
    """A rename that Ctrl-C interrupts the n-th time, before anything is done."""
    count = 0

    def renaming(*paths: Path) -> None:
        nonlocal count
        count += 1
        if count == call:
            raise KeyboardInterrupt
        rename(*paths)

    return renaming


def test_what_a_killed_process_left_aside_is_removed(repository: Path) -> None:
    left = repository / ".dvc" / "tmp" / "magicapture-killed"
    left.mkdir(parents=True)
    (left / "1.png").write_text("a face")
    with Repository(repository).staging() as staging:
        assert not left.exists()
        assert run(repository, "git", "status", "--porcelain", str(staging)) == ""
    assert not staging.exists()


def test_changed_or_missing_folders_are_said(repository: Path) -> None:
    found = Repository(repository)
    _fill(found, "anna", "a picture")
    found.check_unchanged("subjects/anna")
    (repository / "subjects" / "anna" / "2.png").write_text("by hand")
    with pytest.raises(DataError, match="subjects/anna is not what subjects/anna.dvc says: `dvc checkout"):
        found.check_unchanged("subjects/anna")
    shutil.rmtree(repository / "subjects" / "anna")
    with pytest.raises(DataError, match="subjects/anna is not on this machine: `dvc pull subjects/anna.dvc` first"):
        found.check_unchanged("subjects/anna")
    assert (found.tracked("subjects/ANNA"), found.tracked("subjects/ben"), found.tracked("styles/anna")) == ("subjects/anna", "", "")


def test_a_repository_of_pictures_only(tmp_path: Path, store: Store) -> None:
    work = make(tmp_path / "new", store)
    assert Repository(work).remote() == "main"
