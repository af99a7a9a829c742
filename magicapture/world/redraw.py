"""Renders as the text-to-image model would have drawn them: noised part of the way and sampled back, the truth still known.

An upscaler and a restorer have to mend what samples really show (a decoder's blur, uneven eyes, crumbled edges); renders that were
only blurred and compressed do not show it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from magicapture.adapters import tensor_hash
from magicapture.backbones.sampling import build_scheduler
from magicapture.world.architecture import TEXT_LENGTH, build_schedule
from magicapture.world.autoencoder import to_pixels, trained_vae
from magicapture.world.captions import full_caption
from magicapture.world.datasets import Plan, factors_of
from magicapture.world.diffusion import build_text_to_image
from magicapture.world.loop import autocast, load_average
from magicapture.world.tokenizer import build_tokenizer

STEPS, GUIDANCE = 20, 3.0
STRENGTHS = (0.1, 0.35)  # shares of the noise: beyond a third another person begins to appear
BATCH = 32


def redrawn(work: Path, plan: Plan, images: np.ndarray, seed: int = 0) -> np.ndarray:
    """uint8 (n, 64, 64, 3): the pictures of ``plan`` (given at 64 px) drawn again by ``work/unet``; made once, kept below ``work/data``."""
    tokenizer = build_tokenizer(work / "data" / "tokenizer", TEXT_LENGTH)
    model = load_average(build_text_to_image(work / "data"), work / "unet").eval()
    vae = trained_vae(work)
    key = tensor_hash(
        {f"{name}.{key}": value for name, part in (("vae", vae), ("model", model)) for key, value in part.state_dict().items()}
    )[:12]
    file = work / "data" / f"redrawn-{plan.people}-{len(images)}-{seed}-{key}.npy"
    if not file.is_file():
        texts = [full_caption(*factors_of(plan, index)) for index in range(len(images))]
        ids = tokenizer(texts, padding="max_length", truncation=True, max_length=TEXT_LENGTH, return_tensors="pt").input_ids
        empty = tokenizer([""], padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt").input_ids
        made = [
            _draw(vae, model, images[start : start + BATCH], ids[start : start + BATCH], empty, torch.Generator().manual_seed(seed + start))
            for start in range(0, len(images), BATCH)
        ]
        aside = file.with_name(f".{file.name}")
        np.save(aside, np.concatenate(made))
        aside.rename(file)
    return np.load(file)


@torch.inference_mode()
def _draw(
    vae: AutoencoderKL, model: torch.nn.Module, images: np.ndarray, ids: Tensor, empty: Tensor, generator: torch.Generator
) -> np.ndarray:
    scheduler = build_scheduler("ddim", build_schedule())
    scheduler.set_timesteps(STEPS)
    low, high = STRENGTHS
    share = low + (high - low) * float(torch.rand((), generator=generator))
    timesteps = [t for t in scheduler.timesteps if int(t) <= share * 1000]
    with autocast():
        latents = vae.encode(to_pixels(images)).latent_dist.mean.float() * vae.config.scaling_factor
        latents = scheduler.add_noise(latents, torch.randn(latents.shape, generator=generator), timesteps[0].expand(len(latents)))
        words = torch.cat([empty.expand_as(ids), ids])
        for timestep in timesteps:
            without, with_words = model(torch.cat([latents, latents]), timestep.expand(2 * len(latents)), words).float().chunk(2)
            latents = scheduler.step(without + GUIDANCE * (with_words - without), timestep, latents, return_dict=False)[0]
        decoded = vae.decode(latents / vae.config.scaling_factor).sample.float()
    return ((decoded.clamp(-1, 1) + 1) * 127.5 + 0.5).byte().permute(0, 2, 3, 1).contiguous().numpy()
