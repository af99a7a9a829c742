"""How well a pack's diffusion model draws: its autoencoder on held-out renders, and its samples of held-out captions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.metrics import structural_similarity

from magicapture.backbones import Backbone, load_backbone
from magicapture.config import load_config
from magicapture.packs import Pack, load_pack
from magicapture.scoring.clip import ClipEncoder
from magicapture.world import attributes
from magicapture.world.architecture import RESOLUTION
from magicapture.world.diffusion_data import Pictures, labels_of, render_shards
from magicapture.world.looks import LOOKS, Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render
from magicapture.world.splits import seeds

SAMPLES = 200
STEPS = 25
TRAINING_SHARDS = 6  # of 1000 pictures, among which the nearest of a sample is sought
COLOURLESS = ("noir", "sepia")  # looks without colours of their own
_FIRST = 200_000  # offset in the seeds of the split: nobody of the other measurements


@dataclass(frozen=True)
class Captioned:
    """Renders of held-out people and looks: ``images`` uint8 (n, 64, 64, 3), their full ``captions``, ``labels`` int (n, len(LABELS)),
    and ``named`` bool of the same shape: what the caption says in words."""

    images: np.ndarray
    captions: list[str]
    labels: np.ndarray
    named: np.ndarray


def held_out_pictures(work: Path) -> Pictures:
    """1000 captioned renders of validation people and looks, rendered below ``work`` once."""
    render_shards(work / "held-out", 1, people="validation", looks="validation")
    return Pictures.load(work / "held-out", "validation")


def vae_scores(pack: Pack, work: Path) -> dict[str, float]:
    """Decoded posterior means against the pictures: PSNR (dB), SSIM, and the PSNR of people's faces, means over pictures."""
    pictures, backbone = held_out_pictures(work), load_backbone(pack)
    made = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 50):
            images = torch.from_numpy(pictures.images[start : start + 50]).permute(0, 3, 1, 2).float() / 127.5 - 1
            decoded = (backbone.decode(backbone.encode_images(images)) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
            made.append((decoded * 255).round().to(torch.uint8).cpu().numpy())
    decoded_images = np.concatenate(made)
    pairs = list(zip(decoded_images, pictures.images, strict=True))
    masks = pictures.faces & (pictures.labels[:, list(attributes.LABELS).index("skin")] >= 0)[:, None, None]  # not those of objects
    faces = [psnr(a[mask][None], b[mask][None]) for (a, b), mask in zip(pairs, masks, strict=True) if mask.any()]
    return {
        "psnr": psnr(decoded_images, pictures.images),
        "ssim": float(np.mean([structural_similarity(a, b, channel_axis=2, data_range=255) for a, b in pairs])),
        "psnr_face": float(np.mean(faces)),
    }


def text_to_image_scores(pack: Pack, work: Path) -> dict[str, Any]:
    """Samples of SAMPLES held-out captions, with the mini preset's sampler and guidance, STEPS steps.

    ``accuracy``: attribute -> share of the samples that show the captioned value, and the same of true renders of these captions: the
    classifier that looks at both errs too. ``frechet``: in the pack's CLIP space from the samples to renders of the same captions,
    between two disjoint sets of renders, and the ratio. Sharing captions makes a set nearer, so ``ratio`` may fall below 1;
    ``ratio_to_others``, where the samples face the other renders as well, is about 1 for perfect samples. ``nearest``: distance to the
    nearest training picture (see :func:`nearest`) of samples and of held-out renders. ``seconds``: one picture, on this machine.
    """
    drawn, others, samples = held_out_captions(SAMPLES), held_out_captions(SAMPLES, SAMPLES), sampled(pack.folder, SAMPLES)
    reader = attributes.trained_reader(work)
    right = {
        who: attributes.accuracy(attributes.read(reader, images), drawn.labels, drawn.named)
        for who, images in (("samples", samples), ("renders", drawn.images))
    }
    clip = ClipEncoder(pack)
    rows = [clip.embed(list(images)) for images in (samples, drawn.images, others.images)]
    away, apart, unpaired = frechet(rows[0], rows[1]), frechet(rows[1], rows[2]), frechet(rows[0], rows[2])
    training = training_images(work)
    distances = {who: nearest(images, training)[1] for who, images in (("samples", samples), ("renders", drawn.images))}
    counts = (drawn.named & (drawn.labels >= 0)).sum(0)
    return {
        "accuracy": {
            name: {"samples": right["samples"][name], "renders": right["renders"][name], "count": int(count)}
            for name, count in zip(attributes.LABELS, counts, strict=True)
        },
        "frechet": {"samples": away, "renders": apart, "ratio": away / apart, "ratio_to_others": unpaired / apart},
        "nearest": {
            "training_pictures": len(training),
            **{who: {"mean": float(found.mean()), "least": float(found.min())} for who, found in distances.items()},
        },
        "seconds": seconds_a_sample(load_backbone(pack), drawn.captions[0]),
    }


@cache
def held_out_captions(count: int, first: int = 0) -> Captioned:
    """``count`` renders of people, named looks and poses of the validation split, numbers ``first`` and on; every look in turn."""
    people, looks, rng = seeds("people", "validation"), seeds("looks", "validation"), np.random.default_rng((first, 97))
    pictures = []
    for i in range(first, first + count):
        # bare-headed: under a hat no one can tell the hair style
        look = replace(Look.sample(looks[_FIRST + i], LOOKS[i % len(LOOKS)]), hat="none")
        nuisance = replace(Nuisance.sample(int(rng.integers(2**31))), jpeg=None)
        pictures.append(render(Person.sample(people[_FIRST + i]), look, nuisance, RESOLUTION))
    return Captioned(
        np.stack([picture.image for picture in pictures]),
        [picture.caption for picture in pictures],
        np.stack([labels_of(picture.attributes) for picture in pictures]),
        np.stack([attributes.named(picture.attributes, picture.caption) & _seen(picture.attributes["look"]) for picture in pictures]),
    )


def _seen(look: str) -> np.ndarray:
    """bool (len(LABELS),): false for colours in looks that take them out of the picture, where no one could name them."""
    colours = ("skin", "hair_colour", "cloth_colour")
    return np.array([look not in COLOURLESS or name not in colours for name in attributes.LABELS])


@cache
def sampled(folder: Path, count: int) -> np.ndarray:
    """One sample, uint8 (64, 64, 3), of each of the first ``count`` held-out captions by the pack in ``folder``."""
    return sample(load_backbone(load_pack(folder)), held_out_captions(count).captions, range(count))


def sample(backbone: Backbone, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """One picture per (prompt, seed) pair, uint8 (n, 64, 64, 3): STEPS steps, sampler and guidance of the mini preset."""
    knobs = load_config("mini").generation
    return backbone.sample(
        prompts,
        seeds,
        steps=STEPS,
        guidance=knobs.guidance,
        sampler=knobs.sampler,
        negative_prompt=knobs.negative_prompt,
        batch=knobs.batch,
    )


def seconds_a_sample(backbone: Backbone, prompt: str, repeats: int = 5) -> float:
    """Median wall-clock time of one guided picture of STEPS steps, alone in its batch, with torch's threads as they are."""
    found = []
    for seed in range(repeats):
        started = time.perf_counter()
        sample(backbone, [prompt], [seed])
        found.append(time.perf_counter() - started)
    return float(np.median(found))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance (squared, as in FID) between Gaussians fitted to the rows (n, D) and (m, D); both of them at least two."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    covariances = [np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b)]
    roots = []
    for covariance in covariances:
        values, vectors = np.linalg.eigh(covariance)
        roots.append(vectors * np.sqrt(values.clip(0)))
    # With S = R R^T, the eigenvalues of S1 S2 are the squared singular values of R1^T R2: no root of an unsymmetric matrix.
    shared = np.linalg.norm(roots[0].T @ roots[1], "nuc")
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + sum(np.trace(c) for c in covariances) - 2 * shared)


def training_images(work: Path) -> np.ndarray:
    """Pictures the diffusion model was trained on: uint8 (n, 64, 64, 3), rendered below ``work`` if they are not there."""
    render_shards(work / "pictures", TRAINING_SHARDS)
    return Pictures.load(work / "pictures", limit=TRAINING_SHARDS).images


def nearest(images: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest training picture of each of ``images``, uint8 (n, h, w, 3), mirrored where that is nearer, and its distance (n,):
    the root mean squared difference of pixels, 0 to 255."""
    wanted = images.reshape(len(images), -1).astype(np.float32) - 127.5
    best, found = np.full(len(images), np.inf), np.empty_like(images)
    for start in range(0, len(training), 500):
        for part in (training[start : start + 500], training[start : start + 500, :, ::-1]):
            rows = part.reshape(len(part), -1).astype(np.float32) - 127.5
            squares = (wanted**2).sum(1)[:, None] + (rows**2).sum(1) - 2 * wanted @ rows.T
            place = squares.argmin(1)
            closer = np.flatnonzero(squares.min(1) < best)
            best[closer], found[closer] = squares.min(1)[closer], part[place[closer]]
    return found, np.sqrt(best.clip(0) / wanted.shape[1])


def psnr(made: np.ndarray, truth: np.ndarray) -> float:
    """dB of uint8 pictures (n, ...), mean over pictures."""
    errors = ((made.astype(np.float32) - truth) ** 2).reshape(len(made), -1).mean(1)
    return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-6))))
