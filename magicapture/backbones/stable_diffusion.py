"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, whose last hidden state after the final layer norm conditions the UNet.

2.x differs in its configurations alone (OpenCLIP's text encoder without its last layer, a padding token of its own, linear
projections, another number of heads a level, v-prediction at 768 px), all of which the folder states.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import CLIPTextModel, CLIPTokenizer

from magicapture.backbones.backbone import Backbone, Text
from magicapture.backbones.quiet import no_progress_bar
from magicapture.backbones.region import Region
from magicapture.backbones.tokens import TokenEmbedding, spelt_out


class StableDiffusion(Backbone):
    """Loads a folder in diffusers layout (unet, vae, text_encoder, tokenizer, scheduler); safetensors only, never the network."""

    def __init__(self, folder: Path, resolution: int, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype, self.resolution = device, dtype, resolution
        # Weights may lie in fp16 on disk; they are cast to the asked dtype (fp32 on the CPU) while loading.
        local: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        self.unet = self._freeze(UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **local))
        self.vae = self._freeze(AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype, **local))
        with no_progress_bar():
            self.text_encoder = self._freeze(CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype, **local))
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        self.schedule = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        self.tokens = TokenEmbedding(self.text_encoder.get_input_embeddings(), self.tokenizer)
        self.text_encoder.set_input_embeddings(self.tokens)
        self.region = Region()
        self.untuned = {}

    def _freeze(self, network: nn.Module) -> nn.Module:
        return network.to(self.device).eval().requires_grad_(False)

    @property
    def scale(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_channels(self) -> int:
        return int(self.vae.config.latent_channels)

    @property
    def text_length(self) -> int:
        return min(int(self.tokenizer.model_max_length), int(self.text_encoder.config.max_position_embeddings))

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        config = self.vae.config
        found = self.vae.encode(images.to(self.device, self.vae.dtype)).latent_dist
        return (found.mean.float() - (config.shift_factor or 0.0)) * config.scaling_factor, found.std.float() * config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        latents = latents / self.vae.config.scaling_factor + (self.vae.config.shift_factor or 0.0)
        return self.vae.decode(latents.to(self.vae.dtype)).sample.float()

    def token_ids(self, prompts: Sequence[str]) -> Tensor:
        return self._ids(self.tokenizer, prompts)

    def _ids(self, tokenizer: Any, prompts: Sequence[str]) -> Tensor:
        spelt = [spelt_out(prompt, self.tokens.ids) for prompt in prompts]
        batch = tokenizer(spelt, padding="max_length", max_length=self.text_length, truncation=True, return_tensors="pt")
        return batch.input_ids.to(self.device)

    def encode_prompts(self, prompts: Sequence[str]) -> Text:
        # No attention mask: Stable Diffusion was trained with the causal mask alone, padding included.
        return Text(self.text_encoder(self.token_ids(prompts)).last_hidden_state.float())

    def cut_off(self, prompt: str) -> str:
        ids = self.tokenizer(spelt_out(prompt, self.tokens.ids), add_special_tokens=False, verbose=False).input_ids
        return self.tokenizer.decode(ids[self.text_length - 2 :]).strip()

    def predict(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        sequence = text.sequence.to(self.dtype)
        return self.unet(latents.to(self.dtype), timesteps, encoder_hidden_states=sequence, return_dict=False)[0].float()

    def gradient_checkpointing(self, enabled: bool = True) -> None:
        for network in (self.unet, self.vae):
            if enabled:
                network.enable_gradient_checkpointing(partial(checkpoint, use_reentrant=False))
            else:
                network.disable_gradient_checkpointing()
