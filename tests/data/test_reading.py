"""Pictures of any revision: through a bare clone and an S3 server, so that no cache stands in for a push."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from magicapture import stages
from magicapture.artifacts import read_manifest
from magicapture.config import Config
from magicapture.data import DataError, digest, folder_md5, local, pair_hash, reading
from magicapture.references import ReferencesError
from magicapture.references.intake import add
from magicapture.registry.lineage import data_lineage
from tests import git_server
from tests.data.fixtures import Draw
from tests.data.store import BUCKET, Store, publish, run

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Published:
    """A repository, its bare clone, and what was published: anna twice, noir; ben is tracked by DVC but was never pushed."""

    work: Path
    bare: Path
    first: str
    second: str

    def at(self, folder: str, revision: str = "main") -> str:
        return f"git+file://{self.bare}@{revision}#{folder}"


@pytest.fixture(scope="module")
def published(empty: Path, store: Store, tiny: Config, draw: Draw, tmp_path_factory: pytest.TempPathFactory) -> Published:
    tmp = tmp_path_factory.mktemp("published")
    work = Path(shutil.copytree(empty, tmp / "work", symlinks=True))
    photos = [draw(tmp / "photos" / f"{seed}.jpg", 0, seed) for seed in range(4)]
    looks = [draw(tmp / "looks" / f"{seed}.png", 1 + seed, 7 + seed) for seed in range(2)]
    publish(work, add("style", "noir", looks, tiny, work).commands)
    first = publish(work, add("subject", "anna", photos[:2], tiny, work).commands)
    run(work, "git", "tag", "one")
    second = publish(work, add("subject", "anna", photos[2:], tiny, work, extend=True).commands)
    publish(
        work,
        [command for command in add("subject", "ben", [draw(tmp / "ben.png", 3, 11)], tiny, work).commands if "dvc push" not in command],
    )
    (work / "by-git").mkdir()
    shutil.copyfile(photos[0], work / "by-git" / "a.jpg")
    run(work, "git", "add", "by-git")
    run(work, "git", "commit", "--quiet", "--message", "a picture of git's own")
    run(tmp, "git", "clone", "--quiet", "--bare", "work", "bare.git")
    return Published(work, tmp / "bare.git", first, second)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever happens, no picture, clone or index stays in the machine's temporary folder."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def test_a_revision_has_its_own_pictures(published: Published) -> None:
    now = published.work / "subjects" / "anna"
    for revision in ("main", published.second):
        with local(published.at("subjects/anna", revision)) as folder:
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == {path.name: path.read_bytes() for path in now.iterdir()}
            assert folder != now
        assert not folder.exists()
    for revision in ("one", published.first):
        with local(published.at("subjects/anna", revision)) as folder:
            assert sorted(path.name for path in folder.iterdir()) == ["1.png", "2.png"]


def test_a_folder_and_its_address_have_one_digest(published: Published) -> None:
    work = published.work
    for folder in ("subjects/anna", "styles/noir", "by-git"):
        assert digest(published.at(folder)) == digest(work / folder)
    recorded = digest(work / "subjects" / "anna")
    assert f"md5: {recorded}" in (work / "subjects" / "anna.dvc").read_text()
    assert digest(published.at("subjects/anna", "one")) != recorded
    pair = pair_hash(published.at("subjects/anna"), published.at("styles/noir"))
    assert pair == pair_hash(work / "subjects" / "anna", work / "styles" / "noir")
    assert pair != pair_hash(published.at("styles/noir"), published.at("subjects/anna"))


def test_lineage_of_an_address(published: Published) -> None:
    tags = data_lineage(published.at("subjects/anna", "one"), published.at("styles/noir", "one"))
    recorded = run(published.work, "git", "show", "one:subjects/anna.dvc")
    assert tags["data.revision"] == published.first
    assert f"md5: {tags['data.dvc']}" in recorded
    assert (tags["data.dirty"], tags["data.source"]) == ("false", published.at("subjects/anna", "one"))
    here = data_lineage(published.work / "subjects" / "anna", published.work / "styles" / "noir")
    assert data_lineage(published.at("subjects/anna"), published.at("styles/noir"))["data.hash"] == here["data.hash"]
    assert here["data.dirty"] == "false"


def test_preprocessing_an_address_is_preprocessing_the_folder(published: Published, tiny: Config, tmp_path: Path) -> None:
    there = published.at("subjects/anna"), published.at("styles/noir")
    here = published.work / "subjects" / "anna", published.work / "styles" / "noir"
    expected = pair_hash(*here)
    ours, theirs = (
        read_manifest(stages.preprocess(*places, tmp_path / name, tiny, expected), "prepared", verify=True)
        for name, places in (("here", here), ("there", there))
    )
    assert (ours["lineage"], ours["content"], ours["files"]) == (theirs["lineage"], theirs["content"], theirs["files"])
    assert len(ours["content"]["source"]) == 4


def test_pictures_that_changed_since_the_run_began_are_refused(published: Published, tiny: Config, tmp_path: Path) -> None:
    old = published.at("subjects/anna", "one"), published.at("styles/noir")
    with pytest.raises(ReferencesError, match="are not those that this run began with .*; start it again"):
        stages.preprocess(*old, tmp_path / "out", tiny, pair_hash(published.work / "subjects" / "anna", published.work / "styles" / "noir"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("folder", "revision", "said"),
    [
        ("subjects/anna", "nowhere", "the repository has no revision 'nowhere'; expected a branch, a tag or a commit that was pushed"),
        ("subjects/zoe", "main", r"the revision \([0-9a-f]{12}\) has no such folder; subjects has anna, ben$"),
        ("subjects/ben", "one", r"has no such folder; subjects has anna$"),
        ("people/anna", "main", r"has no such folder; the repository has by-git, styles, subjects$"),
        ("by-git/a.jpg", "main", "by-git/a.jpg is a file; give the folder it lies in"),
        ("subjects/ben", "main", "the DVC remote does not hold the pictures .*`dvc push` from the clone in which they were added"),
    ],
)
def test_what_cannot_be_read_is_said(published: Published, folder: str, revision: str, said: str) -> None:
    for read in (digest, lambda place: local(place).__enter__()):
        with pytest.raises(DataError, match=said):
            read(published.at(folder, revision))


def test_a_missing_and_a_damaged_object_are_noticed(published: Published, store: Store) -> None:
    path = published.work / "subjects" / "anna" / "2.png"
    (entry,) = [key for key in store.names() if store.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == path.read_bytes()]
    damaged = bytearray(path.read_bytes())
    damaged[-20] ^= 1
    try:
        store.client.put_object(Bucket=BUCKET, Key=entry, Body=bytes(damaged))
        with pytest.raises(DataError, match="differs from what was recorded; it is damaged"), local(published.at("subjects/anna")):
            pass
        store.client.delete_object(Bucket=BUCKET, Key=entry)
        with pytest.raises(DataError, match="does not hold the pictures .*2.png"), local(published.at("subjects/anna")):
            pass
    finally:
        store.client.put_object(Bucket=BUCKET, Key=entry, Body=path.read_bytes())


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    for url in (f"file://{tmp_path}/none.git", "http://127.0.0.1:9/none.git"):
        with pytest.raises(DataError, match=f"git.{url}@main#x: the repository cannot be cloned .*check its address"):
            digest(f"git+{url}@main#x")


def test_git_credentials_come_from_the_environment(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    with git_server.serve(published.bare.parent) as url:
        place = f"git+{url}/bare.git@main#by-git"
        wants = "git wants credentials, or refused those given: set GIT_USERNAME and GIT_PASSWORD"
        with pytest.raises(DataError, match=wants):
            digest(place)
        monkeypatch.setenv("GIT_USERNAME", git_server.USER)
        monkeypatch.setenv("GIT_PASSWORD", "wrong")
        with pytest.raises(DataError, match=wants) as caught:
            digest(place)
        assert "wrong" not in str(caught.value)
        monkeypatch.setenv("GIT_PASSWORD", git_server.PASSWORD)
        with local(place) as folder:
            assert folder_md5(folder) == folder_md5(published.work / "by-git")
        with pytest.raises(DataError) as caught:
            digest(f"git+{url}/none.git#x")
        assert git_server.PASSWORD not in str(caught.value)
        assert "cannot be cloned" in str(caught.value)
    assert "GIT_TERMINAL_PROMPT" not in os.environ


def test_git_credentials_are_for_one_host_where_it_is_named(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_USERNAME", git_server.USER)
    monkeypatch.setenv("GIT_PASSWORD", git_server.PASSWORD)
    with git_server.serve(published.bare.parent) as url:
        place = f"git+{url}/bare.git@main#by-git"
        for own in ("127.0.0.1", url.removeprefix("http://")):
            monkeypatch.setenv("GIT_HOST", own)
            assert digest(place) == digest(published.work / "by-git")
        monkeypatch.setenv("GIT_HOST", "git.example.org")
        with pytest.raises(DataError, match=r"GIT_PASSWORD were not sent: GIT_HOST says that they are for git\.example\.org alone"):
            digest(place)


@pytest.mark.parametrize(
    ("url", "host", "sent"),
    [
        ("https://git.example.org/a.git", "", True),
        ("https://git.example.org:8443/a.git", "git.example.org", True),
        ("https://git.example.org:8443/a.git", "Git.example.org:8443", True),
        ("https://git.example.org:8443/a.git", "git.example.org:443", False),
        ("https://evil.example.net/git.example.org", "git.example.org", False),
        ("http://git.example.org/a.git", "", False),
        ("http://git.example.org/a.git", "git.example.org", False),
        ("http://10.0.0.1/a.git", "", False),
        ("http://localhost:3000/a.git", "", True),
        ("http://[::1]:3000/a.git", "", True),
        ("ssh://git@git.example.org/a.git", "", False),
    ],
)
def test_who_is_given_the_password(url: str, host: str, sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_PASSWORD", "s3cret")
    monkeypatch.delenv("GIT_USERNAME", raising=False)
    monkeypatch.setenv("GIT_HOST", host)
    assert reading._with_credentials(url) == (url.replace("://", "://git:s3cret@") if sent else url)


def test_store_credentials_come_from_the_environment(published: Published) -> None:
    """In a process of its own: the S3 client of this one knows its credentials."""
    code = "import sys; from magicapture.data import digest; print(digest(sys.argv[1]))"
    env = {name: value for name, value in os.environ.items() if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    command = (sys.executable, "-c", code, published.at("subjects/anna"))
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "the DVC remote wants credentials (Unable to locate credentials): set AWS_ACCESS_KEY_ID" in result.stderr


def test_a_store_that_is_down_is_said(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", str(published.bare), "clone")
    run(clone, "dvc", "remote", "modify", "main", "endpointurl", "http://127.0.0.1:9")
    run(clone, "git", "commit", "--all", "--quiet", "--message", "away")
    with pytest.raises(DataError, match="the DVC remote does not answer .*127.0.0.1"):
        digest(f"git+file://{clone}#subjects/anna")


def test_a_plain_folder_is_itself(tmp_path: Path) -> None:
    with local(tmp_path) as folder:
        assert folder == tmp_path
    assert tmp_path.is_dir()
