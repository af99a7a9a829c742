"""The finished rows of the method's table, one for each pair and method: kept in a file, and summed up."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.method_scores import collapsed
from benchmarks.method_sheet import MEASURES, tiles
from benchmarks.methods import METHODS, PROCESSED, Case, digest
from magicapture.artifacts import write_bytes, write_text
from magicapture.config import Config
from magicapture.faces.prepared import PreparedSet
from magicapture.scoring.statistics import interval


class Results:
    """Finished rows, a line each in a file whose first line says of which options and pack they are; pairs by their folder below ``out``.

    A row belongs to its method's knobs; those of other knobs stay in the file and are not seen. Raises SystemExit for a file of other
    options or another pack.
    """

    def __init__(self, path: Path, out: Path, configs: Mapping[str, Config]) -> None:
        self.path, self.out, self.added, self._lock = path, out, 0, threading.Lock()
        self.digests = {name: digest(config) for name, config in configs.items()}
        mine = {name: value for name, value in json.loads((out / "options.json").read_text()).items() if name != "config"}
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"options": mine}) + "\n")
        first, *lines = path.read_text().splitlines()
        if json.loads(first) != {"options": mine}:
            raise SystemExit(f"{path} holds results of other options or another pack; remove it, or name another document")
        rows = [row for row in map(json.loads, lines) if row["config"] == self.digests.get(row["method"])]
        self._rows = {(row["case"], row["method"]): row for row in rows}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of the methods asked for."""
        return list(self._rows.values())

    def has(self, case: Path, method: str) -> bool:
        """Whether that pair's row is there."""
        return (str(case.relative_to(self.out)), method) in self._rows

    def add(self, row: dict[str, Any]) -> int:
        """Keep a finished row; returns how many were added since the start."""
        row = json.loads(json.dumps(row | {"case": str(Path(row["case"]).relative_to(self.out))}), parse_float=lambda x: round(float(x), 5))
        with self._lock:
            self._rows[row["case"], row["method"]] = row
            write_text(self.path, self.path.read_text() + json.dumps(row) + "\n")
            self.added += 1
            return self.added

    def picture(self, case: Path, name: str) -> Path:
        """Where a pair's pictures are kept as one sheet of tiles: all portraits of a method, or its "photos" or "looks"."""
        return self.path.parent / case.relative_to(self.out) / f"{name}.jpg"

    def keep_pictures(self, case: Case, name: str, made: Path) -> None:
        """Beside the rows, for the contact sheet: a machine's pictures are lost with it."""
        items = json.loads((made / "evaluation" / "scores.json").read_text())["items"]
        portraits = sorted((item for item in items if item["kind"] == "portrait"), key=lambda item: item["seed"])
        images = [np.array(Image.open(made / "evaluation" / item["file"]).convert("RGB")) for item in portraits]
        write_bytes(self.picture(case.folder, name), tiles(images))
        data = PreparedSet.load(case.folder / "prepared")
        for given, items in (("photos", data.source), ("looks", data.reference)):
            if not self.picture(case.folder, given).is_file():  # the same for every method
                write_bytes(self.picture(case.folder, given), tiles([item.image() for item in items]))


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Row of the table -> measure -> {mean, low, high, n}, clustered by person; with `seconds` a step as multiples of MagiCapture's in the
    same pair on the same kind of machine, and `megabytes` (means over the pairs that they are known of).

    Rows: the methods, then "magicapture, processed", "real" (renders of the person in the look), "attributes" (person and look told in
    words) and "base" (untuned). A picture without a face is nobody's likeness: it counts 0, and in "no face".
    """
    table: dict[str, list[tuple[str, dict[str, list[Any]]]]] = {}
    for row in rows:
        for kind, columns in row["sets"].items():
            label = row["method"] if kind == "portrait" else PROCESSED if kind == "processed" else kind
            stray = [value for own in row["stray"].values() for value in own] if kind == "portrait" else []
            table.setdefault(label, []).append((row["person"], _values(columns) | collapsed(columns, row["levels"]) | {"stray": stray}))
    summary: dict[str, dict[str, Any]] = {}
    for label, entries in table.items():
        summary[label] = {}
        for name in MEASURES:
            found = [(person, value) for person, values in entries for value in values[name] if value is not None]
            clusters = [person for person, _ in found]
            summary[label][name] = interval([value for _, value in found], clusters)._asdict() if found else None
        own = [row for row in rows if row["method"] == label]
        paces = [_pace(row) / _pace(other) for row in own for other in rows if _same_machine(row, other)]
        known = [row["cost"]["megabytes"] for row in own if row["cost"]["megabytes"] is not None]
        summary[label] |= {name: float(np.mean(values)) for name, values in (("seconds", paces), ("megabytes", known)) if values}
    return summary


def answers(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the table alone does not say, {mean, low, high, n} clustered by person: what post-processing does to CSIM, portrait by portrait
    of equal seed; MagiCapture's mean of a pair less each other method's."""
    found: dict[str, list[tuple[str, float]]] = {}
    values = {(row["case"], row["method"], kind): _values(columns) for row in rows for kind, columns in row["sets"].items()}
    for row in (row for row in rows if row["method"] == "magicapture"):
        own, processed = (values.get((row["case"], "magicapture", kind)) for kind in ("portrait", "processed"))
        if own and processed:
            change = zip(own["csim"], processed["csim"], strict=True)
            found.setdefault("post-processed, CSIM: less before", []).extend((row["person"], after - before) for before, after in change)
        for name, method in METHODS.items():
            other = values.get((row["case"], name, "portrait")) if name != "magicapture" else None
            for measure in ("likeness", "style"):
                both = [[value for value in one[measure] if value is not None] for one in (own, other) if one is not None]
                if len(both) == 2 and all(both):
                    less = float(np.mean(both[0]) - np.mean(both[1]))
                    found.setdefault(f"{measure}: less {method.title}", []).append((row["person"], less))
    return {name: interval([v for _, v in pairs], [person for person, _ in pairs])._asdict() for name, pairs in found.items()}


def _values(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """A set's measures, a value a picture; likeness is None where the pair's levels do not allow it."""
    seen = [value is not None for value in columns["csim"]]
    return {
        "csim": [value if face else 0.0 for face, value in zip(seen, columns["csim"], strict=True)],
        "likeness": [value if face else 0.0 for face, value in zip(seen, columns["likeness"], strict=True)],
        "style": columns["style"],
        "aesthetic": columns["aesthetic"],
        "no face": [float(not face) for face in seen],
    }


def _pace(row: dict[str, Any]) -> float:
    """Seconds a step."""
    return float(row["cost"]["seconds"]) / max(1, row["cost"]["steps"])


def _same_machine(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the other is MagiCapture's row of the same pair, trained on the same kind of machine."""
    return other["method"] == "magicapture" and (row["case"], row["machine"]) == (other["case"], other["machine"])
