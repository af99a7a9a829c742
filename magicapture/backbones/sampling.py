"""Samplers: diffusers schedulers built from a backbone's own training schedule, with one generator per picture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
)
from torch import Tensor

if TYPE_CHECKING:
    from magicapture.backbones.backbone import Backbone

#: Name -> scheduler class and what it is given beside the training schedule. Latents are never clipped.
SAMPLERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True}),
    "kdpm2_ancestral": (KDPM2AncestralDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
}

# What describes the training schedule; the rest of a DDPM configuration (clipping, variance) is about DDPM sampling.
_SCHEDULE = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "timestep_spacing", "steps_offset", "rescale_betas_zero_snr",
)  # fmt: skip


def build_scheduler(sampler: str, schedule: Any) -> Any:
    """A fresh sampler of that name for a model trained with ``schedule`` (DDPMScheduler). Raises ValueError for an unknown name."""
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; there are: {', '.join(SAMPLERS)}")
    kind, settings = SAMPLERS[sampler]
    accepted = inspect.signature(kind).parameters
    training = {name: schedule.config[name] for name in _SCHEDULE if name in accepted and schedule.config.get(name) is not None}
    return kind(**training, **settings)


def denoise(
    backbone: Backbone,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance: float,
    sampler: str,
    negative_prompt: str = "",
    cells: int | None = None,
) -> Tensor:
    """Latents (N, C, h, w) fp32 sampled from noise, one per (prompt, seed) pair; conditional and unconditional rows in one pass.

    ``cells``: their side; ``backbone.latent_size`` where None.
    """
    scheduler = build_scheduler(sampler, backbone.schedule)
    scheduler.set_timesteps(steps, device=backbone.device)
    # Drawn on the CPU: the same seed gives the same noise on every device.
    generators = [torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds]
    side = backbone.latent_size if cells is None else cells
    shape = (1, backbone.latent_channels, side, side)
    latents = torch.cat([torch.randn(shape, generator=generator) for generator in generators]).to(backbone.device)
    latents = latents * scheduler.init_noise_sigma
    guided = guidance > 1
    text = backbone.encode_prompts(list(prompts))
    if guided:
        text = backbone.encode_negative(negative_prompt).repeated(len(prompts)).followed_by(text)
    noise = {"generator": generators} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for timestep in scheduler.timesteps:
        rows = scheduler.scale_model_input(latents, timestep)
        rows = torch.cat([rows, rows]) if guided else rows
        prediction = backbone.predict(rows, timestep.expand(len(rows)), text)
        if guided:
            without, with_prompt = prediction.chunk(2)
            prediction = without + guidance * (with_prompt - without)
        latents = scheduler.step(prediction, timestep, latents, **noise, return_dict=False)[0]
    return latents
