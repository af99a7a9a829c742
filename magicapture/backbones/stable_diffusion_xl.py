"""Stable Diffusion XL: two CLIP text encoders, a pooled embedding, and the picture's sizes as a condition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from magicapture.backbones.backbone import Text
from magicapture.backbones.errors import BackboneError
from magicapture.backbones.quiet import no_progress_bar
from magicapture.backbones.stable_diffusion import StableDiffusion
from magicapture.backbones.tokens import TokenEmbedding, TokenEmbeddings


class StableDiffusionXL(StableDiffusion):
    """Loads a Stable Diffusion XL folder in diffusers layout; what is said of text here is what diffusers' own pipeline does.

    The text of a prompt is both encoders' last hidden state but one, side by side (published: 768 + 1280), and the second
    encoder's projected embedding at the end token. A token has one vector in each encoder.
    """

    def __init__(self, folder: Path, resolution: int, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(folder, resolution, device, dtype)
        with no_progress_bar():
            second = CLIPTextModelWithProjection.from_pretrained(
                folder / "text_encoder_2", dtype=dtype, local_files_only=True, use_safetensors=True
            )
        self.text_encoder_2 = self._freeze(second)
        self.tokenizer_2 = CLIPTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True)
        # The published configuration holds a wrong id of the end token, at which transformers pools where the greatest id stands:
        # at a placeholder, if there is one.
        self.text_encoder_2.text_model.eos_token_id = self.tokenizer_2.eos_token_id
        embedding = TokenEmbedding(self.text_encoder_2.get_input_embeddings(), self.tokenizer_2)
        self.text_encoder_2.set_input_embeddings(embedding)
        self.tokens = TokenEmbeddings(clip_l=self.tokens.encoders[0], clip_g=embedding)
        if dtype == torch.float16 and self.vae.config.force_upcast:
            self.vae.float()  # the published autoencoder's activations leave fp16's range
        index = json.loads((folder / "model_index.json").read_text())
        self._zero_negative = bool(index.get("force_zeros_for_empty_prompt", True))

    @property
    def text_encoders(self) -> dict[str, nn.Module]:
        return {"text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2}

    @property
    def text_length(self) -> int:
        second = min(int(self.tokenizer_2.model_max_length), int(self.text_encoder_2.config.max_position_embeddings))
        return min(super().text_length, second)

    def encode_prompts(self, prompts: Sequence[str]) -> Text:
        first = self.text_encoder(self.token_ids(prompts), output_hidden_states=True)
        second = self.text_encoder_2(self._ids(self.tokenizer_2, prompts), output_hidden_states=True)
        sequence = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return Text(sequence.float(), second.text_embeds.float())

    def encode_negative(self, prompt: str) -> Text:
        """Zeros for an empty prompt where the folder asks for them (``force_zeros_for_empty_prompt``), as the model was trained."""
        text = self.encode_prompts([prompt])
        return Text(*map(torch.zeros_like, text)) if self._zero_negative and not prompt else text

    def predict(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        if text.pooled is None:
            raise BackboneError("predict: text without a pooled embedding; expected what encode_prompts of this backbone gives")
        # Original size, top left corner of the crop, target size: prepared pictures are whole pictures of this size.
        height, width = (side * self.scale for side in latents.shape[-2:])
        sizes = [height, width, 0, 0, height, width]
        time_ids = torch.tensor([sizes] * len(latents), dtype=self.dtype, device=self.device)
        return self.unet(
            latents.to(self.dtype),
            timesteps,
            encoder_hidden_states=text.sequence.to(self.dtype),
            added_cond_kwargs={"text_embeds": text.pooled.to(self.dtype), "time_ids": time_ids},
            return_dict=False,
        )[0].float()
