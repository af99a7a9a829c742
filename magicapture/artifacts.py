"""Artifacts: folders with a ``manifest.json``, written aside and renamed, so that a reader never sees half of one.

``manifest.json``: ``schema`` (kind and version, "prepared/1"), ``files`` (relative path -> sha256), ``lineage`` (key that
names data + config + code), ``config`` (the knobs used), ``made`` (unique id and time of this
very making), ``subjects`` (whose it is: name -> sha256 of that person's photos), ``content`` (whatever the kind adds).
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
SUBJECTS = "subjects"  # whose it is: in manifests, in the metadata of cached tensors, among the tags of MLflow
PAGE_TAG = "magicapture-subjects"  # whose pictures a page holds that lies in no artifact
DRAFT = "draft/1"  # schema of an artifact that is being written, or that a killed writer left
USAGE = "usage.jsonl"  # what a pipeline task used of the machine, left beside the manifest: of the making, not of the content


class ArtifactError(ValueError):
    """An artifact that is missing, damaged or of another kind: names folder, what was expected and what to do."""


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: aside, fsync, rename."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: aside, fsync, rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _beside(path)
    try:
        with open(aside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, keys in insertion order, two spaces deep."""
    write_text(path, json.dumps(data, indent=2) + "\n")


@contextmanager
def writing(
    out: str | Path,
    schema: str,
    *,
    lineage: str = "",
    config: Mapping[str, Any] | None = None,
    subjects: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Draft]:
    """Fill ``draft.path`` (a folder beside ``out``); on leaving, the manifest is written and the folder renamed to ``out``.

    An ``out`` that exists is replaced (see :func:`check_out`), and only once the new folder is complete and on the disk. On an exception
    nothing is left behind and ``out`` is what it was. A writer killed in the moment of replacing leaves the old folder beside it, as
    ``.NAME.old.*/old``. Raises ArtifactError.
    ``subjects``: whose it is, name -> sha256 of that person's photos (:func:`subjects_of`), by which `magicapture purge` finds it again;
    so it stands in the draft from the first, for a writer may be killed.
    """
    out = Path(out)
    check_out(out, schema.partition("/")[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = _beside(out)
    folder.mkdir()
    draft, manifest_file = Draft(folder), folder / MANIFEST
    whose = {name: list(photos) for name, photos in (subjects or {}).items()}
    try:
        write_json(manifest_file, {"schema": DRAFT, SUBJECTS: whose})
        yield draft
        written = [path for path in sorted(folder.rglob("*")) if path != manifest_file]
        files = {str(path.relative_to(folder)): sha256_file(path) for path in written if path.is_file()}
        manifest = {
            "schema": schema,
            SUBJECTS: whose,
            "lineage": lineage,
            "files": files,
            "config": dict(config or {}),
            "made": {"id": uuid.uuid4().hex, "time": time.time()},
            "content": draft.content,
        }
        write_json(manifest_file, manifest)
        for path in (*written, folder):
            sync(path)
        if out.exists():
            _replace(out, folder)
        else:
            os.rename(folder, out)
        sync(out.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def check_out(out: str | Path, kind: str) -> None:
    """Nothing but an artifact of ``kind`` is replaced by one: raises ArtifactError where ``out`` is anything else that holds something."""
    out = Path(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        read_manifest(out, kind)
    except ArtifactError:
        raise ArtifactError(
            f"{out.absolute()} exists and is no {kind} artifact of MagiCapture; it is left as it is: name a new folder, or remove it"
        ) from None


def _beside(path: Path) -> Path:
    """A new name in the folder of a file or artifact, for it to be written under; with the rights that the user's umask gives."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}"


def is_at(path: Path, opened: int) -> bool:
    """Whether the file that is open under a descriptor is the one that others would open there: a lock's may have been taken away."""
    try:
        return os.path.samestat(os.fstat(opened), path.stat())
    except FileNotFoundError:
        return False


def legible(text: str) -> str:
    """Text with names of files in it as every page, manifest and terminal can hold it: of bytes that are no UTF-8 their escapes."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(out: Path, folder: Path) -> None:
    """Put a folder in the place of another, which comes back if that fails."""
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old."))
    try:
        os.rename(out, aside / "old")
        os.rename(folder, out)
    except BaseException:
        if not out.exists():
            os.rename(aside / "old", out)
        shutil.rmtree(aside)
        raise
    shutil.rmtree(aside)


class Draft:
    """An artifact being written: ``path`` is its folder, ``content`` goes into the manifest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {}


def kind_of(folder: str | Path) -> str:
    """The kind of artifact that a folder holds, the part of ``schema`` before the slash; "" where it holds none. Raises ArtifactError."""
    path = Path(folder) / MANIFEST
    return str(_manifest(path).get("schema", "")).partition("/")[0] if path.is_file() else ""


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:  # neither JSON, nor text at all
        raise ArtifactError(f"{path} is damaged ({error}); run the stage that writes it again, or restore the file") from None
    if not isinstance(manifest, dict):
        raise ArtifactError(f"{path} holds a {type(manifest).__name__}, expected a manifest of MagiCapture; name another folder")
    return manifest


def read_manifest(folder: str | Path, kind: str, *, verify: bool = False) -> dict[str, Any]:
    """The manifest of an artifact of ``kind`` (the part of ``schema`` before the slash).

    ``verify`` also checks every file's hash. Raises ArtifactError.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder}: no {MANIFEST}; expected a {kind!r} artifact (run the stage that writes it)")
    manifest = _manifest(path)
    found = str(manifest.get("schema", ""))
    if found.partition("/")[0] != kind:
        raise ArtifactError(f"{folder}: holds {found!r}, expected {kind!r}; were two stages' folders mixed up?")
    if verify:
        for name, digest in manifest["files"].items():
            file = Path(folder) / name
            if not file.is_file():
                raise ArtifactError(f"{folder}: {name} is named in {MANIFEST} but missing; write the artifact again")
            if sha256_file(file) != digest:
                raise ArtifactError(f"{folder}: {name} differs from its recorded sha256; write the artifact again")
    return manifest


def within(folder: str | Path, name: str) -> Path:
    """The path of a file that a manifest names. Raises ArtifactError for one that leads out of the folder."""
    path = Path(folder) / name
    if not path.resolve().is_relative_to(Path(folder).resolve()):
        raise ArtifactError(f"{folder}: its {MANIFEST} names {name!r}, which is not in the folder; take the artifact from its maker")
    return path


def subjects_of(*manifests: Mapping[str, Any]) -> dict[str, list[str]]:
    """Whose the artifacts are, all of them together: name -> sha256 of the photos that were given under it."""
    whose: dict[str, list[str]] = {}
    for manifest in manifests:
        for name, photos in (manifest.get(SUBJECTS) or {}).items():
            whose[name] = sorted({*whose.get(name, ()), *photos})
    return whose


def page_tag(whose: Mapping[str, Sequence[str]]) -> str:
    """The tag for an HTML page's head that says whose pictures are in it, as :func:`subjects_of` does: by it `magicapture purge` finds the
    page, wherever it lies. "" for nobody's."""
    return f'<meta name="{PAGE_TAG}" content="{html.escape(json.dumps(whose))}">' if whose else ""


def content_hash(folder: str | Path) -> str:
    """16 hex digits over names and contents of all files below a folder (its manifest and usage left out)."""
    folder = Path(folder)
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (MANIFEST, USAGE):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + sha256_file(path).encode())
    return digest.hexdigest()[:16]


def lineage_key(*parts: str) -> str:
    """16 hex digits that name a combination of data, configuration and code."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
