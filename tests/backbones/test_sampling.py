"""Sampling: what stock diffusers samples, one generator a picture, nothing left behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    StableDiffusionPipeline,
)

from magicapture.backbones import Backbone, BackboneError, load_backbone
from magicapture.backbones.sampling import SAMPLERS, build_scheduler, denoise
from tests.backbones.tinysd import stock_pipeline, write_pack

PROMPTS = ["a photo of a person", "a dog", "x"]
SEEDS = [11, 12, 2**40]
STOCK = {
    "euler_ancestral": lambda c: EulerAncestralDiscreteScheduler.from_config(c),
    "dpmpp_2m": lambda c: DPMSolverMultistepScheduler.from_config(c, use_karras_sigmas=True),
    "kdpm2_ancestral": lambda c: KDPM2AncestralDiscreteScheduler.from_config(c),
    "ddim": lambda c: DDIMScheduler.from_config(c, clip_sample=False, set_alpha_to_one=False),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_pictures_equal_those_of_the_stock_pipeline(
    backbone: Backbone, stock: StableDiffusionPipeline, sampler: str, guidance: float
) -> None:
    stock.scheduler = STOCK[sampler](stock.scheduler.config)
    expected = stock(
        PROMPTS,
        negative_prompt=["bad"] * 3,
        num_inference_steps=5,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
    ).images
    found = backbone.sample(PROMPTS, SEEDS, steps=5, guidance=guidance, sampler=sampler, negative_prompt="bad", batch=3)
    assert found.dtype == np.uint8 and found.shape == (3, 32, 32, 3)
    assert np.abs(found - expected * 255).max() <= 1
    assert found.std() > 5


def test_epsilon_models_sample_as_stock_too(tmp_path: Path) -> None:
    pack = write_pack(tmp_path, 1, prediction_type="epsilon", timestep_spacing="trailing")
    backbone, stock = load_backbone(pack), stock_pipeline(pack)
    stock.scheduler = STOCK["euler_ancestral"](stock.scheduler.config)
    expected = stock("a", num_inference_steps=4, guidance_scale=2.0, generator=torch.Generator().manual_seed(1), output_type="np").images
    found = backbone.sample(["a"], [1], steps=4, guidance=2.0, sampler="euler_ancestral")
    assert np.abs(found - expected * 255).max() <= 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_depends_on_its_own_prompt_and_seed_only(backbone: Backbone, sampler: str) -> None:
    shape = (backbone.latent_channels, backbone.latent_size, backbone.latent_size)

    def latents(prompts: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
        guided = backbone._guided(prompts, 3.0)
        return denoise(guided, backbone.schedule, shape, seeds, steps=4, sampler=sampler, device=backbone.device)

    with torch.no_grad():
        together, backwards = latents(PROMPTS, SEEDS), latents(PROMPTS[::-1], SEEDS[::-1])
        alone = torch.cat([latents([prompt], [seed]) for prompt, seed in zip(PROMPTS, SEEDS, strict=True)])
        others = latents(["b", PROMPTS[1], "c"], [1, SEEDS[1], 2])
    # another batch size rounds otherwise; a shared generator would give differences of the order of 1
    assert torch.allclose(together, alone, atol=2e-3) and torch.allclose(together, backwards.flip(0), atol=2e-3)
    assert torch.allclose(together[1], others[1], atol=2e-3)
    assert (together[0] - together[1]).abs().mean() > 0.05


def test_batches_only_split_the_work(backbone: Backbone) -> None:
    settings = {"steps": 3, "guidance": 2.0, "sampler": "euler_ancestral"}
    whole = backbone.sample(PROMPTS, SEEDS, batch=3, **settings).astype(int)
    parts = backbone.sample(PROMPTS, SEEDS, batch=2, **settings).astype(int)
    assert np.abs(whole - parts).max() <= 1
    assert backbone.sample([], [], batch=2, **settings).shape == (0, 32, 32, 3)


def test_same_seed_same_picture_other_seed_or_prompt_another(backbone: Backbone) -> None:
    pictures = backbone.sample(["a", "a", "a", "zzz"], [1, 1, 2, 1], steps=3, guidance=5.0, sampler="ddim", batch=4)
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[0], pictures[3])


def test_nothing_is_left_behind(backbone: Backbone) -> None:
    vector = backbone.tokens.add("[V1]", torch.ones(32))
    backbone.unet.mid_block.train()
    training = [module.training for module in backbone.unet.modules()]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    backbone.sample(["a [V1]"], [1], steps=2, guidance=2.0, sampler="euler_ancestral")
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in backbone.unet.modules()] == training and any(training)
    assert torch.is_grad_enabled() and vector.requires_grad and vector.grad is None
    # what was cached while sampling does not spoil a later backward pass
    backbone.predict(torch.zeros(1, 4, 8, 8), torch.tensor([1]), backbone.encode_prompts(["a [V1]"])).sum().backward()
    assert vector.grad is not None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_single_step_works(backbone: Backbone, sampler: str) -> None:
    assert backbone.sample(["a"], [0], steps=1, guidance=1.0, sampler=sampler).shape == (1, 32, 32, 3)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_follow_the_training_schedule_and_never_clip(sampler: str) -> None:
    training = DDPMScheduler(
        num_train_timesteps=500, beta_start=0.001, beta_end=0.03, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    assert training.config.clip_sample
    scheduler = build_scheduler(sampler, training)
    for name in ("num_train_timesteps", "beta_start", "beta_end", "prediction_type", "timestep_spacing"):
        assert scheduler.config[name] == training.config[name], name
    assert not scheduler.config.get("clip_sample", False)


def test_unknown_samplers_and_uneven_lists_are_refused(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="unknown sampler 'euler'; there are: euler_ancestral, dpmpp_2m"):
        backbone.sample(["a"], [1], steps=2, guidance=1.0, sampler="euler")
    with pytest.raises(BackboneError, match="2 prompts but 1 seeds"):
        backbone.sample(["a", "b"], [1], steps=2, guidance=1.0, sampler="ddim")
