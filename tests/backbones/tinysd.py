"""A Stable Diffusion folder of the exact classes, tiny and random, written by stock diffusers with fp16 weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from magicapture.artifacts import sha256_file
from magicapture.packs import Pack, load_pack

RESOLUTION = 32
LENGTH = 40
WIDTH = 32
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.'[]-"
START, END = "<|startoftext|>", "<|endoftext|>"


def write_diffusion(folder: Path, seed: int = 0, **schedule: Any) -> None:
    """Latents 4 x 8 x 8, cross-attention at 8 and 4, a CLIP of two layers whose tokens are characters."""
    symbols = [*CHARACTERS, *(c + "</w>" for c in CHARACTERS), START, END]
    ids = {symbol: index for index, symbol in enumerate(symbols)}
    tokenizer = CLIPTokenizer(vocab=ids, merges=[], model_max_length=LENGTH, bos_token=START, eos_token=END, pad_token=END, unk_token=END)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(ids), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                max_position_embeddings=LENGTH, bos_token_id=ids[START], eos_token_id=ids[END], pad_token_id=ids[END],
            )
        )  # fmt: skip
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=WIDTH, attention_head_dim=4,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=RESOLUTION,
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, scaling_factor=0.5,
        )  # fmt: skip
    scheduler = DDPMScheduler(
        **{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "steps_offset": 1}
        | schedule
    )
    StableDiffusionPipeline(
        vae=vae.half(), text_encoder=text.half(), tokenizer=tokenizer, unet=unet.half(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def write_pack(folder: Path, seed: int = 0, **schedule: Any) -> Pack:
    """A pack with only a diffusion model in it, its hashes recorded."""
    diffusion = folder / "diffusion"
    write_diffusion(diffusion, seed, **schedule)
    hashes = {str(path.relative_to(diffusion)): sha256_file(path) for path in sorted(diffusion.rglob("*.safetensors"))}
    role = {"path": "diffusion", "licence": "Apache-2.0", "commercial": True, "sha256": hashes}
    pack = {
        "name": f"tiny{seed}", "version": "0", "description": "random weights", "resolution": RESOLUTION, "attention_resolution": 8,
        "roles": {"diffusion": role},
    }  # fmt: skip
    (folder / "pack.yaml").write_text(yaml.safe_dump(pack))
    return load_pack(folder)


def stock_pipeline(pack: Pack) -> StableDiffusionPipeline:
    """The same folder in diffusers' own pipeline, fp32: what every result is compared with."""
    pipeline = StableDiffusionPipeline.from_pretrained(pack.path("diffusion"), torch_dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
