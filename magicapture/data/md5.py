"""The md5 that DVC gives a file or a folder, so that a folder and the revision it came from have the same digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def folder_md5(folder: Path) -> str:
    """The md5 DVC 3 gives a directory: over the JSON list of its files' md5 and relative paths, sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return listing_md5({path.relative_to(folder).as_posix(): file_md5(path) for path in files})


def file_md5(path: Path) -> str:
    """Hex md5 of a file's bytes (DVC's name for it; nothing here relies on it against forgery)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def bytes_md5(data: bytes) -> str:
    """Hex md5 of bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def listing_md5(files: Mapping[str, str]) -> str:
    """Of relative paths and the md5 of each: see :func:`folder_md5`."""
    entries = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return bytes_md5(json.dumps(entries, sort_keys=True).encode()) + ".dir"
