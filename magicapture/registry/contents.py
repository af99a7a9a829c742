"""What of a stage's artifact goes to the tracking server: pure reading of folders, no MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magicapture.artifacts import MANIFEST, USAGE, read_manifest
from magicapture.mappings import flatten
from magicapture.registry.lineage import SECTIONS

# Artifact kind -> stage; the order is that of the pipeline.
STAGES = {
    "prepared": "preprocess", "tokens": "inversion", "adapter": "tuning", "images": "generation",
    "portraits": "postprocessing", "evaluation": "evaluation",
}  # fmt: skip
# Files of a prepared set that leave the machine: the overview and the verdicts, not the crops a person's face is in.
PREPARED_FILES = ("sheet.html",)


@dataclass(frozen=True)
class StageRecord:
    """One artifact as a child run: ``metrics`` are (name, value, step), ``files`` are relative to ``folder``."""

    stage: str
    seed: str
    folder: Path
    made: str
    time_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[tuple[str, float, int]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Unique within a pipeline run: "tuning" or "tuning seed 1"."""
        return f"{self.stage} seed {self.seed}" if self.seed else self.stage


def read_stage(kind: str, folder: str | Path, seed: str = "") -> StageRecord:
    """Read an artifact folder of ``kind``. Raises ArtifactError for a folder of another kind."""
    folder = Path(folder)
    manifest = read_manifest(folder, kind)
    content: Mapping[str, Any] = manifest["content"]
    stage = STAGES[kind]
    knobs = {name: value for name, value in manifest["config"].items() if name in SECTIONS[stage] or not isinstance(value, dict)}
    tags = {"stage": stage, "schema": manifest["schema"], "seed": seed, "stage.lineage": manifest["lineage"]}
    tags |= {name: content[name] for name in ("best_hash", "last_hash", "tensor_hash", "machine") if isinstance(content.get(name), str)}
    metrics = _curves(folder / "curves.jsonl") + _curves(folder / USAGE) + _numbers(kind, folder, content)
    files = [name for name in manifest["files"] if kind != "prepared" or name in PREPARED_FILES]
    return StageRecord(
        stage=stage,
        seed=seed,
        folder=folder,
        made=manifest["made"]["id"],
        time_ms=int(manifest["made"]["time"] * 1000),
        params={name: str(value) for name, value in flatten(knobs).items()},
        tags={name: value for name, value in tags.items() if value},
        metrics=metrics,
        files=[*files, MANIFEST],
    )


def _curves(path: Path) -> list[tuple[str, float, int]]:
    """Loss curves, one point a number and line; "phase" and "step" name the line."""
    if not path.is_file():
        return []
    points = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        step = int(row.pop("step"))
        points += [(name, float(value), step) for name, value in row.items() if _number(value)]
    return points


def _numbers(kind: str, folder: Path, content: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """Single numbers of an artifact: steps, seconds, validation scores, means of the scored sets."""
    points = [
        (name, float(content[name]), 0) for name in ("steps", "best_step", "last_step", "train_seconds") if _number(content.get(name))
    ]
    points += [("validation.judge", float(row["judge"]), int(row["step"])) for row in content.get("scores", [])]
    if kind == "evaluation":
        sets = json.loads((folder / "scores.json").read_text())["sets"]
        points += [(name, float(value), 0) for name, value in flatten(sets).items() if _number(value)]
    return points


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
