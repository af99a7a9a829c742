"""Samplers: diffusers schedulers built from a model's own training schedule, with one generator per picture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
)
from torch import Tensor

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
    predict: Callable[[Tensor, Tensor], Tensor],
    schedule: Any,
    shape: tuple[int, int, int],
    seeds: Sequence[int],
    *,
    steps: int,
    sampler: str,
    device: torch.device,
) -> Tensor:
    """Latents (N, C, h, w) fp32 sampled from noise, one of ``shape`` (C, h, w) a seed.

    ``predict``: noisy latents (N, C, h, w) and timesteps (N,) -> what a model trained with ``schedule`` (DDPMScheduler) predicts.
    Raises ValueError for an unknown sampler.
    """
    scheduler = build_scheduler(sampler, schedule)
    scheduler.set_timesteps(steps, device=device)
    # Drawn on the CPU: the same seed gives the same noise on every device.
    generators = [torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds]
    latents = torch.cat([torch.randn((1, *shape), generator=generator) for generator in generators]).to(device)
    latents = latents * scheduler.init_noise_sigma
    noise = {"generator": generators} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for timestep in scheduler.timesteps:
        prediction = predict(scheduler.scale_model_input(latents, timestep), timestep.expand(len(latents)))
        latents = scheduler.step(prediction, timestep, latents, **noise, return_dict=False)[0]
    return latents
