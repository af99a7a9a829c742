"""The mini pack's diffusion model: exact Stable Diffusion classes, small numbers (measured in the model card).

The pack is made at 64 px; 128 px is the recipe for a machine with a GPU.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

RESOLUTION = 64
LATENT_CHANNELS = 8
TEXT_WIDTH = 128
TEXT_LENGTH = 32


def build_vae(resolution: int = RESOLUTION) -> AutoencoderKL:
    """64 px -> 16x16x8 (128 px -> 32x32x8). Two norm groups, since with few channels a group GroupNorm removes global colour; no attention
    in the middle, so that a region decodes as it does within the whole picture."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=LATENT_CHANNELS, block_out_channels=(24, 48, 64), layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, norm_num_groups=2,
        sample_size=resolution, mid_block_add_attention=False, scaling_factor=1.0,
    )  # fmt: skip


def build_unet(resolution: int = RESOLUTION) -> UNet2DConditionModel:
    """Cross-attention at 16x16 and 8x8, at 64 and at 128 px, which has one level before them; ``attention_head_dim`` counts heads, as
    in Stable Diffusion 1.x. Raises ValueError for another resolution."""
    if resolution not in (64, 128):
        raise ValueError(f"resolution {resolution}: the diffusion model of the world has recipes for 64 and 128 px")
    wide = resolution == 128
    return UNet2DConditionModel(
        sample_size=resolution // 4, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS, layers_per_block=1,
        block_out_channels=(64, 128, 192, 256) if wide else (64, 128, 192),
        down_block_types=("DownBlock2D",) * wide + ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D") + ("UpBlock2D",) * wide,
        mid_block_type="UNetMidBlock2DCrossAttn", cross_attention_dim=TEXT_WIDTH, attention_head_dim=4, norm_num_groups=16,
    )  # fmt: skip


def build_text_encoder(vocabulary: int, start: int, end: int) -> CLIPTextModel:
    """Two layers over a vocabulary of ``vocabulary`` tokens with the given special ids."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary, hidden_size=TEXT_WIDTH, intermediate_size=4 * TEXT_WIDTH, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH, bos_token_id=start, eos_token_id=end, pad_token_id=end, projection_dim=TEXT_WIDTH,
        )
    )  # fmt: skip


def build_schedule() -> DDPMScheduler:
    """Stable Diffusion's noise schedule with v-prediction."""
    return DDPMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip


def write_diffusion(folder: Path, vae: AutoencoderKL, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
    """Write a Stable Diffusion folder in diffusers layout, weights in fp16 safetensors."""
    import json

    from magicapture.world.tokenizer import build_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(folder / "tokenizer", TEXT_LENGTH)
    tokenizer.save_pretrained(folder / "tokenizer")
    for name, model in (("vae", vae), ("unet", unet), ("text_encoder", text_encoder)):
        state = {key: value.clone() for key, value in model.state_dict().items()}
        model.to(torch.float16).save_pretrained(folder / name, safe_serialization=True)
        model.to(torch.float32).load_state_dict(state)
    build_schedule().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None], "image_encoder": [None, None],
        "requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def random_diffusion(folder: Path, seed: int = 0) -> None:
    """A Stable Diffusion folder of the mini pack's architecture with random weights, for tests and first wiring."""
    from magicapture.world.tokenizer import build_tokenizer

    torch.manual_seed(seed)
    tokenizer = build_tokenizer(folder / "tokenizer", TEXT_LENGTH)
    write_diffusion(folder, build_vae(), build_unet(), build_text_encoder(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id))
