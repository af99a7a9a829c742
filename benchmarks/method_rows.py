"""The finished rows of the method's table, one for each pair and method: kept in a file, and summed up."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.method_scores import collapsed
from benchmarks.method_sheet import MEASURES, SHOWN, tiles
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
        """Where a pair's pictures are kept as one sheet of tiles: all portraits of a method, its maps ("<method>-attention"), or the
        pair's "photos" or "looks"."""
        return self.path.parent / case.relative_to(self.out) / f"{name}.jpg"

    def pictures(self, case: Path, methods: Sequence[str]) -> dict[str, Path]:
        """All that are kept of a pair, by name."""
        return {name: self.picture(case, name) for name in ("photos", "looks", *methods, *(f"{name}-attention" for name in methods))}

    def keep_pictures(self, case: Case, name: str, made: Path) -> None:
        """Beside the rows, for the contact sheet: a machine's pictures are lost with it."""
        items = json.loads((made / "evaluation" / "scores.json").read_text())["items"]
        portraits = sorted((item for item in items if item["kind"] == "portrait"), key=lambda item: item["seed"])
        images = [np.array(Image.open(made / "evaluation" / item["file"]).convert("RGB")) for item in portraits]
        write_bytes(self.picture(case.folder, name), tiles(images))
        maps = [made / "adapter" / "attention" / f"{shown}.png" for shown in SHOWN]
        write_bytes(self.picture(case.folder, f"{name}-attention"), tiles([np.array(Image.open(file).convert("RGB")) for file in maps]))
        data = PreparedSet.load(case.folder / "prepared")
        for given, items in (("photos", data.source), ("looks", data.reference)):
            if not self.picture(case.folder, given).is_file():  # the same for every method
                write_bytes(self.picture(case.folder, given), tiles([item.image() for item in items]))


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Row of the table -> measure -> {mean, low, high, n}, clustered by person; with `seconds` a step (on the kind of machine that
    made most rows), `pace`, the same as multiples of MagiCapture's in the same pair, and `megabytes` (means, of pairs where it is known).

    Rows: the methods, then "magicapture, processed", "real" (renders of the person in the look), "attributes" (person and look told in
    words) and "base" (untuned). A picture without a face is nobody's likeness: it counts 0, and in "no face".
    """
    table: dict[str, list[tuple[str, dict[str, list[Any]]]]] = {}
    for row in rows:
        for kind in row["sets"]:
            label = row["method"] if kind == "portrait" else PROCESSED if kind == "processed" else kind
            table.setdefault(label, []).append((row["person"], _measures(row, kind)))
    timed = _most(rows)  # seconds of several machines cannot be compared
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
        means = {"seconds": [_pace(row) for row in own if row["machine"] == timed], "pace": paces, "megabytes": known}
        summary[label] |= {name: float(np.mean(values)) for name, values in means.items() if values}
    return summary


def answers(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """What the table alone does not say: row -> column -> {mean, low, high, n}, intervals over people.

    A row for each other method: MagiCapture's mean of a pair less the method's, for every measure; in "csim times" and "likeness times" the
    ratio of the means instead. A row PROCESSED: what post-processing adds to CSIM and likeness, portrait by portrait of equal seed. A row
    "stray": for each token, the attention that strays without Attention Refocusing in multiples of that with it.
    """
    values = {(row["case"], row["method"], kind): _measures(row, kind) for row in rows for kind in row["sets"]}
    ours = {row["case"]: row["person"] for row in rows if row["method"] == "magicapture"}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in METHODS:
        others = [case for case in ours if name != "magicapture" and (case, name, "portrait") in values]
        for measure in MEASURES if others else ():
            told = []
            for case in others:
                pictures = (values[case, method, "portrait"][measure] for method in ("magicapture", name))
                own, other = ([value for value in one if value is not None] for one in pictures)
                if own and other:
                    told.append((ours[case], float(np.mean(own)), float(np.mean(other))))
            if told:
                found.setdefault(name, {})[measure] = _less(told)
            if told and measure in ("csim", "likeness"):
                found[name][f"{measure} times"] = ratio(told)
    processed = [case for case in ours if (case, "magicapture", "processed") in values]
    for measure in ("csim", "likeness"):
        both: list[tuple[str, Any, Any]] = []
        for case in processed:
            after, before = (values[case, "magicapture", kind][measure] for kind in ("processed", "portrait"))
            both += [(ours[case], *pair) for pair in zip(after, before, strict=True)]
        if known := [(person, after, before) for person, after, before in both if after is not None and before is not None]:
            found.setdefault(PROCESSED, {})[measure] = _less(known)
    stray = {(row["case"], row["method"]): row["stray"] for row in rows}
    shared = [case for case in ours if (case, "no-refocusing") in stray]
    for token in ("[V1]", "[V2]"):
        seen = [(ours[case], *(stray[case, name][token] for name in ("no-refocusing", "magicapture"))) for case in shared]
        if strayed := [(person, float(np.mean(without)), float(np.mean(own))) for person, without, own in seen if without and own]:
            found.setdefault("stray", {})[token] = ratio(strayed)
    return found


def _less(told: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    """Of (person, a, b) the mean of a - b, clustered by person."""
    return interval([a - b for _, a, b in told], [person for person, _, _ in told])._asdict()


def ratio(told: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    """Of (person, a, b) the sum of a over the sum of b, with its 95 % percentile bootstrap interval over people; the same shape as
    ``interval``'s. Without an interval for one person; nothing where a resample's b sums to 0 or less: it has no meaning there."""
    people = list(dict.fromkeys(person for person, _, _ in told))
    sums = np.array([np.sum([[a, b] for person, a, b in told if person == one], axis=0) for one in people])
    whole = sums.sum(0)
    drawn = sums[np.random.default_rng(0).integers(0, len(people), (4000, len(people)))].sum(1)
    if (drawn[:, 1] <= 0).any():
        return {"mean": None, "low": None, "high": None, "n": len(told)}
    low, high = map(float, np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])) if len(people) > 1 else (None, None)
    return {"mean": float(whole[0] / whole[1]), "low": low, "high": high, "n": len(told)}


def made_by(rows: Sequence[dict[str, Any]]) -> str:
    """Which code and machines made the rows, for a reader who would compare: a sentence."""
    codes, machines = ({row[name] for row in rows} for name in ("code", "machine"))
    mixed = f"{len(codes)} versions of the code, which are not to be compared" if len(codes) > 1 else f"code {next(iter(codes))}"
    timed = f"; seconds a step are of {_most(rows)} alone" if len(machines) > 1 else ""
    return f"Made by {mixed}, on {' and '.join(sorted(machines))}{timed}."


def _most(rows: Sequence[dict[str, Any]]) -> str:
    """The kind of machine that made most rows; of several the first by name."""
    return Counter(sorted(row["machine"] for row in rows)).most_common(1)[0][0]


def _measures(row: Mapping[str, Any], kind: str) -> dict[str, list[Any]]:
    """Of a row's set, measure -> a value a picture."""
    columns = row["sets"][kind]
    stray = [value for own in row["stray"].values() for value in own] if kind == "portrait" else []
    return _values(columns) | collapsed(columns, row["levels"]) | {"stray": stray}


def _values(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """A set's measures, a value a picture; likeness is None for all where the pair's levels do not allow it."""
    seen = [value is not None for value in columns["csim"]]
    scaled = all(value is not None for face, value in zip(seen, columns["likeness"], strict=True) if face)
    return {
        "csim": [value if face else 0.0 for face, value in zip(seen, columns["csim"], strict=True)],
        "likeness": [(value if face else 0.0) if scaled else None for face, value in zip(seen, columns["likeness"], strict=True)],
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
