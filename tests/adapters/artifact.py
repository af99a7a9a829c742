"""Adapter artifacts of tiny random models of every family, and what stock diffusers makes of their exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file

from magicapture import adapters
from magicapture.artifacts import writing
from magicapture.backbones import Backbone, load_backbone
from magicapture.config import Config, load_config
from magicapture.packs import Pack
from tests.tinyfamilies import mend_end_token

PROMPT = "a photo of a [V1] person in the [V2] style"


def config_of(pack: Pack, *overrides: str) -> Config:
    return load_config("mini", [f"pack={pack.folder}", "generation.steps=2", "generation.seeds=[5]", "generation.guidance=1.5", *overrides])


def tuned_of(pack: Pack, seed: int = 7, rank: int = 4, alpha: float = 2.0, strength: float = 0.3) -> Backbone:
    """A backbone with two tokens and a LoRA that all do something, drawn from the seed."""
    backbone, generator = load_backbone(pack), torch.Generator().manual_seed(seed)
    for encoder in backbone.tokens.encoders:
        for token in ("[V1]", "[V2]"):
            encoder.add(token, torch.randn(encoder.width, generator=generator) * 0.3)
    groups = adapters.attach(backbone, rank, alpha, 0.0, seed=0)
    with torch.no_grad():
        for parameter in [*groups.unet, *groups.text]:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * strength)
    return backbone


DATA = "fedcba9876543210"


def write_adapter(folder: Path, pack: Pack, backbone: Backbone, *overrides: str) -> Path:
    """An ``adapter/1`` artifact, as the tuning stage writes them, without what training leaves behind; of a person called as its folder."""
    config, whose = config_of(pack, *overrides).model_dump(mode="json"), {folder.name: ["0" * 64]}
    with writing(folder, "adapter/1", lineage="0123456789abcdef", config=config, subjects=whose) as draft:
        adapters.save(draft.path, backbone)
        digest = adapters.tensor_hash(adapters.tensors(backbone))
        draft.content = {
            "pack": pack.name, "pack_digest": pack.digest(), "diffusion_digest": pack.digest("diffusion"), "recogniser": None,
            "trainable": "lora", "descriptions": {}, "seed": 3, "best_step": 80, "last_step": 100, "best_hash": digest,
            "last_hash": digest, "scores": [], "data": DATA,
        }  # fmt: skip
    return folder


def latents_here(pack: Pack, folder: Path, unet: float = 1.0, text: float = 1.0, prompt: str = PROMPT) -> torch.Tensor:
    """What an adapter folder's model predicts for fixed noise, here."""
    backbone = load_backbone(pack)
    adapters.load(folder, backbone, unet, text)
    noise, timesteps = noise_of(backbone.latent_channels, backbone.latent_size)
    with torch.no_grad():
        return backbone.predict(noise, timesteps, backbone.encode_prompts([prompt] * 2))


def noise_of(channels: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(3)), torch.tensor([400, 900])


def stock_pipeline(folder: Path) -> Any:
    """diffusers' own pipeline in fp32, whatever lies in the folder."""
    return DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, safety_checker=None)


def latents_of(pipeline: Any, pack: Pack, prompt: str = PROMPT) -> torch.Tensor:
    """Latents that a stock pipeline generates: two steps with guidance, from seed 5."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt, num_inference_steps=2, guidance_scale=1.5, height=pack.resolution, width=pack.resolution, output_type="latent",
        generator=torch.Generator().manual_seed(5),
    ).images  # fmt: skip


def load_embeddings(pipeline: Any, files: dict[str, Path]) -> None:
    """Embedding files into a stock pipeline."""
    if isinstance(pipeline, StableDiffusionXLPipeline):
        mend_end_token(pipeline)
    for token, file in files.items():
        vectors = load_file(file)
        if isinstance(pipeline, StableDiffusionXLPipeline):
            pipeline.load_textual_inversion(vectors["clip_l"], token, tokenizer=pipeline.tokenizer, text_encoder=pipeline.text_encoder)
            pipeline.load_textual_inversion(vectors["clip_g"], token, tokenizer=pipeline.tokenizer_2, text_encoder=pipeline.text_encoder_2)
        else:
            pipeline.load_textual_inversion(str(file), token)
