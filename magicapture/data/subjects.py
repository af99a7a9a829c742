"""Whose photos they are: the names by which all that is made of them is found again (``magicapture purge``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from magicapture.data.address import Address, is_address

UNNAMED = "subject"  # promotion.subject as long as nobody has set it


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
