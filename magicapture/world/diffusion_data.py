"""Pictures and captions for the diffusion model, rendered once into shards on disk and read as memory maps.

A shard is a folder with ``images.npy`` uint8 (n, 64, 64, 3), ``faces.npy`` bool (n, 64, 64), ``captions.npy``
int16 (n, CAPTIONS, length): token ids of several captions a picture, the first of them complete, and ``labels.npy``
int16 (n, len(LABELS)): what the words say, as numbers. One picture in twelve shows an object instead of a person, and its
mask stands in for the face. Seeds come from the ``diffusion`` split, so no person or look of an evaluation is ever among them.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from magicapture.faces.classes import FACE_CLASSES
from magicapture.world.architecture import RESOLUTION, TEXT_LENGTH
from magicapture.world.captions import full_caption, random_caption
from magicapture.world.datasets import publish
from magicapture.world.looks import CLOTH_COLOURS, CLOTHES, LOOKS, Look
from magicapture.world.nuisance import EXPRESSIONS, Nuisance
from magicapture.world.objects import Pose, Texture, Thing, random_object_caption, render_object
from magicapture.world.people import AGES, BEARDS, GLASSES, HAIR_COLOURS, HAIR_STYLES, SKINS, Person
from magicapture.world.render import render
from magicapture.world.splits import seeds

SHARD = 1000
CAPTIONS = 6
PICTURES_PER_PERSON = 4
OBJECTS = 1 / 12
PARTS = ("images", "faces", "captions", "labels")
#: Name of an attribute -> its values; a label is the place among them, -1 where there is none (hair colour of a bald head, objects).
LABELS: dict[str, tuple[str, ...]] = {
    "skin": tuple(SKINS),
    "hair_style": HAIR_STYLES,
    "hair_colour": tuple(HAIR_COLOURS),
    "beard": BEARDS,
    "glasses": GLASSES,
    "age": AGES,
    "expression": EXPRESSIONS,
    "clothing": CLOTHES,
    "cloth_colour": tuple(CLOTH_COLOURS),
    "look": LOOKS,
}


def labels_of(attributes: dict[str, str]) -> np.ndarray:
    """A picture's attributes as int64 (len(LABELS),): indices into LABELS' values, -1 where an attribute does not apply."""
    return np.array([LABELS[name].index(attributes[name]) if attributes.get(name) in LABELS[name] else -1 for name in LABELS])


def render_shard(folder: Path, index: int, people: str = "diffusion", looks: str = "train", size: int = RESOLUTION) -> Path:
    """Render shard ``index`` unless it is there; deterministic in ``index``. Half of the looks are named, half are mixed."""
    import cv2

    from magicapture.world.tokenizer import build_tokenizer

    target = folder / f"{people}-{index:05d}"
    if target.is_dir():
        return target
    cv2.setNumThreads(1)
    aside = folder / f".{target.name}.{os.getpid()}"
    aside.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(aside / "tokenizer", TEXT_LENGTH)
    person_seeds, look_seeds = seeds("people", people), seeds("looks", looks)
    images = np.empty((SHARD, size, size, 3), np.uint8)
    faces = np.empty((SHARD, size, size), bool)
    captions = np.empty((SHARD, CAPTIONS, TEXT_LENGTH), np.int16)
    labels = np.empty((SHARD, len(LABELS)), np.int16)
    for row in range(SHARD):
        number = index * SHARD + row
        rng = np.random.default_rng((number, 7))
        draw = _object if np.random.default_rng((number, 8)).random() < OBJECTS else _person
        images[row], faces[row], texts, words = draw(person_seeds[number // PICTURES_PER_PERSON], look_seeds, rng, size)
        captions[row] = tokenizer(texts, padding="max_length", truncation=True, max_length=TEXT_LENGTH, return_tensors="np").input_ids
        labels[row] = labels_of(words)
    parts: tuple[np.ndarray, ...] = (images, faces, captions, labels)
    for name, part in zip(PARTS, parts, strict=True):
        np.save(aside / f"{name}.npy", part)
    shutil.rmtree(aside / "tokenizer", ignore_errors=True)
    publish(aside, target)
    return target


_Drawn = tuple[np.ndarray, np.ndarray, list[str], dict[str, str]]


def _person(person_seed: int, look_seeds: range, rng: np.random.Generator, size: int) -> _Drawn:
    """Picture, mask of the face, captions and attributes of a person in a look."""
    person = Person.sample(person_seed)
    look_seed = look_seeds[int(rng.integers(len(look_seeds)))]
    look = Look.sample(look_seed) if rng.random() < 0.5 else Look.compose(look_seed)
    nuisance = replace(Nuisance.sample(int(rng.integers(2**31))), jpeg=None)
    picture = render(person, look, nuisance, size)
    texts = [full_caption(person, look, nuisance)] + [random_caption(person, look, nuisance, rng) for _ in range(CAPTIONS - 1)]
    return picture.image, np.isin(picture.parsing, FACE_CLASSES), texts, picture.attributes


def _object(thing_seed: int, texture_seeds: range, rng: np.random.Generator, size: int) -> _Drawn:
    """Picture, mask of the object, captions and no attributes of a person."""
    thing, texture = Thing.sample(thing_seed), Texture.sample(texture_seeds[int(rng.integers(len(texture_seeds)))])
    pose = Pose.sample(int(rng.integers(2**31)))
    picture = render_object(thing, texture, pose, size)
    return (
        picture.image,
        picture.mask,
        [picture.caption, *(random_object_caption(thing, texture, pose, rng) for _ in range(CAPTIONS - 1))],
        {},
    )


def render_shards(folder: Path, count: int, processes: int = 1, people: str = "diffusion", looks: str = "train",
                  size: int = RESOLUTION) -> None:  # fmt: skip
    """Render shards 0 to ``count - 1``; those on disk are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [(folder, index, people, looks, size) for index in range(count)]
    if processes == 1:
        for task in tasks:
            render_shard(*task)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.starmap(render_shard, tasks, chunksize=1)


@dataclass
class Pictures:
    """Shards as one set: ``images`` uint8 (n, 64, 64, 3), ``faces`` bool (n, 64, 64), ``captions`` int16 (n, CAPTIONS, length),
    ``labels`` int16 (n, len(LABELS))."""

    images: np.ndarray
    faces: np.ndarray
    captions: np.ndarray
    labels: np.ndarray

    @classmethod
    def load(cls, folder: Path, people: str = "diffusion", limit: int | None = None) -> Pictures:
        """Every shard of ``people`` below ``folder``, in order. Raises FileNotFoundError when there is none."""
        shards = sorted(folder.glob(f"{people}-*"))[:limit]
        if not shards:
            raise FileNotFoundError(
                f"no shard {people}-* in {folder}; a training renders what it needs (python -m magicapture.world.train)"
            )
        return cls(*(np.concatenate([np.load(shard / f"{name}.npy", mmap_mode="r") for shard in shards]) for name in PARTS))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Side of the pictures in px."""
        return int(self.images.shape[1])
