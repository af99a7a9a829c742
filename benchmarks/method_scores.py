"""What a row of the method's table keeps of its pictures: the scores of each, by seed, and what they could be copies of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.pairs import Pair, levels_of, renders_of, source_embeddings
from magicapture.artifacts import MANIFEST, write_json
from magicapture.config import Config
from magicapture.evaluation.measure import Measurer
from magicapture.faces.align import align
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.faces.parse import head_mask
from magicapture.faces.prepared import PreparedSet
from magicapture.generation.generator import Generator
from magicapture.packs import load_pack
from magicapture.scoring.likeness import cosines, normalised, separable
from magicapture.training.attention import AttentionMaps
from magicapture.training.losses import resized_mask
from magicapture.training.validation import token_maps

#: Columns of a set of pictures, and their names in scores.json.
SCORES = {"csim": "referee", "judge": "identity", "style": "style", "aesthetic": "aesthetic", "head": "head", "faces": "face_count"}
Columns = dict[str, list[Any]]


def measure(pair: Pair | None, folder: Path, made: Mapping[str, Path], config: Config) -> dict[str, Any]:
    """All that a row needs to keep, since pictures are lost with the machine.

    {"levels": genuine and stranger (rendered people only), "sets": kind of picture ("portrait"; where they were made "attributes", "base",
    "processed"; "real", renders of the person in the look, where there is a base) -> column -> a value a picture, in the seeds' order, None
    without a face; "stray": {"[V1]", "[V2]": a value a picture of the look}}.
    """
    measurer = Measurer(load_pack(config.pack), PreparedSet.load(folder / "prepared"))
    levels = levels_in(folder, pair, config) if pair is not None else None
    sets: dict[str, Columns] = {}
    for part, place in (("", made["evaluation"]), ("processed", made["processed"])):
        if not (place / MANIFEST).is_file():
            continue
        items = sorted(json.loads((place / "scores.json").read_text())["items"], key=lambda item: (item["prompt"], item["seed"]))
        for kind in dict.fromkeys(item["kind"] for item in items):
            if part and kind != "portrait":
                continue
            rows = [item for item in items if item["kind"] == kind]
            columns: Columns = {"seed": [row["seed"] for row in rows]}
            columns |= {name: [row[key] for row in rows] for name, key in SCORES.items()}
            columns["likeness"] = scaled(columns["csim"], levels) if levels else [row["likeness"] for row in rows]
            images = [np.array(Image.open(place / row["file"]).convert("RGB")) for row in rows]
            sets[part or kind] = columns | copies(images, measurer)
    if pair is not None and "base" in sets:
        sets["real"] = _real(pair, measurer, levels)
    return {"levels": levels, "sets": sets, "stray": stray_attention(made["adapter"], folder / "prepared", config)}


def levels_in(folder: Path, pair: Pair, config: Config) -> dict[str, float]:
    """Genuine and stranger level of the pair whose artifacts lie in the folder, measured once."""
    file, pack = folder / "levels.json", load_pack(config.pack)
    if not file.is_file():
        detector, referee = FaceDetector(pack, "cpu"), Embedder(pack, "referee", "cpu")
        write_json(file, levels_of(pair, source_embeddings(pair, referee), detector, referee, config.evaluation.strangers))
    return dict(json.loads(file.read_text()))


def scaled(values: Sequence[float | None], levels: Mapping[str, float] | None) -> list[float | None]:
    """Referee cosines scaled by this person's own levels in this look: 0 = matched strangers, 1 = other renders of the person."""
    if levels is None or not separable(levels["genuine"], levels["stranger"]):
        return [None] * len(values)
    return [None if s is None else float(normalised(np.array(s), levels["genuine"], levels["stranger"])) for s in values]


def _real(pair: Pair, measurer: Measurer, levels: Mapping[str, float] | None) -> Columns:
    """The person in the look as the world draws it, measured as portraits are: what the best of them could reach."""
    images = renders_of(pair, [pair.person] * 8)
    scores = measurer.measure(images)
    columns: Columns = {name: [getattr(score, key) for score in scores] for name, key in SCORES.items()}
    return columns | {"likeness": scaled(columns["csim"], levels)} | copies(images, measurer)


def copies(images: Sequence[np.ndarray], measurer: Measurer) -> Columns:
    """How near each picture comes to what it could be a copy of, cosines.

    "photo_face", "look_face": the referee's, of its face to the nearest one of the photos and of the look (None without a face).
    "photo_place", "look_place": CLIP's, to the nearest photo and picture of the look, heads hidden in all: hair is the person's;
    "style_around": so to the pictures of the look on average.
    """
    photos, looks = measurer.prepared.source, measurer.prepared.reference
    faces, _, heads = measurer.find(images)
    referee = measurer.embedders["referee"]
    worn = [align(item.image(), item.keypoints) for item in looks if item.keypoints is not None]
    known = {"photo_face": measurer.sources["referee"], "look_face": referee.embed(np.stack(worn)) if worn else None}
    own = [referee.embed(align(image, found[0].keypoints)[None]) if found else None for image, found in zip(images, faces, strict=True)]
    columns: Columns = {
        name: [None if row is None or others is None else float(cosines(row, others).max()) for row in own]
        for name, others in known.items()
    }
    places = measurer.clip.embed(images, heads)
    for name, items in (("photo_place", photos), ("look_place", looks)):
        table = places @ measurer.clip.embed([item.image() for item in items], [head_mask(item.parsing()) for item in items]).T
        columns[name] = table.max(1).tolist()
    return columns | {"style_around": table.mean(1).tolist()}


def collapsed(columns: Columns, levels: Mapping[str, float] | None) -> dict[str, list[float]]:
    """1 for each picture that is a copy instead of a composition, else 0: "face taken", its face is nearer to one of the look than to any
    photo, and as near as a copy is (above the middle of stranger and genuine; without levels any); "place taken", all but its head is
    nearer to a photo than to the look. Pictures without a face have none to take."""
    least = -1.0 if levels is None else (levels["genuine"] + levels["stranger"]) / 2
    faces = zip(columns["photo_face"], columns["look_face"], strict=True)
    places = zip(columns["photo_place"], columns["look_place"], strict=True)
    return {
        "face taken": [float(look is not None and look > max(photo, least)) for photo, look in faces],
        "place taken": [float(photo > look) for photo, look in places],
    }


def stray_attention(adapter: Path, prepared: Path, config: Config) -> dict[str, list[float]]:
    """Share of each token's attention that lies outside of its region, a value a picture of the look, 0 to 1 (0.5 on average for a map
    that looks everywhere alike).

    The pictures are noised to 0.4 T by a fixed seed and predicted under the composed prompt; regions and layers are those of
    Attention Refocusing (paper, eq. 8): [V1] belongs on the face, [V2] on the rest.
    """
    backbone = Generator(adapter, config).backbone
    items = [item for item in PreparedSet.load(prepared).reference if item.keypoints is not None]
    if not items:
        return {"[V1]": [], "[V2]": []}
    attention = AttentionMaps(backbone.unet, load_pack(config.pack).attention_resolution)
    maps = token_maps(backbone, attention, [item.image() for item in items])
    face = torch.from_numpy(np.stack([item.mask() for item in items]))[:, None]
    face = resized_mask(face, (maps.shape[-2], maps.shape[-1]))[:, 0]
    outside = [(maps[:, 0] * (1 - face)).sum((1, 2)) / maps[:, 0].sum((1, 2)), (maps[:, 1] * face).sum((1, 2)) / maps[:, 1].sum((1, 2))]
    return {token: values.tolist() for token, values in zip(("[V1]", "[V2]"), outside, strict=True)}
