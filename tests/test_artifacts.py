"""Artifacts: complete or absent, and damage is noticed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from magicapture import artifacts
from magicapture.artifacts import (
    DRAFT,
    MANIFEST,
    ArtifactError,
    content_hash,
    kind_of,
    lineage_key,
    read_manifest,
    sha256_file,
    subjects_of,
    write_bytes,
    write_json,
    writing,
)


def _write(out: Path, text: str = "one", schema: str = "tokens/1") -> None:
    with writing(out, schema, lineage="abc", config={"steps": 3}) as draft:
        (draft.path / "sub").mkdir()
        (draft.path / "sub" / "file.txt").write_text(text)
        draft.content["hello"] = text


def test_manifest_tells_what_was_written(tmp_path: Path) -> None:
    _write(tmp_path / "deep" / "tokens")
    manifest = read_manifest(tmp_path / "deep" / "tokens", "tokens", verify=True)
    assert (manifest["schema"], manifest["lineage"], manifest["config"], manifest["content"]) == (
        "tokens/1",
        "abc",
        {"steps": 3},
        {"hello": "one"},
    )
    assert manifest["files"] == {"sub/file.txt": sha256_file(tmp_path / "deep" / "tokens" / "sub" / "file.txt")}
    assert len(manifest["made"]["id"]) == 32
    assert abs(manifest["made"]["time"] - time.time()) < 60


def test_writing_again_replaces_the_folder_and_makes_a_new_id(tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    _write(out)
    (out / "left-over.txt").write_text("from a person")
    first = read_manifest(out, "tokens")["made"]["id"]
    _write(out, "two")
    assert read_manifest(out, "tokens", verify=True)["made"]["id"] != first
    assert sorted(path.name for path in out.iterdir()) == [MANIFEST, "sub"]
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_nothing_but_an_artifact_of_the_kind_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "site" / "images").mkdir(parents=True)
    (tmp_path / "site" / "images" / "logo.png").write_text("mine")
    _write(tmp_path / "adapter", schema="adapter/1")
    _write(tmp_path / "damaged")
    (tmp_path / "damaged" / MANIFEST).write_text("{")
    (tmp_path / "file").write_text("mine")
    for name in ("site/images", "adapter", "damaged", "file", "."):
        with pytest.raises(ArtifactError, match="exists and is no tokens artifact of MagiCapture; it is left as it is"):
            _write(tmp_path / name)
    assert (tmp_path / "site" / "images" / "logo.png").read_text() == (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "damaged", "file", "site"]
    (tmp_path / "empty").mkdir()
    _write(tmp_path / "empty")


def test_rights_are_what_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        _write(tmp_path / "tokens")
    finally:
        os.umask(before)
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "tokens" / MANIFEST).stat().st_mode & 0o777 == 0o600


def test_an_artifact_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut could leave a manifest beside files that are empty."""
    done: list[str] = []
    sync, rename = artifacts.sync, os.rename

    def syncing(path: Path) -> None:
        sync(path)
        done.append(path.name if path.name in ("sub", "file.txt") else "folder" if path != tmp_path else "parent")

    monkeypatch.setattr(artifacts, "sync", syncing)
    monkeypatch.setattr(os, "rename", lambda *names: (rename(*names), done.append("renamed")))
    _write(tmp_path / "tokens")
    assert done == ["sub", "file.txt", "folder", "renamed", "parent"]


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    _write(out)
    with pytest.raises(RuntimeError, match="half way"), writing(out, "tokens/1") as draft:
        (draft.path / "new.txt").write_text("new")
        raise RuntimeError("half way")
    assert read_manifest(out, "tokens", verify=True)["content"] == {"hello": "one"}
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_what_was_there_comes_back_where_it_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved aside already, as when the disk goes read-only between the two renames."""
    out, rename = tmp_path / "tokens", os.rename
    _write(out)

    def failing(source: Path, target: Path) -> None:
        if target == out and source.name != "old":
            raise OSError("read-only now")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="read-only now"):
        _write(out, "two")
    assert read_manifest(out, "tokens", verify=True)["content"] == {"hello": "one"}
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_a_killed_writer_leaves_no_half_artifact(tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    _write(out)
    code = (
        "import sys, time\nfrom magicapture.artifacts import writing\n"
        "with writing(sys.argv[1], 'tokens/1') as draft:\n"
        "    (draft.path / 'new.txt').write_text('new')\n    print('written', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert read_manifest(out, "tokens", verify=True)["content"] == {"hello": "one"}


def test_damage_and_mix_ups_are_named(tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    with pytest.raises(ArtifactError, match=r"no manifest\.json; expected a 'tokens' artifact"):
        read_manifest(out, "tokens")
    _write(out)
    with pytest.raises(ArtifactError, match="holds 'tokens/1', expected 'adapter'"):
        read_manifest(out, "adapter")
    (out / "sub" / "file.txt").write_text("changed")
    assert read_manifest(out, "tokens")["content"] == {"hello": "one"}  # hashes are checked only when asked for
    with pytest.raises(ArtifactError, match=r"sub/file\.txt differs from its recorded sha256"):
        read_manifest(out, "tokens", verify=True)
    (out / "sub" / "file.txt").unlink()
    with pytest.raises(ArtifactError, match=r"sub/file\.txt is named in manifest\.json but missing"):
        read_manifest(out, "tokens", verify=True)


def test_content_hash_sees_names_and_bytes_but_no_manifest(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    _write(one)
    _write(two)
    assert content_hash(one) == content_hash(two)  # made.id and time differ
    (two / "sub" / "file.txt").rename(two / "sub" / "other.txt")
    assert content_hash(one) != content_hash(two)
    _write(two, "changed")
    assert content_hash(one) != content_hash(two)


def test_single_files_are_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_json(path, {"b": 1, "a": [2]})
    assert json.loads(path.read_text()) == {"b": 1, "a": [2]}
    assert path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(TypeError):
        write_bytes(path, "text is not bytes")  # type: ignore[arg-type]
    assert json.loads(path.read_text()) == {"b": 1, "a": [2]}
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_lineage_key_keeps_its_parts_apart() -> None:
    assert lineage_key("ab", "c") != lineage_key("a", "bc")
    assert lineage_key("a", "b") == lineage_key("a", "b")


def test_whose_it_is_stands_in_the_draft_from_the_first(tmp_path: Path) -> None:
    """A writer may be killed: what it leaves has to be found again, and is no artifact."""
    with writing(tmp_path / "out", "tokens/1", subjects={"anna": ["b", "a"]}) as draft:
        left = json.loads((draft.path / MANIFEST).read_text())
        assert left == {"schema": DRAFT, "subjects": {"anna": ["b", "a"]}}
        with pytest.raises(ArtifactError, match="holds 'draft/1'"):
            read_manifest(draft.path, "tokens")
    manifest = read_manifest(tmp_path / "out", "tokens", verify=True)
    assert manifest["files"] == {}
    assert subjects_of(manifest, {"subjects": {"anna": ["c"], "ben": []}}, {}) == {"anna": ["a", "b", "c"], "ben": []}


@pytest.mark.parametrize(("text", "said"), [('{"schema": "tok', "is damaged"), ("[1]", "holds a list, expected a manifest")])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    for act in (lambda: read_manifest(tmp_path, "tokens"), lambda: kind_of(tmp_path)):
        with pytest.raises(ArtifactError, match=said):
            act()


def test_the_kind_of_a_folder(tmp_path: Path) -> None:
    _write(tmp_path / "tokens")
    assert (kind_of(tmp_path / "tokens"), kind_of(tmp_path), kind_of(tmp_path / "none")) == ("tokens", "", "")
