"""People and looks of the rendered world that no model has seen, as folders of photos: what the benchmarks personalise."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from magicapture.artifacts import write_json, write_text
from magicapture.config import Config
from magicapture.faces.align import align
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import load_pack
from magicapture.scoring.likeness import csim
from magicapture.world.captions import attribute_prompt
from magicapture.world.looks import LOOKS, Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person, matched_stranger
from magicapture.world.render import render
from magicapture.world.splits import seeds

GROUP, PHOTOS, SIZE = 4, 5, 256
# Offsets inside a split's seeds, so that nobody and no look is used twice for different ends.
_UNSEEN, _EVERYDAY, _EXTRAS, _STRANGERS = 2_000, 100_000, 500_000, 700_000


@dataclass(frozen=True)
class Pair:
    """One person in one look, and where its artifacts lie."""

    folder: Path
    person: Person
    look: Look
    seed: int


def claim(out: Path, options: Mapping[str, Any], config: Config) -> None:
    """A folder belongs to one set of options: a second call continues it, a different one is refused (SystemExit)."""
    wanted = {**options, "config": config.model_dump(mode="json"), "pack_digest": load_pack(config.pack).weights_digest()}
    file = out / "options.json"
    if file.is_file() and json.loads(file.read_text()) != json.loads(json.dumps(wanted)):
        raise SystemExit(f"{out} holds results of other options, knobs or another pack; choose another folder or remove it")
    write_json(file, wanted)


def draw(out: Path, people: int, looks: int, matched: bool, split: str) -> list[list[Pair]]:
    """Groups of up to four people in one look each; no two groups share a person."""
    own, styles = seeds("people", split), seeds("looks", split)
    groups = []
    for first in range(0, people, GROUP):
        members = range(first, min(first + GROUP, people))
        base = Person.sample(own[first])
        subjects = [base if i == first else matched_stranger(base, own[i]) if matched else Person.sample(own[i]) for i in members]
        for k in range(looks):
            look = Look.sample(styles[first * looks + k])
            folder = out / f"look-{k}"
            groups.append([Pair(folder / f"person-{i}", person, look, own[i]) for i, person in zip(members, subjects, strict=True)])
    return groups


def draw_unseen(out: Path, people: int, looks: int, split: str) -> list[Pair]:
    """Each person in looks of its own, of different families, none of them a photo's; nobody and no look of :func:`draw`, which is the
    one people have looked at. Everybody's first look comes first."""
    own, styles = seeds("people", split), seeds("looks", split)
    pairs = []
    for k in range(looks):
        for i in range(people):
            seed, number = own[_UNSEEN + i], styles[_UNSEEN + i * looks + k]
            worn = {photo.name for photo, _ in _drawn(seed, number)}
            families = np.random.default_rng([seed, 11]).permutation([name for name in LOOKS if name not in worn])
            pairs.append(Pair(out / f"look-{k}" / f"person-{i}", Person.sample(seed), Look.sample(number, str(families[k])), seed))
    return pairs


def draw_pictures(pair: Pair) -> None:
    """Photos of the person in everyday looks, images of the look worn by others, both described in words; drawn once."""
    folder = pair.folder
    if (folder / "looks" / "description.txt").is_file():
        return
    rng = np.random.default_rng([pair.seed, 3])
    for i, (everyday, other) in enumerate(_drawn(pair.seed, pair.look.seed)):
        _save(folder / "photos" / f"photo-{i}.jpg", pair.person, everyday, rng)
        _save(folder / "looks" / f"look-{i}.jpg", other, pair.look, rng)
    write_text(folder / "photos" / "description.txt", attribute_prompt(pair.person))
    words = attribute_prompt(pair.person, pair.look).removeprefix(attribute_prompt(pair.person)).strip(" ,")
    write_text(folder / "looks" / "description.txt", words)


def _drawn(seed: int, look: int) -> list[tuple[Look, Person]]:
    """A photo's look and a look's wearer, for each of a person's pictures; the same in all looks of a split."""
    rng = np.random.default_rng(seed)
    base, everyday = seed - seed % 1_000_000, look - look % 1_000_000 + _EVERYDAY
    return [
        (Look.sample(everyday + int(rng.integers(_EVERYDAY))), Person.sample(base + _EXTRAS + int(rng.integers(_EVERYDAY))))
        for _ in range(PHOTOS)
    ]


def _save(path: Path, person: Person, look: Look, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = render(person, look, Nuisance.sample(int(rng.integers(2**31))), SIZE).image
    Image.fromarray(image).save(path, quality=95, subsampling=0)


def source_embeddings(pair: Pair, referee: Embedder) -> np.ndarray:
    """(photos, D) unit rows of the pair's prepared photos."""
    prepared = PreparedSet.load(pair.folder / "prepared")
    return referee.embed(np.stack([align(item.image(), item.keypoints) for item in prepared.source if item.keypoints is not None]))


def renders_of(pair: Pair, who: Sequence[Person]) -> list[np.ndarray]:
    """Real pictures of people in the pair's look; its sunglasses hide nobody's eyes, as they do in no portrait of the person's own head."""
    look = replace(pair.look, sunglasses=False)
    return [render(person, look, Nuisance.sample(pair.seed + i), SIZE).image for i, person in enumerate(who)]


def levels_of(pair: Pair, sources: np.ndarray, detector: FaceDetector, referee: Embedder, count: int) -> dict[str, float]:
    """Mean referee cosine to the photos of `count` renders of the person, and of as many matched strangers, in the same poses and look."""
    base = pair.seed - pair.seed % 1_000_000
    people = {"genuine": [pair.person] * count, "stranger": [matched_stranger(pair.person, base + _STRANGERS + i) for i in range(count)]}
    levels = {}
    for name, who in people.items():
        images = renders_of(pair, who)
        embeddings, found = referee.embed_faces(images, detector)
        levels[name] = float(csim(embeddings[found], sources).mean()) if found.any() else 0.0
    return levels
