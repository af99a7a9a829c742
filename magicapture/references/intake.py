"""Pictures of a subject or a style into the repository of data: judged as preprocessing judges them, and their pixels alone kept."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from magicapture.artifacts import legible, write_bytes, write_text
from magicapture.config import Config
from magicapture.data import DataError, Repository
from magicapture.faces.concepts import NAME
from magicapture.faces.prepared import SetName
from magicapture.references.decode import DESCRIPTION, describe, scan, stripped
from magicapture.references.errors import ReferencesError, SetAside
from magicapture.references.prepare import WHAT, Preparer

Kind = Literal["subject", "style"]
FOLDERS: dict[Kind, str] = {"subject": "subjects", "style": "styles"}
SETS: dict[Kind, SetName] = {"subject": "source", "style": "reference"}
LONGEST = 64


@dataclass(frozen=True)
class Added:
    """What became of the pictures given.

    ``folder`` in the repository ``root``; ``kept``: file in it -> picture it was made of; ``set_aside``: [(picture, reason)]; ``warnings``;
    ``commands`` that a person gives next, to publish the addition.
    """

    root: Path
    folder: str
    kept: dict[str, Path]
    set_aside: list[tuple[str, str]]
    warnings: list[str]
    commands: list[str]


def add(
    kind: Kind, name: str, pictures: Sequence[Path], config: Config, repository: str | Path = ".", *, extend: bool = False, remote: str = ""
) -> Added:
    """Judge the pictures (files, and folders of files), write what is usable as PNG without metadata, and let DVC track it.

    The pixels are what preprocessing sees: upright by EXIF, in sRGB, on white (or with their transparency); nothing else of a file is
    kept, not its name either. A ``description.txt`` in a folder given goes along. With ``extend`` pictures come to those that are there,
    which stay, and are judged together with them. Nothing is left behind on an error: DataError for a name, repository or remote that
    will not do, ReferencesError when no new picture can be used.
    """
    _check_name(kind, name)
    found = Repository(repository)
    remote = found.remote(remote)
    folder = f"{FOLDERS[kind]}/{name}"
    paths = _paths(pictures, WHAT[SETS[kind]])
    try:
        with found.staging() as staging:
            there = _there(found, folder, extend)
            kept, set_aside, warnings = _judge(SETS[kind], paths, there, config)
            filled = staging / name
            filled.mkdir()
            for path in there:
                write_bytes(filled / path.name, path.read_bytes())
            first = max((int(path.stem) for path in there if path.stem.isdecimal()), default=0) + 1
            files = {f"{number}.png": path for number, path in enumerate(kept, first)}
            for file, path in files.items():
                write_bytes(filled / file, _pixels(path, config.preprocess.max_pixels))
            words = next(filter(None, (describe(path) for path in (*pictures, found.root / folder) if path.is_dir())), "")
            if words:
                write_text(filled / DESCRIPTION, words + "\n")
            found.add(folder, filled, remote)
    except OSError as error:
        full = "; make room on that disk" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        raise DataError(
            f"{folder} could not be written, nothing was added: {error.strerror} ({error.filename or found.root}){full}"
        ) from error
    return Added(found.root, folder, files, set_aside, warnings, _commands(found, kind, name, folder, extend))


def _check_name(kind: Kind, name: str) -> None:
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise DataError(
            f"{kind} {name!r}: it is called by this name in prompts, files and git; expected letters, digits, - and _, at most {LONGEST}, "
            "beginning with a letter or digit (git keeps names for ever: one that says nothing of the person is best)"
        )


def _paths(pictures: Sequence[Path], what: str) -> list[Path]:
    """The files given, folders taken apart. Raises ReferencesError."""
    for path in pictures:
        if not path.exists():
            raise ReferencesError(f"{what}: {path} does not exist; give pictures, or folders of pictures")
    return list(dict.fromkeys(path for given in pictures for path in (scan(given, what) if given.is_dir() else [given])))


def _there(repository: Repository, folder: str, extend: bool) -> list[Path]:
    """The pictures that are to be extended; none for a new name. Raises DataError where the name and ``extend`` do not go together."""
    path = repository.root / folder
    tracked = repository.tracked(folder)
    if not tracked:
        if extend:
            raise DataError(f"{folder}: nothing to extend, DVC tracks no such folder in {repository.root}; leave --extend out")
        if path.exists():
            raise DataError(
                f"{folder} is there, but DVC does not track it (an addition cut off, or pictures laid there by hand): move it "
                "elsewhere and give it as pictures, or remove it"
            )
        return []
    if tracked != folder:
        raise DataError(f"{tracked} is there already, and {folder} is the same word to a text encoder; take another name")
    if not extend:
        raise DataError(f"{folder} is there already: give --extend to put pictures beside those that are there, or take another name")
    repository.check_unchanged(folder)
    return sorted(
        (p for p in path.iterdir() if p.is_file() and p.name != DESCRIPTION), key=lambda p: [*map(_number, re.split(r"(\d+)", p.name))]
    )


def _number(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (0, text)


def _judge(
    name: SetName, new: Sequence[Path], there: Sequence[Path], config: Config
) -> tuple[list[Path], list[tuple[str, str]], list[str]]:
    """Of the new pictures those that can be used, beside those that are there; what was set aside, with reasons; warnings."""
    preparer = Preparer(config)
    labels = [*(f"{path.name} (there already)" for path in there), *map(str, new)]
    candidates = preparer.prepare(name, [*there, *new], labels=labels)
    usable = {candidate.picture.name for candidate in candidates}
    kept = [path for path in new if legible(str(path)) in usable]
    set_aside = [(aside.name, aside.reason) for aside in preparer.aside]
    if not kept:
        listed = "".join(f"\n  {label}: {reason}" for label, reason in set_aside)
        raise ReferencesError(f"{WHAT[name]}: none of the {len(new)} new pictures can be used. Set aside:{listed}")
    return kept, set_aside, preparer.warnings


def _pixels(path: Path, max_pixels: int) -> bytes:
    try:
        return stripped(path, max_pixels)
    except SetAside as error:
        raise ReferencesError(f"{path} changed while it was added: it {error}") from error


def _commands(repository: Repository, kind: Kind, name: str, folder: str, extend: bool) -> list[str]:
    files = repository.changed(f"{folder}.dvc", f"{FOLDERS[kind]}/.gitignore", ".dvc/config")
    return [
        f"dvc push {folder}.dvc",
        f"git add {' '.join(files)}",
        f'git commit -m "Data: {kind} {name}{", more pictures" if extend else ""}"',
        "git push",
    ]
