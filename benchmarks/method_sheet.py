"""The method's table as Markdown, with a contact sheet: rows methods, columns pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from magicapture.artifacts import MANIFEST, write_bytes, write_text
from magicapture.faces.prepared import PreparedSet
from magicapture.world.sheet import contact_sheet

if TYPE_CHECKING:
    from benchmarks.method import Case

_CELL, _COLUMNS = 128, 8
_HEAD = (
    "method",
    "CSIM",
    "likeness",
    "style",
    "aesthetic",
    "collapsed",
    "stray attention",
    "s a step",
    "MB",
    "paper: CSIM",
    "style",
    "aesthetic",
)


def write_document(
    doc: Path | None, out: Path, cases: Sequence[Case], methods: Sequence[str], summary: Mapping[str, Any], wanted: int
) -> str:
    """The table (Markdown) of ``cases``, of ``wanted`` in all; with ``doc`` it is written there, in place of what stands from the methods'
    table on, and the sheet beside it."""
    people, looks = (len({getattr(case, what) for case in cases}) for what in ("person", "look"))
    text = f"{table(methods, summary)}\n\n{len(cases)} of {wanted} pairs: {people} people, {looks} looks."
    folder = doc.parent / doc.stem if doc is not None else out
    file = folder / "portraits.jpg"
    shown = [case for case in cases if all((case.folder / name / "evaluation" / MANIFEST).is_file() for name in methods)]
    if shown:  # else the sheet of the machine that trained them stays
        buffer = BytesIO()
        Image.fromarray(contact_sheet(*_pictures(shown[:_COLUMNS], methods))).save(buffer, "JPEG", quality=90)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(file, buffer.getvalue())
    if doc is not None:
        head = doc.read_text().split("\n| method |")[0].rstrip() if doc.is_file() else "# The method, measured"
        write_text(doc, f"{head}\n\n{text}\n\n![portraits]({doc.stem}/{file.name})\n")
    return text


def table(methods: Sequence[str], summary: Mapping[str, Any]) -> str:
    """Markdown: a row a method, then the processed portraits and the untuned model, means with 95 % intervals."""
    from benchmarks.method import METHODS, PAPER_PROCESSED, PROCESSED

    rows = [(METHODS[name].title, name, METHODS[name].paper) for name in methods]
    rows += [
        ("MagiCapture, post-processed", PROCESSED, PAPER_PROCESSED),
        ("untuned, told in words", "attributes", None),
        ("untuned", "base", None),
    ]
    lines = [f"| {' | '.join(_HEAD)} |", f"|{' --- |' * len(_HEAD)}"]
    for title, name, paper in rows:
        if name not in summary:
            continue
        found = summary[name]
        cells = [_shown(found[measure]) for measure in ("csim", "likeness", "style", "aesthetic", "collapsed", "stray")]
        cells += [f"{found['seconds']:.2f}" if "seconds" in found else "", f"{found['megabytes']:.0f}" if "megabytes" in found else ""]
        cells += [f"{value:g}" for value in paper] if paper else [""] * 3
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "-"
    return f"{value['mean']:.2f}" + (f" ({value['low']:.2f}, {value['high']:.2f})" if value["low"] is not None else "")


def _pictures(cases: Sequence[Case], methods: Sequence[str]) -> tuple[list[list[np.ndarray]], int, list[str]]:
    """Photo, look, and the first portrait (equal seeds) of every method for each case, with the rows' names."""
    sets = [PreparedSet.load(case.folder / "prepared") for case in cases]
    rows = [[data.source[0].image() for data in sets], [data.reference[0].image() for data in sets]]
    labels = ["photo", "look"]
    for name in methods:
        rows.append([_first(case.folder / name / "evaluation") for case in cases])
        labels.append(name)
    return rows, _CELL, labels


def _first(folder: Path) -> np.ndarray:
    items = json.loads((folder / "scores.json").read_text())["items"]
    first = min((item for item in items if item["kind"] == "portrait"), key=lambda item: item["seed"])
    return np.array(Image.open(folder / first["file"]).convert("RGB"))
