"""Whose artifacts are, told by manifests alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from magicapture.artifacts import writing
from magicapture.purge import traces


def make(folder: Path, whose: dict[str, list[str]], text: str = "") -> None:
    with writing(folder, "images/1", subjects=whose) as draft:
        (draft.path / "0000.png").write_text(text or str(folder))


def test_people_who_share_a_name_are_told_apart(tmp_path: Path) -> None:
    """By their photos: sets of one person have some in common, if only through a third."""
    for name, photos in {"a": ["1", "2"], "b": ["3", "4"], "c": ["2", "3"], "d": ["9"]}.items():
        make(tmp_path / name, {"person": photos})
    make(tmp_path / "e", {"other": ["2"]})  # her photo under another name
    make(tmp_path / "f", {"other": ["7"]})
    found = traces.find("person", [tmp_path])
    assert {path.name for path in found.found} == {"a", "b", "c", "d", "e"} and found.others == {"other"}
    assert sorted(map(sorted, found.people)) == [["1", "2", "3", "4"], ["9"]]


def test_a_writer_killed_within_a_file_of_latents(tmp_path: Path) -> None:
    save_file({"mean": np.zeros(1000, np.float32)}, tmp_path / "whole", {"subjects": '{"anna": ["1"]}'})
    (tmp_path / ".key.safetensors.x1y2").write_bytes((tmp_path / "whole").read_bytes()[:200])
    (tmp_path / "whole").unlink()
    (tmp_path / ".other.safetensors.x1y2").write_bytes(b"\x10\0\0")
    assert {path.name for path in traces.find("anna", [tmp_path]).found} == {".key.safetensors.x1y2"}


def test_links_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere" / "a", {"anna": ["1"]})
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "root" / "pipe")  # would block whoever reads it
    assert traces.find("anna", [tmp_path / "root"]).found == {}
    assert [path.name for path in traces.walk(tmp_path / "root")] == ["pipe", "link"]


@given(st.text(alphabet="ab1 -_.", max_size=8), st.text(alphabet="ab1 -_.", max_size=8))
def test_a_name_is_a_word_of_its_own(before: str, after: str) -> None:
    text = f"{before}anna{after}"
    alone = not before[-1:].isalnum() and not after[:1].isalnum()
    assert bool(traces.word("anna").search(text)) is alone
