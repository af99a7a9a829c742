"""Fixed-seed samples scored by the judge (of objects: by the structure network) while training, and pictures of where the tokens look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn import functional as F

from magicapture import adapters
from magicapture.backbones import Backbone
from magicapture.config import Config
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.concepts import TOKENS, called, of_side
from magicapture.faces.embed import Embedder
from magicapture.faces.prepared import SETS, PreparedSet
from magicapture.packs import Pack
from magicapture.scoring.structure import StructureScorer
from magicapture.training.attention import AttentionMaps, side_positions
from magicapture.training.prompts import PERSON, templates, validation_prompts

#: First seed of validation pictures, far from those that results are reported with (design, principle 8).
FIRST_SEED = 7_000_000
#: Share of the schedule at which attention maps are drawn: late enough to have to look, early enough to know where.
_MAP_TIME = 0.4
_HEAT = np.array([[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]], np.float32)


class FaceScore:
    """Mean cosine, by the judge, to the mean source embedding of the subject that each picture is to show.

    A picture in which no face is found counts 0, which is what a stranger's face would count: losing the face is no better
    than losing the person.
    """

    def __init__(self, pack: Pack, prepared: PreparedSet) -> None:
        means = np.stack([prepared.of([token]).embeddings("judge", "source").mean(axis=0) for token in prepared.tokens("source")])
        #: (subjects, D), unit rows.
        self.people = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        self.detector = FaceDetector(pack)
        self.judge = Embedder(pack, "judge")

    def __call__(self, images: np.ndarray, pairs: Sequence[tuple[int, int]]) -> float:
        """Of pictures (n, H, W, 3) uint8, each of a (subject, look)."""
        embeddings, found = self.judge.embed_faces(images, self.detector)
        people = self.people[[subject for subject, _ in pairs]]
        return float(np.where(found, (embeddings * people).sum(axis=1), 0.0).mean())


class ObjectScore:
    """Half the structure kept from the photos, half the appearance of the looks (``scoring.structure``), mean over the pictures.

    Both, because a picture that is a photo again, or a look again, is good at one of them.
    """

    def __init__(self, pack: Pack, prepared: PreparedSet) -> None:
        self.scorer = StructureScorer(pack)
        self.photos, self.looks = (
            [[item.image() for item in getattr(prepared.of([token]), name)] for token in prepared.tokens(name)] for name in SETS
        )

    def __call__(self, images: np.ndarray, pairs: Sequence[tuple[int, int]]) -> float:
        """Of pictures (n, H, W, 3) uint8, each of a (subject, look)."""
        scores = np.empty(len(images))
        for subject, look in dict.fromkeys(pairs):
            where = [i for i, pair in enumerate(pairs) if pair == (subject, look)]
            scores[where] = np.mean(self.scorer.score(list(images[where]), self.photos[subject], self.looks[look]), axis=0)
        return float(scores.mean())


class Validation:
    """Samples the composed validation prompts and scores them: :class:`FaceScore`, or for objects :class:`ObjectScore`.

    Every pair of a subject and a look has as many samples, at least one; picture i is of pair i modulo the number of pairs.

    Sampling has generators of its own, so training is the same with and without validation.
    """

    def __init__(self, backbone: Backbone, pack: Pack, prepared: PreparedSet, config: Config, folder: Path) -> None:
        self.backbone, self.config, self.folder = backbone, config, folder
        self.score: FaceScore | ObjectScore = FaceScore(pack, prepared) if prepared.faces else ObjectScore(pack, prepared)
        subjects, looks = prepared.tokens("source"), prepared.tokens("reference")
        self.pairs, known = list(product(range(len(subjects)), range(len(looks)))), validation_prompts(config.training.class_word)
        each = -(-config.tuning.samples // len(self.pairs))
        self.prompts = [called(known[i % len(known)], subjects[s], looks[k]) for i in range(each) for s, k in self.pairs]
        count = len(self.prompts)
        reported = set(config.generation.seeds)
        self.seeds = [seed for seed in range(FIRST_SEED, FIRST_SEED + count + len(reported)) if seed not in reported][:count]

    def __call__(self, step: int) -> float:
        """Score the backbone as it is now (in [-1, 1]) and keep its samples as ``step-<5 digits>-<i>.png``."""
        images = self.sample()
        self.folder.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            Image.fromarray(image).save(self.folder / f"step-{step:05d}-{index}.png")
        return self.score(images, [self.pairs[i % len(self.pairs)] for i in range(len(images))])

    def sample(self) -> np.ndarray:
        """Pictures (samples, H, W, 3) uint8 at the scales that inference uses."""
        knobs = self.config.generation
        adapters.set_scales(self.backbone, knobs.unet_scale, knobs.text_scale)
        try:
            return self.backbone.sample(
                self.prompts, self.seeds, steps=knobs.steps, guidance=knobs.guidance, sampler=knobs.sampler,
                negative_prompt=knobs.negative_prompt, batch=knobs.batch,
            )  # fmt: skip
        finally:
            adapters.set_scales(self.backbone)


@torch.no_grad()
def token_maps(
    backbone: Backbone,
    attention: AttentionMaps,
    pictures: Sequence[np.ndarray],
    word: str = PERSON,
    pairs: Sequence[Sequence[str]] | None = None,
) -> Tensor:
    """Where the tokens look in pictures (H, W, 3) uint8: (pictures, tokens, side, side) float32 on the CPU, means over layers and heads.

    The pictures are noised to 0.4 T by a fixed seed and predicted under the default composed prompt, each of its own of ``pairs``
    (tokens of a subject and a look); without them of the first subject and look.
    """
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() / 127.5 - 1
    first = [of_side(backbone.tokens.ids, plain)[0] for plain in TOKENS]
    prompts = [called(templates("composed", word)[0], *pair) for pair in pairs or [first] * len(images)]
    latents = backbone.encode_images(images)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents.device)
    timesteps = torch.full((len(images),), round(_MAP_TIME * len(backbone.schedule.alphas_cumprod)), device=latents.device)
    with attention.recording():
        backbone.predict(backbone.schedule.add_noise(latents, noise, timesteps), timesteps, backbone.encode_prompts(prompts))
    maps = attention.of(side_positions(backbone, prompts)).mean(dim=2).cpu()
    attention.release()
    return maps


def draw_attention(
    backbone: Backbone, attention: AttentionMaps, pictures: Mapping[str, tuple[np.ndarray, Sequence[str]]], folder: Path,
    word: str = PERSON,
) -> None:  # fmt: skip
    """Write each picture as ``<name>.png`` and over it where its two tokens look, ``<name>-v1.png`` and ``<name>-v2.png``.

    Maps are those of :func:`token_maps`, each scaled to [0, 1] by its own range; ``maps.safetensors`` holds them alone: name ->
    (tokens, side, side) float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown, pairs = zip(*pictures.values(), strict=True)
    maps = {name: _scaled(row) for name, row in zip(pictures, token_maps(backbone, attention, shown, word, pairs), strict=True)}
    for (name, levels), picture in zip(maps.items(), shown, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.png")
        for number, level in enumerate(levels, 1):
            Image.fromarray(_heat(picture, level)).save(folder / f"{name}-v{number}.png")
    save_file({name: levels.numpy() for name, levels in maps.items()}, folder / "maps.safetensors")


def _scaled(maps: Tensor) -> Tensor:
    """Maps (tokens, h, w), each scaled to [0, 1] by its own range."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


def _heat(picture: np.ndarray, token_map: Tensor) -> np.ndarray:
    """A map (h, w) in [0, 1] as heat over the greyed picture: (H, W, 3) uint8."""
    level = F.interpolate(token_map[None, None], size=picture.shape[:2], mode="bilinear")[0, 0].numpy()
    places = np.linspace(0, 1, len(_HEAT))
    heat = np.stack([np.interp(level, places, _HEAT[:, channel]) for channel in range(3)], axis=-1)
    grey = picture.mean(axis=-1, keepdims=True)
    return (0.35 * grey + 0.65 * heat).clip(0, 255).astype(np.uint8)
