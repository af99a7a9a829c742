"""Hand-made artifacts for the evaluation's tests: rendered people for the eye, marker faces (tests.faces.tinypack) for the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from safetensors.numpy import save_file

from magicapture.artifacts import writing
from magicapture.config import Config, load_config
from magicapture.faces import prepared
from magicapture.faces.align import ARCFACE
from magicapture.faces.classes import FACE_CLASSES
from magicapture.packs import Pack, load_pack
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person, matched_stranger
from magicapture.world.render import render
from tests.faces import tinypack
from tests.scoring import tinyclip

PROMPTS = {
    "portrait": "a photo of a [V1] person in the [V2] style",
    "base": "a photo of a person",
    "attributes": "a person with dark skin , in the neon style",
}
SAMPLING = {"sampler": "dpmpp_2m", "steps": 20, "guidance": 3.0, "unet_scale": 1.0, "text_scale": 1.0}


def marker_pack(folder: Path) -> Pack:
    """Tiny working networks of every role that evaluation needs; the referee's stranger level is given."""
    tinypack.build(folder)
    content = yaml.safe_load((folder / "pack.yaml").read_text())
    content["roles"] |= tinyclip.write_roles(folder)
    content["roles"]["referee"]["settings"] |= {"stranger": -0.25, "genuine": 0.9}
    (folder / "pack.yaml").write_text(yaml.safe_dump(content))
    return load_pack(folder)


def config(pack: Pack, **sections: Any) -> Config:
    return load_config({"preset": "mini", "pack": str(pack.folder), "promotion": {"subject": "anna"}, **sections})


def marker_prepared(out: Path, person: int = 0, photos: int = 3) -> Path:
    """A prepared set of marker faces of one person, and of looks with and without a face."""
    keypoints = (ARCFACE / 112 * 33.6 + 15.2).astype(np.float32)

    def picture(name: str, who: int | None, seed: int) -> prepared.Picture:
        image = tinypack.draw(64, 64, [] if who is None else [(32, 32, 28, who)], seed)
        mask = (image[..., 0] == 255) & (image[..., 2] == 0)
        known = {} if who is None else {"keypoints": keypoints, "box": np.array([15, 15, 49, 49], np.float32), "score": 0.9}
        return prepared.Picture(name, image, mask.astype(np.uint8), mask, sha256=f"{name}{seed}", **known)

    source = [picture(f"photo-{i}.jpg", person, i) for i in range(photos)]
    reference = [picture("look-0.jpg", 3, 20), picture("look-1.jpg", None, 21)]
    empty = np.zeros((photos, 4))
    return prepared.write(
        out, resolution=64, source=source, reference=reference, embeddings={"source.judge": empty}, lineage="prepared-lineage"
    )


def several_prepared(out: Path) -> Path:
    """A prepared set of two marker people, "ann" (0) and "bob" (1), and of one look."""
    keypoints = (ARCFACE / 112 * 33.6 + 15.2).astype(np.float32)

    def picture(concept: str, who: int, seed: int) -> prepared.Picture:
        image = tinypack.draw(64, 64, [(32, 32, 28, who)], seed)
        mask = (image[..., 0] == 255) & (image[..., 2] == 0)
        box = np.array([15, 15, 49, 49], np.float32)
        return prepared.Picture(f"{concept}/{seed}.jpg", image, mask.astype(np.uint8), mask, keypoints, box, 0.9, concept=concept)

    source = [picture(name, who, 10 * who + i) for who, name in enumerate(("ann", "bob")) for i in range(2)]
    return prepared.write(
        out, resolution=64, source=source, reference=[picture("", 3, 40)], embeddings={"source.judge": np.zeros((4, 4))},
        descriptions={"source:bob": "a person with a beard"},
    )  # fmt: skip


def marker_portraits(
    out: Path, people: dict[str, list[int | None]], *, size: int = 128, schema: str = "portraits/1", adapter: dict[str, Any] | None = None,
    tokens: dict[str, list[list[str]]] | None = None,
) -> Path:  # fmt: skip
    """Pictures by kind, each of the marker person named (None: nobody); ``adapter`` adds to what is known of theirs, ``tokens`` says of
    which concepts they are to be."""
    items = []
    with writing(
        out, schema, lineage="pictures-lineage", config={"postprocessing": {"upscale": True, "restore": True, "fidelity": 0.5}}
    ) as draft:
        for kind, faces in people.items():
            for i, who in enumerate(faces):
                face = [] if who is None else [(size / 2, size / 2, size * 7 / 16, who)]
                items.append(_item(draft.path, len(items), kind, i, tinypack.draw(size, size, face, 50 + i), None))
                items[-1] |= {} if tokens is None else {"tokens": tokens[kind][i]}
        draft.content.update(items=items, adapter={"best_hash": "abc", "seed": 3, **(adapter or {})})
    return out


def rendered_prepared(out: Path, person: Person, name: str = "neon") -> Path:
    """Five photos of a person and five images of a look, as preprocessing would leave them."""

    def picture(label: str, who: Person, look: Look, seed: int) -> prepared.Picture:
        made = render(who, look, Nuisance.sample(seed), size=64)
        mask = np.isin(made.parsing, FACE_CLASSES)
        return prepared.Picture(label, made.image, made.parsing, mask, made.keypoints, made.box, 0.97, 80.0, f"{label}-{seed}")

    source = [picture(f"IMG_{2041 + i}.jpg", person, Look.sample(100 + i), 200 + i) for i in range(5)]
    reference = [picture(f"look-{i}.jpg", Person.sample(300 + i), Look.sample(400 + i, name), 500 + i) for i in range(5)]
    return prepared.write(
        out, resolution=64, source=source, reference=reference, embeddings={"source.judge": np.eye(5, 8)}, lineage="0123456789abcdef",
        set_aside=[{"set": "source", "name": "group <b>shot</b>.jpg", "reason": "3 faces; expected one person alone"}],
        warnings=["only 5 looks"], descriptions={"source": "a person with brown skin & short hair", "reference": f"in the {name} style"},
    )  # fmt: skip


def rendered_portraits(out: Path, person: Person, name: str = "neon", size: int = 256, portraits: int = 8, baseline: int = 4) -> Path:
    """Portraits and baselines as post-processing would leave them, with all that training leaves."""
    counts = {"portrait": portraits, "base": baseline, "attributes": baseline}
    strangers = {
        "portrait": [person],
        "attributes": [matched_stranger(person, i) for i in range(4)],
        "base": [Person.sample(900 + i) for i in range(4)],
    }
    items: list[dict[str, Any]] = []
    with writing(out, "portraits/1", lineage="fedcba9876543210") as draft:
        for kind, count in counts.items():
            for i in range(count):
                who = strangers[kind][i % len(strangers[kind])]
                look = Look.sample(700 + i, name if kind != "base" else None)
                pose = Nuisance.sample(600 + i)
                items.append(_item(draft.path, len(items), kind, i, render(who, look, pose, size).image, render(who, look, pose, 64).image))
        _training(draft.path / "training", person, name)
        scores = [{"step": step, "judge": round(0.2 + 0.004 * step - 0.00002 * step**2, 4)} for step in range(0, 121, 20)]
        draft.content.update(
            items=items,
            adapter={
                "best_hash": "5f3a", "last_hash": "9911", "best_step": 100, "last_step": 120, "scores": scores,
                "seed": 1, "train_seconds": 93.2, "lora": {"rank": 8, "alpha": None}, "pack": "mini", "descriptions": {},
            },
        )  # fmt: skip
    return out


def rendered_result(portraits: Path) -> dict[str, Any]:
    """Scores as `evaluation` would give them, made up: good for portraits, poor for the bases, one portrait without a face."""
    from magicapture.artifacts import read_manifest
    from magicapture.evaluation import ranking

    generator = np.random.default_rng(0)
    level = {"portrait": (0.62, 0.85, 7.8), "attributes": (0.3, 0.8, 7.9), "base": (0.05, 0.5, 7.2)}
    rows = []
    for item in read_manifest(portraits, "portraits")["content"]["items"]:
        identity, style, aesthetic = np.array(level[item["kind"]]) + generator.normal(0, [0.06, 0.03, 0.4])
        face = item["file"] != "images/0003.png"
        of_face = (
            {"identity": identity, "referee": identity - 0.1, "likeness": identity + 0.1, "head": identity + 0.3}
            if face
            else dict.fromkeys(("identity", "referee", "likeness", "head"))
        )
        rows.append({**item, "face": face, **of_face, "style": style, "aesthetic": aesthetic})
    ranked = ranking.rank(rows, load_config("mini").evaluation)
    levels = {"genuine": 0.71, "genuine_from": "photos", "stranger": 0.22}
    return {"protocol": "00ff00ff00ff00ff", "scorer": "1", "levels": levels, "items": ranked, "sets": ranking.summaries(ranked)}


def _item(folder: Path, index: int, kind: str, seed: int, image: np.ndarray, before: np.ndarray | None) -> dict[str, Any]:
    item = {"file": f"images/{index:04d}.png", "kind": kind, "prompt": PROMPTS[kind], "seed": 1000 + seed, **SAMPLING}
    if before is not None:
        item |= {"before": f"before/{index:04d}.png", "size": list(image.shape[1::-1])}
        _save(folder / f"before/{index:04d}.png", before)
    _save(folder / item["file"], image)
    return item


def _training(folder: Path, person: Person, name: str) -> None:
    generator = np.random.default_rng(0)
    lines = [
        {"phase": "inversion", "step": s, "total": 0.4 * 0.98**s + generator.uniform(0, 0.1), "source": 0.2, "reference": 0.2}
        for s in range(1, 61)
    ]
    for step in range(1, 121):
        values = {
            key: round(float(0.5 * 0.99**step + generator.uniform(0, 0.2)), 5)
            for key in ("total", "source", "reference", "composed", "identity")
        }
        lines.append({"phase": "tuning", "step": step, **values, "attention": 0.05 + 0.1 * 0.97**step, "lr": 0.002})
    folder.mkdir(parents=True)
    (folder / "curves.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    for step in range(0, 121, 20):
        for i in range(4):
            _save(folder / f"samples/step-{step:05d}-{i}.png", render(person, Look.sample(800 + step, name), Nuisance.sample(i), 64).image)
    maps = {}
    for place in ("source", "reference", "composed"):
        made = render(person, Look.sample(3, name), Nuisance.sample(9), 64)
        _save(folder / f"attention/{place}.png", made.image)
        face = np.isin(made.parsing, FACE_CLASSES).reshape(16, 4, 16, 4).mean((1, 3))
        maps[place] = np.stack([face, 1 - face]).astype(np.float32)
    save_file(maps, folder / "attention/maps.safetensors")


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
