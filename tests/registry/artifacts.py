"""Hand-made stage artifacts, small and real, as the stages would leave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from magicapture.artifacts import writing
from magicapture.config import Config, load_config

PICTURE = np.zeros((8, 8, 3), np.uint8)


def knobs(**sections: dict | str) -> Config:
    return load_config({"preset": "mini", "promotion": {"subject": "anna", "style": "noir"}, **sections})


def make_candidate(
    root: Path,
    seed: int = 0,
    *,
    selection: float = 0.8,
    half: float | None = None,
    identity: float = 0.5,
    protocol: str = "p1",
    steps: int = 20,
    faces: int = 8,
    whose: dict[str, list[str]] | None = None,
    shade: int = 0,
    weights: str = "best",
) -> dict[str, Path]:
    """A prepared set (shared by the seeds of ``root``) and one seed's artifacts; returns kind -> folder.

    Its 8 portraits score ``selection`` (their better half ``half``) and ``identity`` give or take a little; the last ones have no face
    where ``faces`` are fewer.
    ``whose`` they are (``artifacts.writing``), the ``shade`` of this person's pictures, and what the hash of the adapter's ``weights``
    begins with.
    """
    shown = PICTURE + shade
    config = knobs().model_dump(mode="json")
    folders = {kind: root / f"seed-{seed}" / kind for kind in ("tokens", "adapter", "images", "portraits", "evaluation")}
    folders["prepared"] = root / "prepared"
    if not folders["prepared"].exists():
        with writing(folders["prepared"], "prepared/1", lineage="l0", config=config, subjects=whose) as draft:
            (draft.path / "source").mkdir()
            Image.fromarray(shown).save(draft.path / "source" / "0.png")
            (draft.path / "sheet.html").write_text("<p>sheet</p>")
    with writing(folders["tokens"], "tokens/1", lineage="l1", config=config, subjects=whose) as draft:
        save_file({"[V1]": np.full(4, seed + shade, np.float32), "[V2]": np.ones(4, np.float32)}, draft.path / "tokens.safetensors")
        (draft.path / "curves.jsonl").write_text(_curves("inversion", steps))
        draft.content = {"steps": steps, "tensor_hash": f"t{seed}", "machine": "test", "threads": 1}
    with writing(folders["adapter"], "adapter/1", lineage="l2", config=config, subjects=whose) as draft:
        for name in ("", "last/", "attention/", "samples/"):
            (draft.path / name).mkdir(exist_ok=True)
        for name in ("pytorch_lora_weights.safetensors", "tokens.safetensors"):
            save_file({"weight": np.full(4, seed + shade, np.float32)}, draft.path / name)
            save_file({"weight": np.full(4, seed + shade + 0.5, np.float32)}, draft.path / "last" / name)
        for name in ("attention/source-v1", "attention/source-v2", "samples/step-00010-0"):
            Image.fromarray(shown).save(draft.path / f"{name}.png")
        (draft.path / "curves.jsonl").write_text(_curves("tuning", steps))
        draft.content = {
            "pack": "mini", "pack_digest": "d", "best_step": 10, "last_step": steps, "scores": [{"step": 10, "judge": 0.4}],
            "best_hash": f"{weights}{seed}", "last_hash": f"last{seed}", "seed": seed, "train_seconds": 1.5,
        }  # fmt: skip
    for kind in ("images", "portraits"):
        with writing(folders[kind], f"{kind}/1", lineage="l3", config=config, subjects=whose) as draft:
            (draft.path / "images").mkdir()
            Image.fromarray(shown).save(draft.path / "images" / "0000.png")
    rows = portraits(selection, identity, faces)
    sets = {"portrait": _set(selection, identity, faces), "base": _set(0.3, 0.0, 1)}
    with writing(folders["evaluation"], "evaluation/1", lineage="l4", config=config, subjects=whose) as draft:
        (draft.path / "images").mkdir()
        for index in range(len(rows)):
            Image.fromarray(shown + index).save(draft.path / "images" / f"000{index}.png")
        (draft.path / "scores.json").write_text(json.dumps({"protocol": protocol, "items": rows, "sets": sets}))
        (draft.path / "report.html").write_text("<p>report</p>")
        better = selection if half is None else half
        draft.content = {"protocol": protocol, "selection": better if faces else None, "identity": identity if faces else None}
    return folders


def portraits(selection: float, identity: float, faces: int = 8) -> list[dict]:
    """Rows of scores.json as ranking leaves them: 8 portraits, and one of the base, which nobody asks for."""
    jitter = np.random.default_rng(int(selection * 1e6)).normal(0, 0.005, 8)
    jitter = (jitter - jitter.mean()).tolist()
    rows = [
        {
            "file": f"images/000{i}.png", "kind": "portrait", "prompt": "a [V1]", "seed": 1000 + i, "rank": i + 1, "face": i < faces,
            "identity": identity + jitter[i] if i < faces else None, "style": 0.8, "aesthetic": 5.0,
            "selection": selection + jitter[i] if i < faces else None,
        }
        for i in range(8)
    ]  # fmt: skip
    rows[:2] = rows[1::-1]  # the order of the list is not that of the ranks
    return [*rows, {**rows[0], "file": "images/0008.png", "kind": "base", "selection": 9.0}]


def _set(selection: float, identity: float, faces: int) -> dict:
    """The summary of a set of 8 pictures, as evaluation writes it."""
    measured = {
        name: {"mean": value, "low": None, "high": None, "n": faces} for name, value in (("selection", selection), ("identity", identity))
    }
    return {"pictures": 8, "faces": faces, "referee": None, **(measured if faces else {"selection": None, "identity": None})}


def _curves(phase: str, steps: int) -> str:
    rows = [{"phase": phase, "step": step, "total": 1 / (step + 1), "source": 0.5, "lr": 1e-3} for step in range(steps)]
    return "".join(json.dumps(row) + "\n" for row in rows)
