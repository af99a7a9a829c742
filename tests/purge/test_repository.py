"""Pictures in a git repository with DVC: the folder, its .dvc file and DVC's cache go; what history and the remote retain is said."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from magicapture.config import Config
from magicapture.purge import erase, find
from magicapture.references.intake import add
from tests.data import store as stores
from tests.data.fixtures import Draw
from tests.purge.people import tree


@pytest.fixture
def pictures(repository: Path, tiny: Config, draw: Draw, tmp_path: Path, sqlite: Path) -> Path:
    """Two revisions of zoraida, one of wilbert, of whose pictures one is hers too; pushed and committed."""
    for person, name in enumerate(("zoraida", "wilbert")):
        added = add("subject", name, [draw(tmp_path / "new" / name / "0.png", person, 1)], tiny, repository)
        stores.publish(repository, added.commands)
    more = add("subject", "zoraida", [draw(tmp_path / "new" / "more" / "1.png", 0, 3)], tiny, repository, extend=True)
    stores.publish(repository, more.commands)
    return repository


@pytest.mark.timeout(900)
def test_a_subject_of_the_repository(pictures: Path, store: stores.Store) -> None:
    hers, his = pictures / "subjects" / "zoraida", pictures / "subjects" / "wilbert"
    cache = pictures / ".dvc" / "cache" / "files" / "md5"
    bytes_of = {hashlib.md5(path.read_bytes()).hexdigest() for path in hers.iterdir()}
    kept = tree(his)
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 6  # three pictures and three listings
    before = tree(pictures)
    plan = find("zoraida", [], repository=pictures)
    assert tree(pictures) == before and set(plan.paths.values()) == {"photos", "DVC file", "DVC cache"}
    report = erase(plan)
    assert not hers.exists() and not hers.with_name("zoraida.dvc").exists()
    left = [path for path in cache.rglob("*") if path.is_file()]
    assert len(left) == 2 and not {path.parent.name + path.name for path in left} & bytes_of
    assert tree(his) == kept and stores.run(pictures, "dvc", "status", "subjects/wilbert.dvc")
    assert report.left == []
    said = "\n".join(f"{what}\n{remedy}" for what, remedy in report.retained)
    assert "2 commits name subjects/zoraida" in said and "git filter-repo --invert-paths --path subjects/zoraida.dvc" in said
    assert "the DVC remote 'main'" in said and "dvc gc --workspace --all-commits --cloud --remote main" in said
    assert {
        name.removeprefix("main/files/md5/").replace("/", "") for name in store.names()
    } >= bytes_of  # the remote keeps them, as is said


def test_photos_that_git_itself_holds(tmp_path: Path, sqlite: Path, draw: Draw, store: stores.Store) -> None:
    work = tmp_path / "work"
    draw(work / "photos" / "zoraida" / "0.png", 0, 1)
    stores.run(work, "git", "init", "--quiet")
    stores.run(work, "git", "add", ".")
    stores.run(work, "git", "commit", "--quiet", "--message", "photos")
    other = tmp_path / "known"
    draw(other / "x.png", 0, 1)
    report = erase(find("zoraida", [work / "photos"], [other]))
    assert not (work / "photos" / "zoraida").exists()
    assert any("holds 1 of the files themselves" in what and "--path photos/zoraida/0.png" in how for what, how in report.retained)
