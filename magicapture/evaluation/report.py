"""The report: one self-contained HTML file (inline CSS and SVG, pictures as data URIs), readable on a phone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image

from magicapture.config import Config
from magicapture.evaluation import charts
from magicapture.evaluation.pictures import data_uri, lit
from magicapture.evaluation.ranking import KINDS
from magicapture.faces.prepared import PreparedItem, PreparedSet
from magicapture.packs import Pack

TEMPLATE = Path(__file__).with_name("report.html.j2")
#: What the training leaves beside the pictures (artifact ``images/1``); what is absent is left out of the report.
TRAINING = "training"
_SAMPLE_ROWS, _COMPARED, _SLIDERS = 7, 4, 4

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
        row["uri"] = data_uri(_read(images / row["file"]))
        row["before_uri"] = data_uri(_read(images / row["before"])) if row.get("before") else None
    portraits = [row for row in rows if row["kind"] == "portrait"]
    adapter = manifest["content"].get("adapter", {})
    training = images / TRAINING
    score = "Judge's cosine of the samples by step" if prepared.faces else "Structure and appearance of the samples by step"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text()).render(
        subject=config.promotion.subject,
        made=time.strftime("%d %B %Y, %H:%M UTC", time.gmtime()),
        portraits=portraits,
        sliders=[row for row in portraits if row["before_uri"]][:_SLIDERS],
        sets=result["sets"],
        levels=result["levels"],
        person=prepared.faces,
        kinds=[kind for kind in KINDS if kind in result["sets"]],
        kind_names=KIND_NAMES,
        table=comparison(result["sets"]),
        pairs=result.get("pairs", []),
        measures={key: name for key, (name, _) in MEASURE_NAMES.items() if result["sets"]["portrait"].get(key)},
        people=len(prepared.concepts("source")),
        looks=len(prepared.concepts("reference")),
        compared=_compared(rows),
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
        config=config.to_yaml(),
    )


def comparison(sets: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table: one a measure, with a cell a kind that holds the summary and where its bar lies, in % of the row's scale."""
    table = []
    kinds = [kind for kind in KINDS if kind in sets]
    for measure, (name, meaning) in MEASURE_NAMES.items():
        found = [sets[kind].get(measure) for kind in kinds]
        if not any(found):
            continue
        ends = [value for cell in found if cell for value in (cell["low"], cell["high"], cell["mean"]) if value is not None]
        low, high = min(0.0, *ends), max(0.0, *ends)
        span = (high - low) or 1.0
        cells = []
        for kind, cell in zip(kinds, found, strict=True):
            known = {key: cell[key] for key in ("low", "mean", "high") if cell[key] is not None} if cell else {}
            place = {key: round(100 * (value - low) / span, 2) for key, value in known.items()}
            cells.append({"kind": kind, "value": cell, "place": place})
        table.append({"name": name, "meaning": meaning, "cells": cells, "zero": round(-100 * low / span, 2)})
    return table


def _compared(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A few pictures of each kind, of the same seeds where the kinds share them: a fair look, not the best of each."""
    of_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    of_kind = {kind: own for kind, own in of_kind.items() if own}
    shared = sorted(set.intersection(*({row["seed"] for row in own} for own in of_kind.values())))
    picked = []
    for kind, own in of_kind.items():
        first = {row["seed"]: row for row in sorted(own, key=lambda row: -row["rank"])}  # of several subjects or looks, the best
        chosen = [first[seed] for seed in shared[:_COMPARED]] or sorted(own, key=lambda row: row["seed"])[:_COMPARED]
        picked.append({"kind": kind, "rows": chosen})
    return picked


def _photo(item: PreparedItem, reference: bool) -> dict[str, Any]:
    image, mask = item.image(), item.mask()
    seen = lit(image, ~mask if reference else mask)
    return {"name": item.name, "uri": data_uri(image), "mask_uri": data_uri(seen), "face": item.keypoints is not None}


def _attention(folder: Path) -> list[dict[str, Any]]:
    """Pictures and where the tokens look in them, as tuning drew it: one of each subject and look, and a composed one."""
    rows = []
    for place, name in PLACES.items():
        files = [folder / f"{place}.png", *sorted(folder.glob(f"{place}-*.png"))]
        for file in files:
            maps = [(token, file.with_name(f"{file.stem}-{token}.png")) for token in ("v1", "v2")]
            if all(drawn.is_file() for _, drawn in maps):
                of = file.stem.removeprefix(place).removeprefix("-")
                shown = [{"token": f"[{token.upper()}]", "uri": data_uri(_enlarged(_read(drawn)))} for token, drawn in maps]
                rows.append({"name": f"{name}: {of}" if of else name, "uri": data_uri(_read(file)), "maps": shown})
    return rows


def _samples(folder: Path, adapter: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Validation pictures by step, thinned to a readable number of steps; first, best and last stay."""
    steps: dict[int, list[Path]] = {}
    for file in sorted(folder.glob("step-*.png")):
        match = re.fullmatch(r"step-(\d+)-(\d+)", file.stem)
        if match:
            steps.setdefault(int(match[1]), []).append(file)
    scores = {int(entry["step"]): entry["judge"] for entry in adapter.get("scores", [])}
    order = sorted(steps)
    best = adapter.get("best_step")
    rows = min(_SAMPLE_ROWS, len(order))
    spread = {order[round(i * (len(order) - 1) / max(1, rows - 1))] for i in range(rows)}
    return [
        {"step": step, "best": step == best, "judge": scores.get(step), "uris": [data_uri(_read(file)) for file in steps[step][:_COMPARED]]}
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


def _enlarged(image: np.ndarray, side: int = 192) -> np.ndarray:
    """Small pictures enlarged, so that a map's colours are not drawn in the picture's few pixels."""
    if max(image.shape[:2]) >= side:
        return image
    scale = side / max(image.shape[:2])
    return np.array(Image.fromarray(image).resize((round(image.shape[1] * scale), round(image.shape[0] * scale)), Image.Resampling.BICUBIC))


def _read(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))
