"""Stable Diffusion 2.x and XL of the exact classes, tiny and random, written by stock diffusers: every family that is not 1.x."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from magicapture.artifacts import sha256_file
from magicapture.packs import Pack, load_pack
from magicapture.world.tokenizer import build_tokenizer

RESOLUTION = 32
LENGTH = 32
#: Name -> whether it is XL, and what its UNet predicts.
FAMILIES = {"sd2-epsilon": (False, "epsilon"), "sd2-v": (False, "v_prediction"), "sdxl": (True, "epsilon")}
_SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def write_family(folder: Path, family: str) -> None:
    """32 px -> latents of 16x16x4; cross-attention at 8x8 (and 16x16 or 4x4); CLIPs whose tokens are the world's words."""
    xl, prediction_type = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts: dict[str, Any] = {"vae": _vae(), "scheduler": EulerDiscreteScheduler(prediction_type=prediction_type, **_SCHEDULE)}
        if xl:
            tokenizer, second = _tokenizer(folder / "tokenizer", "<|endoftext|>"), _tokenizer(folder / "tokenizer_2", "!")
            parts |= {
                "tokenizer": tokenizer, "text_encoder": CLIPTextModel(_text(tokenizer, 16, 2, hidden_act="quick_gelu")),
                "tokenizer_2": second, "text_encoder_2": CLIPTextModelWithProjection(_text(second, 24, 3, projection_dim=20)),
                "unet": _unet(
                    40, block_out_channels=(8, 16, 16), attention_head_dim=(2, 2, 4), transformer_layers_per_block=(1, 1, 2),
                    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                    addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=20 + 6 * 8,
                ),
            }  # fmt: skip
            pipeline = StableDiffusionXLPipeline(**parts)
        else:
            tokenizer = _tokenizer(folder / "tokenizer", "!")
            parts |= {
                "tokenizer": tokenizer, "text_encoder": CLIPTextModel(_text(tokenizer, 16, 3)), "safety_checker": None,
                "feature_extractor": None, "requires_safety_checker": False,
                "unet": _unet(
                    16, block_out_channels=(8, 16), attention_head_dim=(2, 4), down_block_types=("CrossAttnDownBlock2D",) * 2,
                    up_block_types=("CrossAttnUpBlock2D",) * 2,
                ),
            }  # fmt: skip
            pipeline = StableDiffusionPipeline(**parts)
    pipeline.save_pretrained(folder)


def write_pack(folder: Path, family: str) -> Pack:
    """A pack with only a diffusion model in it, its hashes recorded."""
    write_family(folder / "diffusion", family)
    pack = {
        "name": family, "version": "0", "description": "random weights", "resolution": RESOLUTION, "attention_resolution": 8,
        "roles": {"diffusion": diffusion_role(folder)},
    }  # fmt: skip
    (folder / "pack.yaml").write_text(yaml.safe_dump(pack))
    return load_pack(folder)


def diffusion_role(folder: Path) -> dict[str, Any]:
    """The role's entry in pack.yaml for what lies in ``folder / "diffusion"``."""
    files = sorted(path for path in (folder / "diffusion").rglob("*") if path.is_file())
    hashes = {str(path.relative_to(folder / "diffusion")): sha256_file(path) for path in files}
    return {"path": "diffusion", "licence": "Apache-2.0", "commercial": True, "sha256": hashes}


def stock_pipeline(pack: Pack) -> Any:
    """The same folder in diffusers' own pipeline: what every result is compared with."""
    pipeline = DiffusionPipeline.from_pretrained(pack.path("diffusion"), safety_checker=None)
    if isinstance(pipeline, StableDiffusionXLPipeline):
        mend_end_token(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def mend_end_token(pipeline: StableDiffusionXLPipeline) -> None:
    """As magicapture.adapters documents it: the configuration's id of the end token is wrong, as in the published one."""
    assert pipeline.text_encoder_2.config.eos_token_id == 2
    pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id


def into_stock(folder: Path, pipeline: Any) -> None:
    """Load an adapter folder into a stock pipeline as magicapture.adapters documents it."""
    pipeline.load_lora_weights(folder)
    for name, vector in load_file(folder / "tokens.safetensors").items():
        if isinstance(pipeline, StableDiffusionXLPipeline):
            mend_end_token(pipeline)
            token, number = name[:-7], "_2" * name.endswith(".clip_g")
            encoder, tokenizer = getattr(pipeline, "text_encoder" + number), getattr(pipeline, "tokenizer" + number)
            pipeline.load_textual_inversion({token: vector}, text_encoder=encoder, tokenizer=tokenizer)
        else:
            pipeline.load_textual_inversion({name: vector})


def stock_prediction(
    stock: Any, latents: torch.Tensor, timesteps: torch.Tensor, prompts: list[str], resolution: int = RESOLUTION
) -> torch.Tensor:
    """What the stock pipeline's UNet predicts for prompts, conditioned as the pipeline does it."""
    if not isinstance(stock, StableDiffusionXLPipeline):
        return stock.unet(latents, timesteps, stock.encode_prompt(prompts, "cpu", 1, False)[0]).sample
    sequence, _, pooled, _ = stock.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
    size = (resolution, resolution)
    time_ids = stock._get_add_time_ids(size, (0, 0), size, sequence.dtype, pooled.shape[1]).repeat(len(prompts), 1)
    added = {"text_embeds": pooled, "time_ids": time_ids}
    return stock.unet(latents, timesteps, sequence, added_cond_kwargs=added).sample


def _tokenizer(folder: Path, pad: str) -> CLIPTokenizer:
    tokenizer = build_tokenizer(folder, LENGTH)
    tokenizer.pad_token = pad
    return tokenizer


def _text(tokenizer: CLIPTokenizer, width: int, layers: int, **more: Any) -> CLIPTextConfig:
    # Start, end and pad as in the published OpenCLIP encoders: ids of another tokenizer.
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers, num_attention_heads=2,
        max_position_embeddings=LENGTH, bos_token_id=0, eos_token_id=2, pad_token_id=1, **{"hidden_act": "gelu", **more},
    )  # fmt: skip


def _unet(width: int, **more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=4, cross_attention_dim=width,
        use_linear_projection=True, **more,
    )  # fmt: skip


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16), latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=2, sample_size=RESOLUTION,
        scaling_factor=0.13025,
    )  # fmt: skip
