"""The report: one self-contained HTML file (inline CSS and SVG, pictures as data URIs), readable on a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import load_file

from magicapture.artifacts import SUBJECTS, subjects_of
from magicapture.config import Config
from magicapture.evaluation import charts, page
from magicapture.evaluation.pictures import data_uri, lit, tinted
from magicapture.evaluation.ranking import KINDS
from magicapture.faces.prepared import PreparedItem, PreparedSet, read_png
from magicapture.packs import Pack

#: What the training leaves beside the pictures (artifact ``images/1``); what is absent is left out of the report.
TRAINING = "training"
_SAMPLE_ROWS, _COMPARED = 7, 4
#: Longest side in px of pictures that stand in rows, several to a line.
_SMALL = 400
#: Colours of the attention of [V1] and [V2], as in pages/page.css.
_TINTS = {"v1": (255, 138, 61), "v2": (79, 179, 255)}

KIND_NAMES = {
    "portrait": ("This model", "personalised: [V1] in [V2]"),
    "attributes": ("Base, told in words", "untuned, the person's attributes and the look written out"),
    "base": ("Base", "untuned, same prompt without the tokens"),
}
MEASURE_NAMES = {
    "identity": ("Identity", "judge's cosine to the photos; selects"),
    "referee": ("CSIM", "referee's cosine to the photos; only reported"),
    "likeness": ("Likeness", "referee: 0 = a stranger who matches in words, 1 = another real photo"),
    "head": ("Head", "CLIP cosine to the photos' heads, hair with them, all else masked out"),
    "structure": ("Structure", "built as the photos are, by the network trained against"),
    "style": ("Style", "CLIP cosine to the look, faces masked out"),
    "aesthetic": ("Aesthetic", "rendering quality, 1 to 10"),
}
LOSSES = {
    "total": "Total",
    "source": "Source, on the face",
    "reference": "Reference, off the face",
    "composed": "Composed prompt, off the face",
    "identity": "Identity (1 - cosine)",
    "attention": "Attention refocusing",
    "structure": "Structure, self-similarity of keys",
    "contrast": "Structure, contrast of patches",
    "appearance": "Appearance, distance of [CLS]",
}
PHASES = {"inversion": "Phase 1 · the two tokens", "tuning": "Phase 2 · LoRA and tokens"}
PLACES = {"source": "Source prompt", "reference": "Reference prompt", "composed": "Composed prompt"}


def render(
    *, images: Path, manifest: Mapping[str, Any], prepared: PreparedSet, result: Mapping[str, Any], config: Config, pack: Pack, lineage: str
) -> str:
    """The page for an evaluation `result` (the content of scores.json) over the pictures artifact `images` with its manifest."""
    rows = [dict(row) for row in result["items"]]
    for row in rows:
        row.setdefault("tokens", [])
    portraits = [row for row in rows if row["kind"] == "portrait"]
    for row in portraits:
        row["uri"] = data_uri(read_png(images, row["file"]))
        row["before_uri"] = data_uri(read_png(images, row["before"])) if row.get("before") else None
    adapter = manifest["content"].get("adapter", {})
    training = images / TRAINING
    kinds = [kind for kind in KINDS if kind in result["sets"]]
    measures = {key: name for key, (name, _) in MEASURE_NAMES.items() if result["sets"]["portrait"].get(key)}
    score = "Judge's cosine of the samples by step" if prepared.faces else "Structure and appearance of the samples by step"
    return page.render(
        "report.html.j2",
        subjects_of(manifest, prepared.manifest),
        subject=config.promotion.subject
        if {"promotion", "promotion.subject"}.isdisjoint(config.untold)
        else ", ".join(manifest.get(SUBJECTS) or {}),
        portraits=portraits,
        prompts=_distinct(portraits, "prompt"),
        filters=_filters(portraits),
        balance=_balance(portraits, measures),
        sets=result["sets"],
        levels=result["levels"],
        person=prepared.faces,
        kinds=[{"key": kind, "name": KIND_NAMES[kind][0], "note": KIND_NAMES[kind][1]} for kind in kinds],
        table=comparison(result["sets"], kinds),
        pairs=result.get("pairs", []),
        measures=measures,
        people=len(prepared.concepts("source")),
        looks=len(prepared.concepts("reference")),
        trained_against=result.get("trained_against", []),
        compared=_compared(rows, images),
        source=[_photo(item, False) for item in prepared.source],
        reference=[_photo(item, True) for item in prepared.reference],
        descriptions=dict(prepared.descriptions),
        set_aside=prepared.set_aside,
        warnings=[*prepared.warnings, *manifest["content"].get("warnings", [])],
        attention=_attention(training / "attention"),
        samples=_samples(training / "samples", adapter),
        progress=_progress(adapter, score),
        score=score,
        losses=_losses(training / "curves.jsonl"),
        adapter=adapter,
        facts=_facts(manifest, prepared, result, adapter, pack, lineage),
        config=yaml.safe_dump(config.recorded(), sort_keys=False, allow_unicode=True),
    )


def comparison(sets: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a table: one a measure, with a cell a column of `sets`: the summary, and where its bar lies, in % of the row's scale."""
    table = []
    for measure, (name, meaning) in MEASURE_NAMES.items():
        found = [sets[column].get(measure) for column in columns]
        if not any(found):
            continue
        ends = [value for cell in found if cell for value in (cell["low"], cell["high"], cell["mean"]) if value is not None]
        low, high = min(0.0, *ends), max(0.0, *ends)
        span = (high - low) or 1.0
        cells = []
        for column, cell in zip(columns, found, strict=True):
            known = {key: cell[key] for key in ("low", "mean", "high") if cell[key] is not None} if cell else {}
            place = {key: round(100 * (value - low) / span, 2) for key, value in known.items()}
            cells.append({"column": column, "value": cell, "place": place, "difference": None})
        table.append({"measure": measure, "name": name, "meaning": meaning, "cells": cells, "zero": round(-100 * low / span, 2)})
    return table


def _distinct(rows: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    return sorted({row[key] for row in rows})


def _filters(portraits: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[Any]]]:
    """What portraits can be filtered by: (name, label, values), where there is more than one value."""
    choices = {
        "seed": ("Seed", _distinct(portraits, "seed")),
        "prompt": ("Prompt", _distinct(portraits, "prompt")),
        "tokens": ("Subject and look", sorted({" ".join(row["tokens"]) for row in portraits})),
    }
    return [(name, label, values) for name, (label, values) in choices.items() if len(values) > 1]


def _balance(portraits: Sequence[Mapping[str, Any]], measures: Mapping[str, str]) -> dict[str, Any] | None:
    """Likeness (else identity; of objects structure) against style, and the ranks on the Pareto front; None for less than two."""
    key = next((key for key in ("likeness", "identity", "structure") if key in measures), None)
    own = [row for row in portraits if key is not None and row[key] is not None]
    if key is None or len(own) < 2:
        return None
    points = [charts.Disc(row["style"], row[key], row["aesthetic"], str(row["rank"])) for row in own]
    front = charts.pareto_front([(point.x, point.y) for point in points])
    svg = charts.scatter_chart(points, "Style", measures[key], size="aesthetic", front=front)
    return {"y": measures[key], "svg": svg, "front": {own[i]["rank"] for i in front}}


def _compared(rows: Sequence[Mapping[str, Any]], images: Path) -> list[dict[str, Any]]:
    """A few pictures of each kind, of its first prompt and of equal seeds where the kinds share them: a fair look, not the best of each."""
    of_kind = {}
    for kind in KINDS:
        own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: str(row["file"]))  # as they were drawn
        if own:
            of_kind[kind] = [row for row in own if all(row.get(key) == own[0].get(key) for key in ("prompt", "tokens"))]
    shared = sorted(set.intersection(*({row["seed"] for row in own} for own in of_kind.values())))
    picked = []
    for kind, own in of_kind.items():
        of_seed = {row["seed"]: row for row in own}
        chosen = [of_seed[seed] for seed in shared[:_COMPARED]] or sorted(own, key=lambda row: row["seed"])[:_COMPARED]
        shown = [{**row, "small_uri": data_uri(read_png(images, row["file"]), _SMALL)} for row in chosen]
        picked.append({"kind": kind, "name": KIND_NAMES[kind][0], "rows": shown})
    return picked


def _photo(item: PreparedItem, reference: bool) -> dict[str, Any]:
    image, mask = item.image(), item.mask()
    seen = lit(image, ~mask if reference else mask)
    return {"name": item.name, "uri": data_uri(image), "mask_uri": data_uri(seen), "face": item.keypoints is not None}


def _attention(folder: Path) -> list[dict[str, Any]]:
    """Pictures and where the tokens look in them, as tuning left them: one of each subject and look, and a composed one."""
    if not (folder / "maps.safetensors").is_file():
        return []
    maps = load_file(folder / "maps.safetensors")
    rows = []
    for place, name in PLACES.items():
        for drawn in sorted(key for key in maps if key == place or key.startswith(f"{place}-")):
            of = drawn.removeprefix(place).removeprefix("-")
            shown = [{"token": token, "uri": tinted(level, tint)} for (token, tint), level in zip(_TINTS.items(), maps[drawn], strict=True)]
            rows.append({"name": f"{name}: {of}" if of else name, "uri": data_uri(read_png(folder, f"{drawn}.png"), _SMALL), "maps": shown})
    return rows


def _samples(folder: Path, adapter: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Validation pictures by step, thinned to a readable number of steps; first, best and last stay."""
    steps: dict[int, list[str]] = {}
    for file in sorted(folder.glob("step-*.png")):
        match = re.fullmatch(r"step-(\d+)-(\d+)", file.stem)
        if match:
            steps.setdefault(int(match[1]), []).append(file.name)
    scores = {int(entry["step"]): entry["judge"] for entry in adapter.get("scores", [])}
    order = sorted(steps)
    best = adapter.get("best_step")
    rows = min(_SAMPLE_ROWS, len(order))
    spread = {order[round(i * (len(order) - 1) / max(1, rows - 1))] for i in range(rows)}
    return [
        {
            "step": step,
            "best": step == best,
            "judge": scores.get(step),
            "uris": [data_uri(read_png(folder, name)) for name in steps[step][:_COMPARED]],
        }
        for step in order
        if step in spread or step == best
    ]


def _progress(adapter: Mapping[str, Any], name: str) -> str:
    points = sorted((entry["step"], entry["judge"]) for entry in adapter.get("scores", []) if entry["judge"] is not None)
    if len(points) < 2:
        return ""
    return charts.line_chart(points, name, smooth=False, mark=adapter.get("best_step"))


def _losses(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    phases = []
    for phase, title in PHASES.items():
        own = sorted((line for line in lines if line.get("phase") == phase), key=lambda line: line["step"])
        drawn = []
        for key, name in LOSSES.items():
            points = [(line["step"], line[key]) for line in own if isinstance(line.get(key), int | float)]
            if any(value for _, value in points):
                drawn.append({"name": name, "svg": charts.line_chart(points, name)})
        if drawn:
            phases.append({"title": title, "steps": own[-1]["step"], "charts": drawn})
    return phases


def _facts(
    manifest: Mapping[str, Any], prepared: PreparedSet, result: Mapping[str, Any], adapter: Mapping[str, Any], pack: Pack, lineage: str
) -> list[tuple[str, Any]]:
    portrait = next(row for row in result["items"] if row["kind"] == "portrait")
    sampling = ("sampler", "steps", "guidance", "unet_scale", "text_scale")
    facts = {
        "Pack": f"{pack.name} {pack.version} ({pack.digest()})",
        "Training seed": adapter.get("seed"),
        "Adapter": adapter.get("best_hash"),
        "Best step of": f"{adapter['best_step']} of {adapter.get('last_step')}" if adapter.get("best_step") is not None else None,
        "LoRA": " · ".join(f"{key} {value:g}" for key, value in (adapter.get("lora") or {}).items() if value is not None),
        "Trained against": (adapter.get("recogniser") or {}).get("role"),
        "Not independent": " and ".join(result.get("trained_against", [])),
        "Training time": f"{adapter['train_seconds']:.0f} s" if adapter.get("train_seconds") is not None else None,
        "Sampler": " · ".join(f"{key} {portrait[key]}" for key in sampling if portrait.get(key) is not None),
        "Lineage of this report": lineage,
        "Lineage of the pictures": manifest["lineage"],
        "Lineage of the prepared set": prepared.lineage,
        "Pictures made": manifest["made"]["id"],
        "Protocol": result["protocol"],
        "Scorers": result["scorer"],
    }
    return [(name, value) for name, value in facts.items() if value not in (None, "")]
