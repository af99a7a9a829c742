"""What both phases open before they train: the prepared set, pack, backbone, cached examples, and the checkpoint folder of this lineage."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from magicapture.artifacts import MANIFEST, SUBJECTS, lineage_key, subjects_of, write_json, write_text
from magicapture.backbones import Backbone, load_backbone
from magicapture.config import Config
from magicapture.faces.prepared import SHEET, PreparedSet
from magicapture.packs import Pack, load_pack
from magicapture.training.checkpoints import CheckpointFolder, code_hash
from magicapture.training.data import TrainingData, load_training_data

_SAMPLING = ("steps", "guidance", "sampler", "unet_scale", "text_scale", "negative_prompt", "seeds", "batch")


@dataclass(frozen=True)
class Session:
    """The opened inputs of one phase; ``lineage`` names data, knobs, weights, code and seed."""

    prepared: PreparedSet
    pack: Pack
    backbone: Backbone
    data: TrainingData
    lineage: str
    folder: Path

    @property
    def checkpoints(self) -> CheckpointFolder:
        """Of this lineage alone: other data, knobs, weights, code or seed never continue from it."""
        return CheckpointFolder(self.folder / "checkpoints")


def open_session(phase: str, prepared: str | Path, config: Config, seed: int, checkpoints: str | Path, *more: str) -> Session:
    """Open everything a phase needs; ``more`` are further parts of the lineage (the tokens' hash).

    Raises ArtifactError, PackError, BackboneError, or ValueError for a prepared set that does not fit the pack.
    """
    opened = PreparedSet.load(prepared, verify=True)
    pack = load_pack(config.pack)
    backbone = load_backbone(pack, config.device, config.precision)
    checkpoints = Path(checkpoints)
    data = load_training_data(opened, pack, backbone, config.training.augment, checkpoints / "latents")
    data = replace(data, word=config.training.class_word)
    knobs = config.digest("training", phase, "precision")
    lineage = lineage_key(
        phase, _data_key(opened), knobs, _sampling_key(config, phase), pack.digest(), code_hash(), backbone.device.type, str(seed), *more
    )
    folder = checkpoints / f"{phase}-{lineage}"
    _sign(folder, lineage, opened)
    return Session(opened, pack, backbone, data, lineage, folder)


def _sign(folder: Path, lineage: str, prepared: PreparedSet) -> None:
    """Say in the folder whose checkpoints these are; the same photos may have been given under another name before."""
    manifest = folder / MANIFEST
    before = json.loads(manifest.read_text()) if manifest.is_file() else {}
    write_json(manifest, {"schema": "checkpoints/1", SUBJECTS: subjects_of(before, prepared.manifest), "lineage": lineage})


def write_curves(path: Path, curves: list[dict[str, Any]]) -> None:
    """One JSON object a line, one line a step."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in curves))


def _data_key(prepared: PreparedSet) -> str:
    """Over the prepared pictures, masks, embeddings and key points; not over the sheet or what was set aside."""
    files = {name: digest for name, digest in prepared.manifest["files"].items() if name != SHEET}
    content = {name: prepared.manifest["content"][name] for name in ("resolution", "source", "reference")}
    return lineage_key(json.dumps(files, sort_keys=True), json.dumps(content, sort_keys=True))


def _sampling_key(config: Config, phase: str) -> str:
    """The knobs of generation that choose the best step (validation samples with them); prompts and counts of results do not."""
    if phase != "tuning":
        return ""
    return json.dumps({name: getattr(config.generation, name) for name in _SAMPLING})
