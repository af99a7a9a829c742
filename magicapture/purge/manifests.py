"""What files say of themselves: manifests, the metadata of tensors, the tag in pages. A stranger's may say anything; none raises here."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magicapture.artifacts import PAGE_TAG, SUBJECTS, subjects_of
from magicapture.data.subjects import UNNAMED

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # sha256 of no bytes: of every empty file there is
HEADER = 1 << 20  # no longer is the header of any tensor file written here, nor what comes before a page's tag
TAG = re.compile(rf'<meta name="{PAGE_TAG}" content="([^"]*)">')
Manifest = Mapping[str, Any]


def read(path: Path) -> dict[str, Any]:
    """An artifact's manifest with ``schema``, ``lineage``, ``files``, ``subjects``, ``config``, ``made``, ``content``, each of its type; {}
    for another tool's, and for one that cannot be read."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict) or not isinstance(data.get("schema"), str) or not ("files" in data or SUBJECTS in data):
        return {}
    files, whose = data.get("files"), _people(data.get(SUBJECTS) or {})
    if whose is None or not isinstance(files or {}, dict) or not all(isinstance(digest, str) for digest in (files or {}).values()):
        return {}
    parts: dict[str, Any] = {name: data.get(name) if isinstance(data.get(name), dict) else {} for name in ("config", "made", "content")}
    return {"schema": data["schema"], "lineage": str(data.get("lineage") or ""), "files": files or {}, SUBJECTS: whose, **parts}


def header(path: Path) -> bytes:
    """The header of a safetensors file, as JSON; of one longer than any written here the beginning."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(min(length, HEADER))


def tensor_people(path: Path) -> dict[str, list[str]] | None:
    """Whose a safetensors file says that it is (:func:`subjects_of`), one cut off too: what a killed writer left has its header first.

    None for a file that does not say.
    """
    try:
        return _people(json.loads(json.loads(header(path))["__metadata__"][SUBJECTS]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def page_people(path: Path) -> dict[str, list[str]]:
    """Whose pictures a page or model card of MagiCapture's holds (``artifacts.page_tag``); {} for any other file."""
    if path.suffix.lower() not in (".html", ".htm", ".md"):
        return {}
    try:
        with open(path, "rb") as file:
            found = TAG.search(file.read(HEADER).decode(errors="replace"))
        return (_people(json.loads(html.unescape(found[1]))) if found else None) or {}
    except (OSError, ValueError, RecursionError):
        return {}


def unrecorded(manifest: Manifest, kind: str = "") -> bool:
    """Whether an artifact (of a kind) says nothing of whose it is: written before names were recorded, or made of such a one."""
    return not manifest[SUBJECTS] and (not kind or manifest["schema"].startswith(f"{kind}/"))


def whose(manifest: Manifest) -> dict[str, list[str]]:
    """``artifacts.subjects_of``; of an older manifest by its knobs and its concepts."""
    if not unrecorded(manifest):
        return subjects_of(manifest)
    people: dict[str, list[str]] = {}
    for item in sources(manifest):
        people.setdefault(str(item.get("concept") or ""), []).append(item["sha256"])
    promotion = manifest["config"].get("promotion")
    name = promotion.get("subject", UNNAMED) if isinstance(promotion, dict) else UNNAMED
    if isinstance(name, str) and name != UNNAMED:
        people.setdefault(name, [])
    return {name: photos for name, photos in people.items() if name}


def sources(manifest: Manifest) -> list[dict[str, Any]]:
    """The photos that a prepared set uses, as far as it tells their ``sha256``; what was given and set aside is not among them."""
    prepared = manifest["schema"].startswith("prepared/")
    return [item for item in _entries(manifest, "source") if isinstance(item.get("sha256"), str) and item["sha256"]] if prepared else []


def items(manifest: Manifest) -> list[dict[str, Any]]:
    """The entries of a set of pictures."""
    return _entries(manifest, "items")


def _entries(manifest: Manifest, name: str) -> list[dict[str, Any]]:
    found = manifest["content"].get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _people(data: Any) -> dict[str, list[str]] | None:
    """Name -> sha256 of photos, without that of empty files, which older manifests list; None for anything else."""
    if not isinstance(data, dict) or not all(isinstance(own, list) and all(isinstance(one, str) for one in own) for own in data.values()):
        return None
    return {str(name): [digest for digest in own if digest != EMPTY] for name, own in data.items()}
