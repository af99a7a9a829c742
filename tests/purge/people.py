"""Two people whose runs lie side by side, small and real: artifacts, checkpoints, caches, photos, model versions."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from magicapture.artifacts import DRAFT, MANIFEST, sha256_file
from magicapture.registry import promote
from tests.registry.artifacts import knobs, make_candidate

SHE, HE = "zoraida", "wilbert"  # names that stand in no other text
SHADES = {SHE: 40, HE: 90}


def make_person(root: Path, name: str, names: tuple[str, ...] = ()) -> dict[str, Path]:
    """What a pipeline run of ``name`` (or of several ``names``) leaves below ``root``; returns the candidate promoted."""
    whose = {}
    for index, own in enumerate(names or (name,)):
        folder = root / "photos" / own
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(2):
            Image.fromarray(np.full((9, 9, 3), SHADES[own] + 3 * index + i, np.uint8)).save(folder / f"{i}.png")
        (folder / "description.txt").write_text(f"someone, {SHADES[own]}")
        whose[own] = sorted(sha256_file(path) for path in folder.glob("*.png"))
    stages = root / "runs" / "stages" / ("20260101-000000" if name == SHE else "20260101-000001")
    folders = make_candidate(stages / "magicapture-x" / "for-loop", whose=whose, shade=SHADES[name])
    (stages / "failed.txt").write_text(f"{name}\n")
    (stages / "magicapture-x" / "resolve").mkdir()
    (stages / "magicapture-x" / "resolve" / "executor_output.json").write_text(json.dumps({"photos": name}))
    cache = root / "runs" / "cache" / f"{hashlib.sha256(name.encode()).hexdigest()}.json"
    cache.parent.mkdir(exist_ok=True)
    cache.write_text(json.dumps({"tokens": {"__kfp_artifact__": True, "uri": str(folders["tokens"])}}))
    checkpoints = root / "runs" / "checkpoints"
    session = checkpoints / f"tuning-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    (session / "checkpoints" / "step-000002").mkdir(parents=True)
    save_file({"w": np.full(3, SHADES[name], np.float32)}, session / "checkpoints" / "step-000002" / "lora.safetensors")
    (session / MANIFEST).write_text(json.dumps({"schema": "checkpoints/1", "subjects": whose, "lineage": "x"}))
    (checkpoints / "latents").mkdir(exist_ok=True)
    for own, photos in whose.items():
        tensors = {"mean": np.full(3, SHADES[own] + 0.5, np.float32)}
        save_file(tensors, checkpoints / "latents" / f"{own[::-1]}.safetensors", {"subjects": json.dumps({own: photos[:1]})})
    save_file({"mean": np.ones(3, np.float32)}, checkpoints / "latents" / "look.safetensors", {"subjects": "{}"})
    save_file({"mean": np.zeros(3, np.float32)}, checkpoints / "latents" / "class-0.safetensors")
    draft = root / "runs" / ".images.k1lled" if name == SHE else root / "runs" / ".images.k2lled"
    (draft / "images").mkdir(parents=True)
    (draft / MANIFEST).write_text(json.dumps({"schema": DRAFT, "subjects": whose}))
    (draft / "images" / "0000.png").write_bytes(os.urandom(20))
    (root / "runs" / f"{SHADES[name]}-sent-to-a-friend.png").write_bytes((folders["evaluation"] / "images" / "0001.png").read_bytes())
    (root / "runs" / f"{SHADES[name]}-link").symlink_to(folders["portraits"])
    config = knobs(promotion={"subject": name, "style": "noir"})
    promote([folders], stages / "magicapture-x" / "promotion" / "promotion", config)
    return folders


def tree(*roots: Path) -> dict[str, str]:
    """Path -> sha256 of every file, and where every link points."""
    found = {}
    for root in roots:
        for folder, folders, names in os.walk(root):
            for name in [*names, *folders]:
                path = Path(folder) / name
                found[str(path)] = str(path.readlink()) if path.is_symlink() else sha256_file(path) if path.is_file() else "folder"
    return found


def bytes_with(word: str, root: Path) -> list[str]:
    """Every path that has the word in it, and every file in whose bytes it stands, whatever its kind."""
    found = [path for path in tree(root) if word in path.lower()]
    return found + [str(path) for path in root.rglob("*") if path.is_file() and word.encode() in path.read_bytes().lower()]
