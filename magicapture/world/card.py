"""From trained roles to the embedded pack: files, hashes, measured scores, model card."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from magicapture.artifacts import write_json, write_text
from magicapture.packs import load_pack
from magicapture.packs.pack import EMBEDDED
from magicapture.world.architecture import write_diffusion
from magicapture.world.autoencoder import trained_vae
from magicapture.world.diffusion import build_text_to_image
from magicapture.world.evaluate import measure
from magicapture.world.loop import load_average
from magicapture.world.packing import HISTORY, ROLES, write_pack_yaml

VERSION = "7"
_DIFFUSION = ("vae", "decoder", "unet")  # trainings whose weights lie in the folder of role "diffusion"


def embed(work: Path, target: Path = EMBEDDED / "mini") -> dict[str, Any]:
    """Make ``target`` the pack of everything trained below ``work``, with its scores and its card; returns the scores.

    The folder is made aside and swapped in whole. Raises FileNotFoundError for a role that is not trained yet.
    """
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        shutil.copytree(work / "pack", aside, dirs_exist_ok=True, ignore=shutil.ignore_patterns("diffusion", "pack.yaml"))
        text_to_image = load_average(build_text_to_image(work / "card"), work / "unet")
        write_diffusion(aside / "diffusion", trained_vae(work), text_to_image.unet, text_to_image.text_encoder)
        write_pack_yaml(aside, VERSION)
        scores = measure(load_pack(aside), work)
        referee = scores["recogniser"]["referee"]
        settings = {"referee": {"stranger": round(referee["matched"], 4), "genuine": round(referee["genuine"], 4)}}
        write_pack_yaml(aside, VERSION, settings)
        write_json(aside / "scores.json", scores)
        write_json(aside / HISTORY, _trainings(work))
        write_text(aside / "README.md", _card(work, scores))
        for path in (aside, *aside.rglob("*")):
            os.chmod(path, 0o755 if path.is_dir() else 0o644)
        if target.exists():
            shutil.rmtree(target)
        os.rename(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return scores


def _card(work: Path, scores: dict[str, Any]) -> str:
    lines = [
        "# Pack `mini`: small models of every role, trained from scratch on rendered people",
        "",
        "These models know illustrated people drawn by `magicapture/world` and nothing else: no photograph and no other weights went into",
        "them, and they recognise no real faces. Licence: Apache-2.0, as the code. Weights are stored in fp16.",
        "",
        "Made by `python -m magicapture.world.train --role all --work FOLDER`; measured by `python -m magicapture.world.evaluate`",
        "on people, looks and poses that no role was trained on (`magicapture/world/splits.py`).",
        "",
        "## Training",
        "",
        "| role | file | steps | minutes | seed | machine | device | note |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in _trainings(work).items():
        path = ROLES["diffusion" if name in _DIFFUSION else name][0]
        for segment in found:
            steps = f"{segment['from']} to {segment['to']}"
            minutes = segment.get("minutes", "not kept")
            cells = (name, f"`{path}`", steps, minutes, segment["seed"], segment["machine"], segment["device"], segment.get("note", ""))
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    lines += ["", "## Scores on held-out seeds", "", "```json", json.dumps(scores, indent=2), "```", ""]
    return "\n".join(lines)


def segments(work: Path, role: str) -> list[dict[str, Any]]:
    """Every training run of a role: seed, machine, device, from and to which step (``to`` is where its log ends), and its minutes.

    Those that made the pack it went on from come first, unless the role was trained anew.
    """
    history, file, log = work / HISTORY, work / role / "segments.jsonl", work / role / "log.jsonl"
    before = json.loads(history.read_text()).get(role, []) if history.is_file() else []
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    last = records[-1]["step"] if records else 0
    for segment, following in zip(found, [*found[1:], {"from": last}][: len(found)], strict=True):
        segment["to"] = following["from"]
        spent = [record["seconds"] for record in records if segment["from"] < record["step"] <= segment["to"] and "seconds" in record]
        segment["minutes"] = round(max(spent, default=0.0) / 60, 1)
    anew = bool(found) and "note" not in found[0]
    return ([] if anew else before) + [segment for segment in found if segment["to"] > segment["from"]]


def _trainings(work: Path) -> dict[str, list[dict[str, Any]]]:
    names = [name for role in ROLES for name in (_DIFFUSION if role == "diffusion" else (role,))]
    return {name: found for name in names if (found := segments(work, name))}
