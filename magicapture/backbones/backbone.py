"""The interface every backbone has, and what all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from magicapture.backbones.errors import BackboneError
from magicapture.backbones.region import Embed, Region
from magicapture.backbones.sampling import denoise
from magicapture.backbones.tokens import TokenEmbedding, TokenEmbeddings


class Text(NamedTuple):
    """Prompts as a UNet is conditioned on them, fp32."""

    #: (B, L, D): what cross-attention reads.
    sequence: Tensor
    #: (B, P): what is added to the timestep's embedding; None in families that have no such input.
    pooled: Tensor | None = None

    def repeated(self, rows: int) -> Text:
        """One prompt's text for ``rows`` rows."""
        return Text(*(part if part is None else part.expand(rows, *part.shape[1:]) for part in self))

    def followed_by(self, other: Text) -> Text:
        """These rows, then the other's."""
        return Text(*(part if part is None else torch.cat([part, more]) for part, more in zip(self, other, strict=True)))


class Backbone(ABC):
    """A frozen latent diffusion model in evaluation mode.

    Tensors are (batch, channels, height, width); pictures are RGB in [-1, 1], latents are scaled to about unit variance.
    Tensors that come out of it are fp32 whatever the precision of the networks. Gradients pass through every method but
    ``sample``; only token vectors and adapters (``magicapture.adapters``) ever want them.
    """

    unet: nn.Module
    vae: nn.Module
    text_encoder: nn.Module
    tokenizer: Any
    #: diffusers DDPMScheduler: ``schedule.alphas_cumprod`` (T,), ``schedule.add_noise``, ``schedule.get_velocity``.
    schedule: Any
    #: Placeholder vectors, one a token and text encoder: ``tokens.add``, ``tokens.vectors``, ``tokens.ids``, ``tokens.encoders``.
    tokens: TokenEmbedding | TokenEmbeddings
    #: Side of a picture in px.
    resolution: int
    device: torch.device
    dtype: torch.dtype
    #: What own weights were before an adapter changed them, by name (``adapters.weights``); empty with LoRA.
    untuned: dict[str, Tensor]
    #: How ``decode_region`` decodes: whole pictures until ``measure_region`` has found a margin that agrees.
    region: Region

    @property
    def text_encoders(self) -> dict[str, nn.Module]:
        """Every text encoder by its name in a diffusers pipeline, which is the prefix of its LoRA on disk."""
        return {"text_encoder": self.text_encoder}

    @property
    def prediction_type(self) -> str:
        """What the UNet predicts: "epsilon" or "v_prediction"."""
        return str(self.schedule.config.prediction_type)

    @property
    @abstractmethod
    def scale(self) -> int:
        """Picture px per latent cell."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels of a latent."""

    @property
    @abstractmethod
    def text_length(self) -> int:
        """Tokens of a prompt, begin and end included; what is longer is cut."""

    @property
    def latent_size(self) -> int:
        """Side of a latent in cells."""
        return self.resolution // self.scale

    @abstractmethod
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, H, W) in [-1, 1] -> mean and standard deviation of their scaled latents, (B, C, h, w) each."""

    def encode_images(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] -> scaled latents (B, C, h, w): a sample of the posterior, its mean when generator is None."""
        mean, std = self.posterior(images)
        if generator is None:
            return mean
        return mean + std * torch.randn(mean.shape, generator=generator, device=generator.device).to(mean.device)

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) -> pictures (B, 3, H, W), about [-1, 1], not clamped; differentiable."""

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> Text:
        """Prompts -> text of B rows as this model's UNet wants it; differentiable in the token vectors and adapters."""

    def encode_negative(self, prompt: str) -> Text:
        """The negative prompt of classifier-free guidance -> text of one row."""
        return self.encode_prompts([prompt])

    @abstractmethod
    def token_ids(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> ids (B, L), padded and cut to ``text_length``, on the device."""

    @abstractmethod
    def cut_off(self, prompt: str) -> str:
        """The end of the prompt that does not fit into ``text_length``; "" when all of it does."""

    @abstractmethod
    def predict(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """The UNet: noisy latents (B, C, h, w), timesteps (B,), text of B rows -> prediction (B, C, h, w) of ``prediction_type``."""

    @abstractmethod
    def gradient_checkpointing(self, enabled: bool = True) -> None:
        """Trade time for memory in UNet and decoder; non-reentrant, so captured attention maps keep their graph."""

    def token_positions(self, prompts: Sequence[str], token: str) -> Tensor:
        """Where a placeholder stands in the prompts: (B, L) bool. Raises KeyError for a token that was never added."""
        ids = self.token_ids(prompts)
        return torch.stack([ids == self.tokens.ids[part] for part in self.tokens.parts(token)]).any(dim=0)

    def decode_region(self, latents: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the part of each picture around its box, where that agrees with the full decode, else the whole.

        ``boxes``: (B, 4) px of the picture (left, top, right, bottom). Returns pictures (B, 3, H', W') (one size for the
        batch) and offsets (B, 2): x, y in px of each part's top left corner (subtract them from key points). Until
        ``measure_region`` was called, or where no margin agreed: the whole picture, offsets 0.
        """
        return self.region.decode(latents, boxes, self.decode, self.scale)

    def measure_region(self, latents: Tensor, boxes: Tensor, embed: Embed, least: float = 0.99) -> Region:
        """Find the smallest margin at which parts agree with full decodes on this VAE, and use it from now on.

        ``embed(pictures (1, 3, H', W'), offsets (1, 2), row) -> (1, D)`` aligns and embeds the face of one row; a margin
        agrees when the least cosine over the rows is at least ``least`` (design principle 4: 0.99). See :class:`Region`.
        """
        self.region = Region.measure(latents, boxes, self.decode, self.scale, embed, least)
        return self.region

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        steps: int,
        guidance: float,
        sampler: str,
        negative_prompt: str = "",
        batch: int = 4,
        size: int | None = None,
    ) -> np.ndarray:
        """Generate one picture per (prompt, seed) pair: uint8 (N, H, W, 3) RGB.

        Picture i depends only on its own prompt and seed, whatever it shares a batch with: every picture has a generator
        of its own, on the CPU whatever the device, from which ancestral noise comes too. (Arithmetic of another batch size
        rounds differently: up to a level or two of 255.) ``guidance`` <= 1 leaves classifier-free guidance and the negative
        prompt out, at half the time. ``sampler``: a name of :data:`sampling.SAMPLERS`. ``size``: side in px, ``resolution`` where
        None. Raises BackboneError, ValueError.
        """
        if len(prompts) != len(seeds):
            raise BackboneError(f"sample: {len(prompts)} prompts but {len(seeds)} seeds; expected one seed for every prompt")
        side = self.resolution if size is None else size
        multiple = self.scale * 2 ** (len(self.unet.config.block_out_channels) - 1)
        if side % multiple:
            fits = max(round(side / multiple), 1) * multiple
            raise BackboneError(f"size {side}: this model draws sides that are multiples of {multiple} px; the nearest is {fits}")
        pictures = [np.empty((0, side, side, 3), np.uint8)]
        with torch.no_grad(), self.evaluating():
            for start in range(0, len(prompts), batch):
                part = slice(start, start + batch)
                latents = denoise(
                    self._guided(prompts[part], guidance, negative_prompt),
                    self.schedule,
                    (self.latent_channels, side // self.scale, side // self.scale),
                    seeds[part],
                    steps=steps,
                    sampler=sampler,
                    device=self.device,
                )
                decoded = (self.decode(latents) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
                pictures.append((decoded * 255).round().to(torch.uint8).cpu().numpy())
        return np.concatenate(pictures)

    def _guided(self, prompts: Sequence[str], guidance: float, negative_prompt: str = "") -> Callable[[Tensor, Tensor], Tensor]:
        """``predict`` under these prompts, by classifier-free guidance where ``guidance`` > 1: both rows of a prompt in one pass."""
        text = self.encode_prompts(list(prompts))
        if guidance <= 1:
            return lambda latents, timesteps: self.predict(latents, timesteps, text)
        both = self.encode_negative(negative_prompt).repeated(len(prompts)).followed_by(text)

        def guided(latents: Tensor, timesteps: Tensor) -> Tensor:
            without, with_prompt = self.predict(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), both).chunk(2)
            return without + guidance * (with_prompt - without)

        return guided

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Every module in evaluation mode (adapter dropout off) inside, as it was before afterwards."""
        networks = (self.unet, self.vae, *self.text_encoders.values())
        modules = [module for network in networks for module in network.modules() if module.training]
        for module in modules:
            module.training = False
        try:
            yield
        finally:
            for module in modules:
                module.training = True
