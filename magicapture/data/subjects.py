"""Whose photos they are: the names by which all that is made of them is found again (``magicapture purge``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from magicapture.artifacts import sha256_file
from magicapture.data.address import Address, is_address

UNNAMED = "subject"  # promotion.subject as long as nobody has set it
#: How files of pictures and films start: JPEG, PNG, GIF, TIFF and raw ones made of it, WEBP, BMP; HEIC, AVIF, MOV, MP4; JPEG XL and 2000.
PHOTO = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|BM.{4}\0{4}|.{4}ftyp|\xff\x0a|\0\0\0\x0c(?:JXL |jP  )", re.DOTALL
)


def folder_name(place: str | Path) -> str:
    """What a folder of photos, or the folder that an address names, is called."""
    return Path(Address.parse(str(place)).folder if is_address(place) else place).resolve().name


def folder_concepts(place: str | Path, files: Collection[str] = ()) -> list[str]:
    """The sub-folders that hold photos of a person each, or [""]: then the folder is of one. ``files``: the paths below an address."""
    if is_address(place):
        return sorted({name.partition("/")[0] for name in files if "/" in name}) or [""]
    folders = [path for path in Path(place).iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(path.name for path in folders if any(path.iterdir())) or [""]


def name_subjects(photos: Mapping[str, Sequence[str]], folder: str, subject: str = UNNAMED) -> dict[str, list[str]]:
    """Name -> sha256 of the photos given under it.

    ``photos``: the same by concept. Several are called by their own names, a single one ("") by ``promotion.subject`` where somebody has
    set it, else as its ``folder``. Where it is set, it stands for all of several together, too.
    """
    chosen = [] if subject == UNNAMED else [subject]
    whose: dict[str, list[str]] = {}
    for concept, own in photos.items():
        for name in dict.fromkeys([concept, *chosen] if concept else chosen or [folder]):
            whose[name] = sorted({*whose.get(name, ()), *own})
    return whose


def word(name: str) -> re.Pattern[str]:
    """The name as a word of its own, in letters of any size; what is joined to it by - or _ is another word."""
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", re.IGNORECASE)


def is_photo(path: Path) -> bool:
    """Whether a file is a picture or a film by how it starts, damaged and unread kinds too; False for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return PHOTO.match(file.read(16)) is not None
    except OSError:
        return False


def photo_hashes(paths: Iterable[Path]) -> list[str]:
    """sha256, sorted, of the photos among files, of those that cannot be used too: they are of this person all the same.

    What is no picture (Thumbs.db, an empty file) is left out, since it is in other people's folders likewise and would join them; so is
    what cannot be read.
    """
    found = set()
    for path in paths:
        with suppress(OSError):
            if path.is_file() and is_photo(path):
                found.add(sha256_file(path))
    return sorted(found)
