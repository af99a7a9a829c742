"""The method's table as Markdown, with a contact sheet: rows methods, columns pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.methods import METHODS, PAPER_PROCESSED, PROCESSED
from magicapture.artifacts import write_bytes, write_text
from magicapture.world.sheet import contact_sheet

_CELL, _COLUMNS, _TILE, _ROW = 128, 8, 128, 8
#: Measure -> head of its column.
MEASURES = {
    "csim": "CSIM",
    "likeness": "likeness",
    "style": "style",
    "aesthetic": "aesthetic",
    "face taken": "a look's face",
    "place taken": "a photo's place",
    "no face": "no face",
    "stray": "stray attention",
}
#: What is kept of an adapter's attention: pictures of its folder attention/, and over each where [V1] and [V2] look.
SHOWN = ("composed", "composed-v1", "composed-v2", "reference", "reference-v1", "reference-v2")
_MAPS = ("magicapture", "no-refocusing", "custom-diffusion")
_HEAD = ("method", *MEASURES.values(), "seconds a step", "times", "MB", "paper: CSIM", "style", "aesthetic")


def write_document(doc: Path | None, folder: Path, pictures: Sequence[Mapping[str, Path]], methods: Sequence[str], text: str) -> str:
    """The table with what belongs to it (Markdown); with ``doc`` it is written there, in place of what stands from the methods' table on.

    ``pictures``: of each pair the files of its tiles by name, from which the contact sheets are made, ``folder``/portraits.jpg with a tile
    of each and ``folder``/attention.jpg: the machine that trained a pair may be gone.
    """
    whole = [own for own in pictures if all(file.is_file() for file in own.values())]
    if whole:
        shown = [whole[i] for i in sorted({round(i) for i in np.linspace(0, len(whole) - 1, _COLUMNS)})]
        names = ["photos", "looks", *methods]
        _write_sheet(folder / "portraits.jpg", [[_tiles(own[name])[0] for own in shown] for name in names], names)
        text += f"\n\nA portrait of equal seed of each pair:\n\n![portraits of equal seeds]({folder.name}/portraits.jpg)"
        mapped = [name for name in _MAPS if name in methods]
        if mapped:
            rows = [[tile for own in shown[:4] for tile in _tiles(own[f"{name}-attention"])[:3]] for name in mapped]
            _write_sheet(folder / "attention.jpg", rows, mapped)
            text += (
                f"\n\nWhere the tokens look, of {len(shown[:4])} pairs: a portrait, over it [V1], which belongs on the head, and [V2], "
                f"which belongs on the rest:\n\n![attention maps]({folder.name}/attention.jpg)"
            )
    if doc is not None:
        head = doc.read_text().split("\n| method |")[0].rstrip() if doc.is_file() else "# The method, measured"
        write_text(doc, f"{head}\n\n{text}\n")
    return text


def _write_sheet(file: Path, rows: list[list[np.ndarray]], names: Sequence[str]) -> None:
    buffer = BytesIO()
    Image.fromarray(contact_sheet(rows, _CELL, names)).save(buffer, "JPEG", quality=90)
    write_bytes(file, buffer.getvalue())


def table(methods: Sequence[str], summary: Mapping[str, Any]) -> str:
    """Markdown: a row a method, then the processed portraits, real pictures and the untuned model, means with 95 % intervals."""
    rows = [(METHODS[name].title, name, METHODS[name].paper) for name in methods]
    rows += [
        ("MagiCapture, post-processed", PROCESSED, PAPER_PROCESSED),
        ("real: the person in the look, rendered", "real", None),
        ("untuned, told in words", "attributes", None),
        ("untuned", "base", None),
    ]
    lines = [f"| {' | '.join(_HEAD)} |", f"|{' --- |' * len(_HEAD)}"]
    for title, name, paper in rows:
        if name not in summary:
            continue
        found = summary[name]
        cells = [_shown(found[measure]) for measure in MEASURES]
        cells += [f"{found[name]:.{digits}f}" if name in found else "" for name, digits in (("seconds", 2), ("pace", 2), ("megabytes", 0))]
        cells += [f"{value:g}" for value in paper] if paper else [""] * 3
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def differences(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Markdown of ``method_rows.answers``: a row a method, and the ratios of stray attention in a sentence."""
    columns = {"csim": "CSIM", "csim times": "times", "likeness": "likeness", "likeness times": "times"}
    columns |= {name: head for name, head in MEASURES.items() if name not in columns}
    lines = [
        'MagiCapture less the other method, of the same pairs ("times": in multiples of the other\'s mean, where that is surely above 0), '
        "and its portraits after post-processing less before:",
        "",
        f"| MagiCapture less | {' | '.join(columns.values())} |",
        f"|{' --- |' * (len(columns) + 1)}",
    ]
    for name, own in found.items():
        if name != "stray":
            title = "post-processed, less before" if name == PROCESSED else METHODS[name].title
            lines.append(f"| {title} | {' | '.join(_shown(own.get(column), 3) if column in own else '' for column in columns)} |")
    if "stray" in found:
        told = ", ".join(f"{_shown(value, 1)} times for {token}" for token, value in found["stray"].items())
        lines += ["", f"Without Attention Refocusing more attention strays: {told}."]
    return "\n".join(lines)


def _shown(value: Mapping[str, Any] | None, digits: int = 2) -> str:
    """ "0.52 (0.48, 0.57)", "-" for nothing."""
    if value is None or value["mean"] is None:
        return "-"
    low, high = value["low"], value["high"]
    return f"{value['mean']:.{digits}f}" + (f" ({low:.{digits}f}, {high:.{digits}f})" if low is not None else "")


def tiles(images: Sequence[np.ndarray]) -> bytes:
    """Pictures (h, w, 3) uint8 RGB of one size, eight in a row without a gap and at most 128 px a side, as JPEG."""
    side = min(_TILE, images[0].shape[0])
    sheet = np.zeros((-(-len(images) // _ROW) * side, _ROW * side, 3), np.uint8)
    for i, image in enumerate(images):
        top, left = i // _ROW * side, i % _ROW * side
        sheet[top : top + side, left : left + side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    buffer = BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _tiles(file: Path) -> list[np.ndarray]:
    """The tiles of a sheet's first row, the first of equal seeds in all methods."""
    sheet = np.array(Image.open(file).convert("RGB"))
    side = sheet.shape[1] // _ROW
    return [sheet[:side, i * side : (i + 1) * side] for i in range(_ROW)]
