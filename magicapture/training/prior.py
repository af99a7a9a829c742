"""Prior preservation (DreamBooth, Custom Diffusion): what the untuned model draws for the class goes on being drawn."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from magicapture.artifacts import lineage_key, write_bytes
from magicapture.backbones import Backbone
from magicapture.config import Config
from magicapture.packs import Pack
from magicapture.progress import progress
from magicapture.training.data import Example, cached

#: Seed of the first class picture, far from those of validation and of results.
FIRST_SEED = 6_000_000


def class_examples(backbone: Backbone, pack: Pack, config: Config, cache: Path) -> tuple[Example, ...]:
    """``tuning.class_images`` pictures of ``tuning.class_prompt`` by the untuned backbone, one version each, with an empty face.

    Sampled as results are (``generation``: steps, guidance, sampler); kept below ``cache`` as latents, keyed by all that made them.
    """
    knobs, sampling = config.tuning, config.generation
    made = (knobs.class_prompt, knobs.class_images, sampling.steps, sampling.guidance, sampling.sampler, sampling.negative_prompt)
    key = lineage_key("class/1", *map(str, made), pack.digest(), str(backbone.dtype), backbone.device.type)
    path = cache / f"class-{key}.safetensors"
    found = cached(path)
    if found is not None:
        mean, std, _ = found
    else:
        encoded = []
        starts = range(0, knobs.class_images, sampling.batch)
        for start in progress(starts, total=len(starts), what="class pictures", unit="round"):
            seeds = [FIRST_SEED + i for i in range(start, min(start + sampling.batch, knobs.class_images))]
            pictures = backbone.sample(
                [knobs.class_prompt] * len(seeds), seeds, steps=sampling.steps, guidance=sampling.guidance, sampler=sampling.sampler,
                negative_prompt=sampling.negative_prompt, batch=sampling.batch,
            )  # fmt: skip
            with torch.no_grad():
                encoded.append(backbone.posterior(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous() / 127.5 - 1))
        mean, std = (torch.cat(parts).cpu().contiguous() for parts in zip(*encoded, strict=True))  # channels last, as in training.data
        write_bytes(path, save({"mean": mean, "std": std}))
    nobody = torch.zeros(1, 1, backbone.resolution, backbone.resolution)
    return tuple(Example(*own, nobody, None) for own in zip(mean.split(1), std.split(1), strict=True))
