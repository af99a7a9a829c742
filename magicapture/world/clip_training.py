"""CLIP on pictures and captions, and the aesthetic head on its image embedding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel

from magicapture.packs import Pack
from magicapture.world import degrade
from magicapture.world.diffusion_data import Pictures, render_shards
from magicapture.world.loop import Run, autocast, load_average
from magicapture.world.networks import CLIP_MEAN, CLIP_STD, CLIP_WIDTH, build_aesthetic, build_clip
from magicapture.world.packing import write_aesthetic, write_clip
from magicapture.world.warm import go_on

BATCH = 128
STEPS = 6000
AESTHETIC_STEPS = 3000
SHARDS = 8
SAMPLES = 16000  # pictures the aesthetic head learns from
WORST = 4.0  # level of degradation that scores 1; 0 scores 10
HARMS = 5  # unsteady lines, blur, blotches, noise, JPEG


class _Trained(nn.Module):
    """CLIP with a head that guesses the amount of each harm while CLIP trains, so that its embedding keeps quality as well as content.

    Each harm by itself: from the sum alone unsteady lines, the faintest of them, were never learnt.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.clip = build_clip(folder)
        self.quality = nn.Linear(CLIP_WIDTH, HARMS)

    def forward(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings of pictures and captions (b, 128) each."""
        images = self.clip.get_image_features(pixel_values=pixels).pooler_output
        texts = self.clip.get_text_features(input_ids=ids).pooler_output
        return F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)


def train_clip(
    work: Path, *, steps: int = STEPS, rate: float = 1e-3, seed: int = 0, device: str = "cpu", processes: int = 1, pack: Pack | None = None
) -> None:
    """Train CLIP contrastively and write it below ``work/pack``."""
    render_shards(work / "pictures", SHARDS, processes)
    pictures = Pictures.load(work / "pictures")
    torch.manual_seed(seed)
    model = _Trained(work / "clip" / "tokenizer").to(device)
    start = partial(go_on, model.clip, pack, "clip", words=work / "clip" / "tokenizer")
    run = Run(model, work / "clip", steps=steps, rate=rate, seed=seed, average=0.998, weight_decay=0.05, start=start)

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng((seed, step, 41))
        rows = rng.choice(len(pictures), BATCH, replace=False)
        images, amounts = _worn(pictures.images[rows], rng, 0.6)
        pixels = network_input(images)
        hidden = torch.from_numpy(pictures.faces[rows] & (rng.random(BATCH) < 0.2)[:, None, None])
        pixels = torch.where(hidden[:, None], 0.0, pixels)  # as the style score hides faces
        # The full caption half of the time, else one with phrases left out.
        which = np.where(rng.random(BATCH) < 0.5, 0, rng.integers(pictures.captions.shape[1], size=BATCH))
        ids = pictures.captions[rows, which].astype(np.int64)
        with autocast(device):
            image, text = model(pixels.to(device), torch.from_numpy(ids).to(device))
        logits = model.clip.logit_scale.exp().clamp(max=100) * image @ text.T
        # Equal captions are no negatives of each other.
        same = torch.from_numpy((ids[:, None] == ids[None]).all(2)).to(device)
        wanted = same.float() / same.sum(1, keepdim=True)
        contrast = (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2
        guess = model.quality(image * CLIP_WIDTH**0.5)
        quality = F.mse_loss(guess, torch.from_numpy(amounts).float().to(device), reduction="none").sum(1).mean()
        right = (logits.argmax(1) == torch.arange(BATCH, device=device)).float().mean()
        return {"total": contrast + quality, "contrast": contrast, "quality": quality, "right": right}

    run.run(loss)
    write_clip(work / "pack", load_average(model, work / "clip").clip.cpu())


def train_aesthetic(
    work: Path, *, steps: int = AESTHETIC_STEPS, rate: float = 3e-3, seed: int = 0, device: str = "cpu", processes: int = 1,
    pack: Pack | None = None,
) -> None:  # fmt: skip
    """Train the aesthetic head on the pack's CLIP (trained before) and write it below ``work/pack``."""
    pictures = Pictures.load(work / "pictures")
    clip = CLIPModel.from_pretrained(work / "pack" / "clip", dtype=torch.float32, local_files_only=True).eval()
    rng = np.random.default_rng((seed, 43))
    embeddings, levels = [], []
    for first in range(0, SAMPLES, 500):
        images, amounts = _worn(pictures.images[np.arange(first, min(first + 500, SAMPLES)) % len(pictures)], rng, 0.85)
        embeddings.append(embed(clip, images))
        levels.append(amounts.sum(1))
    features, wanted = torch.cat(embeddings), 10 - 9 * torch.from_numpy(np.concatenate(levels)).float() / WORST
    torch.manual_seed(seed)
    model = build_aesthetic()
    run = Run(model, work / "aesthetic", steps=steps, rate=rate, seed=seed, average=0.998, start=partial(go_on, model, pack, "aesthetic"))

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(features), (256,), generator=generator)
        error = F.smooth_l1_loss(model(features[rows])[:, 0], wanted[rows])
        return {"total": error}

    run.run(loss)
    write_aesthetic(work / "pack", load_average(model, work / "aesthetic"))


@torch.inference_mode()
def embed(clip: CLIPModel, images: np.ndarray) -> Tensor:
    """Unit image embeddings (n, 128) of uint8 (n, 64, 64, 3)."""
    return torch.cat(
        [
            F.normalize(clip.get_image_features(pixel_values=network_input(part)).pooler_output, dim=-1)
            for part in np.array_split(images, -(-len(images) // 100))
        ]
    )


def network_input(images: np.ndarray) -> Tensor:
    """uint8 (b, 64, 64, 3) -> (b, 3, 64, 64), (x / 255 - mean) / std."""
    pixels = (images.astype(np.float32) / 255 - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def spoil(image: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """A picture (64, 64, 3) spoilt to ``level`` 0 (untouched) .. 4 (beyond use), shared among two or three kinds of harm."""
    return _harm(image, _share(level, rng), rng)


def _share(level: float, rng: np.random.Generator) -> np.ndarray:
    """``level`` shared among two or three kinds of harm: amounts (HARMS,) that add up to it."""
    amounts = np.zeros(HARMS)
    chosen = rng.permutation(HARMS)[: int(rng.integers(2, 4))]
    amounts[chosen] = level * rng.dirichlet(np.full(len(chosen), 2.0))
    return amounts


def _harm(image: np.ndarray, amounts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture with so much of each harm.

    They come in the order of a picture's life (drawn, focused, decoded, recorded, compressed), so that none undoes another.
    Colours and contrast are left alone: a look may be pale or tinted on purpose, and nobody could tell.
    """
    harms: tuple[Callable[[np.ndarray, float], np.ndarray], ...] = (
        lambda picture, amount: degrade.warp(picture, rng, 0.01 * amount, 16),  # unsteady lines, as diffusion draws them
        lambda picture, amount: degrade.blur(picture, 0.15 + 0.65 * amount),
        lambda picture, amount: degrade.noise(picture, 15 * amount, rng, 4),  # blotches, as a decoder leaves
        lambda picture, amount: degrade.noise(picture, 13 * amount, rng),
        lambda picture, amount: degrade.jpeg(picture, int(np.clip(60 * np.exp(-0.85 * amount), 3, 60))),
    )
    for harm, amount in zip(harms, amounts, strict=True):
        if amount > 0:
            image = harm(image, float(amount))
    return image


def _worn(images: np.ndarray, rng: np.random.Generator, share: float) -> tuple[np.ndarray, np.ndarray]:
    """A ``share`` of the pictures spoilt to levels drawn from 0 to WORST: pictures, and amounts (n, HARMS) that add up to the levels."""
    amounts = np.stack([_share(rng.uniform(0, WORST), rng) if rng.random() < share else np.zeros(HARMS) for _ in images])
    return np.stack([_harm(image, each, rng) for image, each in zip(images, amounts, strict=True)]), amounts
