"""A name in what nothing proves to be the person's: in names of files and folders, and in text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from magicapture.data.subjects import word
from magicapture.purge import manifests
from magicapture.purge.traces import TEXT, walk


def mentions(subject: str, roots: Iterable[Path], but: Iterable[Path] = ()) -> list[tuple[Path, str]]:
    """(path, "name" or "text") of what is called by the subject, or is text in which the name stands as a word of its own."""
    named, left = word(subject), set(but)
    found: dict[Path, str] = {}
    for root in roots:
        for path in walk(root):
            if path in left:
                continue
            if named.search(str(path.relative_to(root))) or (path.is_symlink() and named.search(str(path.readlink()))):
                found[path] = "name"
            elif not path.is_symlink() and named.search(_text(path)):
                found[path] = "text"
        for folder, _, _ in os.walk(root):
            path = Path(folder)
            if (
                ".git" not in path.parts
                and path != root
                and named.search(path.name)
                and not any(other.is_relative_to(path) for other in found)
            ):
                found[path] = "name"
    return sorted(found.items())


def _text(path: Path) -> str:
    """A file's text, "" of what is none. A tensor file's is its header, however long the file."""
    if not path.is_file():
        return ""
    if path.suffix == ".safetensors":
        return manifests.header(path).decode(errors="replace")
    if path.stat().st_size > TEXT:
        return ""
    with open(path, "rb") as file:
        start = file.read(8192)
        if b"\0" in start and not start.startswith(b"SQLite format 3"):
            return ""
        return (start + file.read()).decode(errors="replace")
