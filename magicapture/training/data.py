"""From a prepared set to the rows of a step: cached latents in several augmented versions, masks, key points, prompts, noise."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from magicapture.artifacts import SUBJECTS, lineage_key, subjects_of, write_bytes
from magicapture.backbones import Backbone
from magicapture.config import Augment
from magicapture.faces.concepts import REFERENCE_TOKEN, SOURCE_TOKEN, called
from magicapture.faces.prepared import PreparedItem, PreparedSet
from magicapture.packs import Pack
from magicapture.training import prompts
from magicapture.training.augment import augmented, flipped_keypoints, is_flipped, picture_hash

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One prepared picture in all its augmented versions, ready to be drawn from.

    ``mean`` and ``std`` (versions, C, h, w): the VAE posterior in scaled latents, so that every draw is a fresh sample; ``face``
    (versions, 1, H, W) float32 of 0 and 1; ``keypoints`` (versions, 5, 2) px, None for a look without a face; ``concept``: which of the
    set's subjects or looks it shows.
    """

    mean: Tensor
    std: Tensor
    face: Tensor
    keypoints: Tensor | None
    concept: int = 0


@dataclass(frozen=True)
class TrainingData:
    """Examples of both sets.

    ``subjects``, ``looks``: the token of each concept of the source and of the reference set, which ``Example.concept`` counts.
    ``prior``: pictures of the untuned model, all called ``class_prompt`` (prior preservation only). ``word``: what the photos show
    (``training.class_word``). ``composed``: the set that composed rows are drawn from, "reference" (paper, eq. 6) or "source" (objects).
    ``source_composed``: share of source rows that are called by a composed prompt (``tuning.source_composed``).
    """

    source: tuple[Example, ...]
    reference: tuple[Example, ...]
    prior: tuple[Example, ...] = ()
    class_prompt: str = ""
    word: str = prompts.PERSON
    composed: str = "reference"
    source_composed: float = 0.0
    subjects: tuple[str, ...] = (SOURCE_TOKEN,)
    looks: tuple[str, ...] = (REFERENCE_TOKEN,)

    def of(self, kind: str) -> tuple[Example, ...]:
        """The examples that rows of a kind are drawn from."""
        sets = {"source": self.source, "reference": self.reference, "prior": self.prior}
        return sets[self.composed if kind == "composed" else kind]


@dataclass(frozen=True)
class Batch:
    """The rows of one UNet pass, kind after kind.

    ``clean`` and ``noise`` (rows, C, h, w); ``timesteps`` (rows,) long; ``face`` (rows, 1, H, W) of 0 and 1; all on the
    device. ``keypoints`` (rows, 5, 2) px on the CPU, NaN where there is no face. ``subjects``, ``looks``: a row, which of
    ``TrainingData.subjects`` and ``.looks`` it is about (where its prompt names one).
    """

    kinds: tuple[str, ...]
    prompts: list[str]
    clean: Tensor
    noise: Tensor
    timesteps: Tensor
    face: Tensor
    keypoints: Tensor
    subjects: tuple[int, ...]
    looks: tuple[int, ...]

    def rows(self, *kinds: str) -> list[int]:
        """Indices of the rows of these kinds."""
        return [index for index, kind in enumerate(self.kinds) if kind in kinds]


def load_training_data(prepared: PreparedSet, pack: Pack, backbone: Backbone, config: Augment, cache: Path) -> TrainingData:
    """Encode every picture of a prepared set in ``config.versions`` augmented versions, or read them from ``cache``.

    Raises ValueError when a set is empty or of another resolution than the backbone.
    """
    if prepared.resolution != backbone.resolution:
        raise ValueError(
            f"{prepared.folder}: prepared at {prepared.resolution} px, but the pack's diffusion model works at {backbone.resolution} px; "
            "run preprocess again with this pack"
        )
    for name, items in (("source", prepared.source), ("reference", prepared.reference)):
        if not items:
            raise ValueError(
                f"{prepared.folder}: the {name} set is empty; expected at least one usable picture (its sheet.html says what was set aside)"
            )

    def examples(items: Sequence[PreparedItem], concepts: Sequence[str]) -> tuple[Example, ...]:
        whose = subjects_of(prepared.manifest)
        return tuple(_example(item, concepts.index(item.concept), pack, backbone, config, cache, whose) for item in items)

    source, reference = examples(prepared.source, prepared.concepts("source")), examples(prepared.reference, prepared.concepts("reference"))
    return TrainingData(source, reference, subjects=prepared.tokens("source"), looks=prepared.tokens("reference"))


def draw_batch(
    data: TrainingData, kinds: Sequence[str], rows: int, timesteps: int, generator: torch.Generator, device: torch.device
) -> Batch:
    """``rows`` rows of each kind: pictures (different ones while there are enough), versions, prompts, timesteps, latents, noise.

    Concepts take turns, whatever the number of their pictures. A composed row is called by a drawn subject and its picture's look (by its
    picture's subject and a drawn look where composed rows are source photos, and where source rows have composed prompts).
    Timesteps are uniform over the full range 0..timesteps-1 for every kind (design, principle 4). Everything comes from
    ``generator`` (on the CPU, so that every device sees the same draws).
    """
    clean, faces, keypoints, words, subjects, looks = [], [], [], [], [], []
    for kind in kinds:
        examples = data.of(kind)
        for index in _pick(examples, rows, generator):
            example = examples[index]
            version = int(torch.randint(len(example.mean), (), generator=generator))
            mean = example.mean[version]
            clean.append(mean + example.std[version] * torch.randn(mean.shape, generator=generator))
            faces.append(example.face[version])
            keypoints.append(torch.full((5, 2), torch.nan) if example.keypoints is None else example.keypoints[version])
            prompt = _prompt(data, kind, generator)
            photo = data.composed if kind == "composed" else kind
            subject, look = (
                example.concept if photo == name else _one(tokens, generator)
                for name, tokens in (("source", data.subjects), ("reference", data.looks))
            )
            words.append(called(prompt, data.subjects[subject], data.looks[look]))
            subjects.append(subject)
            looks.append(look)
    latents = torch.stack(clean)
    return Batch(
        kinds=tuple(kind for kind in kinds for _ in range(rows)),
        prompts=words,
        clean=latents.to(device),
        noise=torch.randn(latents.shape, generator=generator).to(device),
        timesteps=torch.randint(timesteps, (len(latents),), generator=generator).to(device),
        face=torch.stack(faces).to(device),
        keypoints=torch.stack(keypoints),
        subjects=tuple(subjects),
        looks=tuple(looks),
    )


def _pick(examples: Sequence[Example], rows: int, generator: torch.Generator) -> list[int]:
    """Indices of ``rows`` examples, a concept after the other in a drawn order, of each concept different ones while there are enough."""
    own: dict[int, list[int]] = {}
    for index, example in enumerate(examples):
        own.setdefault(example.concept, []).append(index)
    groups = [own[concept] for concept in sorted(own)]
    turns = _shuffled(len(groups), rows, generator) if len(groups) > 1 else [0] * rows
    orders = [iter(_shuffled(len(group), turns.count(i), generator)) for i, group in enumerate(groups)]
    return [groups[turn][next(orders[turn])] for turn in turns]


def _shuffled(count: int, length: int, generator: torch.Generator) -> list[int]:
    """``length`` numbers below ``count``: as many drawn permutations as that takes, one after the other."""
    orders = [torch.randperm(count, generator=generator) for _ in range(-(-length // count))]
    return torch.cat(orders)[:length].tolist() if orders else []


def _one(concepts: Sequence[str], generator: torch.Generator) -> int:
    """A drawn concept; of a single one nothing is drawn."""
    return int(torch.randint(len(concepts), (), generator=generator)) if len(concepts) > 1 else 0


def _prompt(data: TrainingData, kind: str, generator: torch.Generator) -> str:
    """What a row of this kind is called."""
    if kind == "prior":
        return data.class_prompt
    if kind == "source" and data.source_composed and float(torch.rand((), generator=generator)) < data.source_composed:
        kind = "composed"
    return prompts.draw(kind, generator, data.word)


def _example(
    item: PreparedItem, concept: int, pack: Pack, backbone: Backbone, config: Augment, cache: Path, whose: Mapping[str, Sequence[str]]
) -> Example:
    mean, std = _latents(item.image(), pack, backbone, config, cache, {name: [item.sha256] for name in whose if item.sha256 in whose[name]})
    flips = [is_flipped(version, config) for version in range(config.versions)]
    face = torch.from_numpy(item.mask().astype(np.float32))[None]
    keypoints = None
    if item.keypoints is not None:
        mirrored = flipped_keypoints(item.keypoints, backbone.resolution)
        keypoints = torch.from_numpy(np.stack([mirrored if flip else item.keypoints for flip in flips]).astype(np.float32))
    return Example(mean, std, torch.stack([face.flip(-1) if flip else face for flip in flips]), keypoints, concept)


def _latents(
    image: np.ndarray, pack: Pack, backbone: Backbone, config: Augment, cache: Path, whose: Mapping[str, Sequence[str]]
) -> tuple[Tensor, Tensor]:
    """Posterior mean and standard deviation of every version, from the cache when it holds them.

    The key names the content (pixels, augmentation, weights, precision), not a position: pictures are never mixed up. ``whose`` (the
    picture's ``artifacts.subjects_of``; empty for a look) goes into the file's metadata, by which `magicapture purge` finds it; the same
    picture may have been given under another name, or as a look, before.
    """
    key = lineage_key("latents/1", picture_hash(image), config.model_dump_json(), pack.digest(), str(backbone.dtype), backbone.device.type)
    path = cache / f"{key}.safetensors"
    found = cached(path)
    if found is not None:
        mean, std, before = found
        whose = subjects_of({SUBJECTS: before}, {SUBJECTS: whose})
        if whose == before:
            return mean, std
    else:
        mean, std = _encoded(image, backbone, config)
    write_bytes(path, save({"mean": mean, "std": std}, metadata={SUBJECTS: json.dumps(whose)}))
    return mean, std


def cached(path: Path) -> tuple[Tensor, Tensor, dict[str, list[str]]] | None:
    """Mean and standard deviation that lie in a file of the cache, and whose they are; None where there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("mean"), file.get_tensor("std"), json.loads((file.metadata() or {}).get(SUBJECTS, "{}"))
    except SafetensorError as error:
        log.warning("%s is damaged (%s): making it again", path, error)
        return None


def _encoded(image: np.ndarray, backbone: Backbone, config: Augment) -> tuple[Tensor, Tensor]:
    pictures = np.stack([augmented(image, version, config) for version in range(config.versions)])
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous() / 127.5 - 1
    with torch.no_grad():
        means, stds = zip(*(backbone.posterior(part) for part in images.split(4)), strict=True)
    mean, std = (torch.cat(parts).cpu().contiguous() for parts in (means, stds))  # attention in an autoencoder leaves channels last
    return mean, std
