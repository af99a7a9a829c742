"""From scores to an order, a summary of each set, and the hash that says which summaries may be compared."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from magicapture.config import Evaluation
from magicapture.faces.concepts import SOURCE_TOKEN, of_side
from magicapture.scoring.statistics import interval

#: In the order of the report; `selection` is what ranks.
MEASURES = ("identity", "referee", "likeness", "head", "structure", "style", "aesthetic", "selection")
KINDS = ("portrait", "attributes", "base")

Row = dict[str, Any]


def rank(rows: Sequence[Row], weights: Evaluation) -> list[Row]:
    """Rows with `selection` and `rank` (1 = best of its kind) added, ordered by kind and rank.

    selection = weighted judge cosine + style + aesthetic; None without a face, and such pictures come last, by style.
    The referee has no part in it: who reports must not select. Objects have no identity: their structure stands in its place, 0 where the
    pack cannot measure it.
    """
    scored = [{**row, "selection": _selection(row, weights)} for row in rows]
    ordered: list[Row] = []
    for kind in dict.fromkeys([*KINDS, *(row["kind"] for row in scored)]):
        own = [row for row in scored if row["kind"] == kind]
        own.sort(key=lambda row: (row["selection"] is None, -(row["style"] if row["selection"] is None else row["selection"])))
        ordered += [{**row, "rank": place} for place, row in enumerate(own, 1)]
    return ordered


def summaries(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Kind -> {pictures, faces, measure -> {mean, low, high, n} or None}: 95 % bootstrap over the pictures.

    Means of a face's measures are over the pictures in which one was found; `faces` counts those, None for objects. The interval is over
    the seeds of ONE person and look (or of the few that were trained): others may differ (benchmarks cluster by person for that).
    """
    sets: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        objects = all(row["face"] is None for row in own)
        sets[kind] = {"pictures": len(own), "faces": None if objects else sum(bool(row["face"]) for row in own)}
        for measure in MEASURES:
            values = [row[measure] for row in own if row.get(measure) is not None]
            sets[kind][measure] = {k: _round(v) for k, v in interval(values)._asdict().items()} if values else None
    return sets


def by_tokens(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Rows by the subject and look they are of, where there are several: tokens -> rows, in the order of the tokens."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get("tokens", ())), []).append(row)
    return dict(sorted(groups.items()))


def better_half(rows: Sequence[Row], kind: str = "portrait") -> dict[str, float | None]:
    """Mean `selection` and `identity` (judge) over the better-ranked half of a kind, rounded up: what a user would keep.

    Of several subjects or looks, over the better half of each combination. None where no picture of that half has a face.
    """
    own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["rank"])
    half = [row for group in by_tokens(own).values() for row in group[: math.ceil(len(group) / 2)]]
    means: dict[str, float | None] = {}
    for measure in ("selection", "identity"):
        values = [row[measure] for row in half if row[measure] is not None]
        # A picture without a face is worth 0 in both, so that a candidate gains nothing by losing faces.
        means[measure] = _round(sum(values) / len(half)) if values else None
    return means


def choose(rows: Sequence[Row], best: int) -> list[Row]:
    """Ranked portraits with `kept` and `reason` added: of each prompt the `best` that show as many faces as it names people.

    Rows of other kinds are left out. Of objects, whose rows have no face, all can be kept.
    """
    chosen = []
    for prompt in dict.fromkeys(row["prompt"] for row in rows if row["kind"] == "portrait"):
        own = sorted((row for row in rows if row["kind"] == "portrait" and row["prompt"] == prompt), key=lambda row: row["rank"])
        left = best
        for place, row in enumerate(own, 1):
            wanted = max(1, len(of_side(row.get("tokens", ()), SOURCE_TOKEN)))
            found = row["face_count"]
            fault = None if found in (None, wanted) else f"{found or 'no'} face{'' if found == 1 else 's'} found, expected {wanted}"
            kept = fault is None and left > 0
            left -= kept
            chosen.append(
                {**row, "kept": kept, "reason": fault or f"{place} of {len(own)} by rank, {best} {'is' if best == 1 else 'are'} kept"}
            )
    return chosen


def protocol(
    rows: Sequence[Mapping[str, Any]],
    *,
    pack_digest: str,
    pictures: Sequence[str],
    preprocess: Mapping[str, Any] | None,
    weights: Evaluation,
    scorer: str,
    postprocessing: Mapping[str, Any] | None,
    trained_against: Sequence[str] = (),
) -> str:
    """16 hex digits over everything that must be equal for two candidates' scores to be comparable.

    Prompts and seeds of the portraits, the pack that scores, the photos and looks measured against (`pictures`: their sha256)
    and how they were prepared (None: not known), the weights, the scorers' version, post-processing (None: none), and which of judge
    and referee it was trained against (none, unless allowed). How else a candidate was trained or sampled is not in it.
    """
    data = {
        "portraits": sorted([str(row["prompt"]), int(row["seed"])] for row in rows if row["kind"] == "portrait"),
        "pack": pack_digest,
        "pictures": sorted(pictures),
        "preprocess": None if preprocess is None else dict(preprocess),
        "weights": [weights.weight_identity, weights.weight_style, weights.weight_aesthetic],
        "scorer": scorer,
        "postprocessing": None if postprocessing is None else dict(postprocessing),
        **({"trained_against": list(trained_against)} if trained_against else {}),
    }
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _selection(row: Mapping[str, Any], weights: Evaluation) -> float | None:
    subject = (row.get("structure") or 0.0) if row["face"] is None else row["identity"]
    if subject is None:
        return None
    total = weights.weight_identity * subject + weights.weight_style * row["style"] + weights.weight_aesthetic * row["aesthetic"]
    return round(float(total), 5)


def _round(value: float | None) -> float | None:
    return round(value, 5) if isinstance(value, float) else value
