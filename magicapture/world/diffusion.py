"""Training of the mini pack's text-to-image model (UNet and text encoder together); a function of (seed, step), as its autoencoder's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magicapture.world.architecture import LATENT_CHANNELS, RESOLUTION, build_schedule, build_text_encoder, build_unet
from magicapture.world.autoencoder import encoder_key, to_pixels, trained_vae
from magicapture.world.diffusion_data import Pictures, render_shards
from magicapture.world.loop import Run, autocast
from magicapture.world.parallel import launch

FACE = 2.0  # by how much more a latent cell counts that lies in a face (or an object): there people are told apart


class TextToImage(nn.Module):
    """UNet and text encoder as one module, as they are trained."""

    def __init__(self, vocabulary: int, start: int, end: int, resolution: int = RESOLUTION) -> None:
        super().__init__()
        self.unet, self.text_encoder = build_unet(resolution), build_text_encoder(vocabulary, start, end)

    def forward(self, noisy: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        """Prediction (b, 8, h, w) from noised latents, timesteps (b,) and token ids (b, length)."""
        return self.unet(noisy, timesteps, self.text_encoder(ids).last_hidden_state).sample


def build_text_to_image(folder: Path, resolution: int = RESOLUTION) -> TextToImage:
    """The module for the tokenizer of the rendered world (written below ``folder``)."""
    from magicapture.world.architecture import TEXT_LENGTH
    from magicapture.world.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(folder / "tokenizer", TEXT_LENGTH)
    return TextToImage(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, resolution)


def cache_latents(rank: int, processes: int, device: str, work: Path, key: str) -> None:
    """Scaled mean latents of every picture and of its mirror image, ``latents-<key>.npy`` float16 (n, 2, 8, h, w) in its shard.

    ``key`` names the encoder (:func:`encoder_key`); latents of an older one are removed. Processes share the shards.
    """
    vae = trained_vae(work).to(device, memory_format=torch.channels_last)
    for shard in sorted((work / "pictures").glob("diffusion-*"))[rank::processes]:
        file = shard / f"latents-{key}.npy"
        if file.is_file():
            continue
        for old in shard.glob("latents-*.npy"):
            old.unlink()
        pictures = np.load(shard / "images.npy", mmap_mode="r")
        side_length = pictures.shape[1] // 4
        latents = np.empty((len(pictures), 2, LATENT_CHANNELS, side_length, side_length), np.float16)
        with torch.no_grad(), autocast(device):
            for start in range(0, len(pictures), 100):
                images = to_pixels(pictures[start : start + 100]).to(device, memory_format=torch.channels_last)
                for side, batch in enumerate((images, images.flip(-1))):
                    mean = vae.encode(batch).latent_dist.mean.float() * vae.config.scaling_factor
                    latents[start : start + 100, side] = mean.cpu().numpy()
        aside = shard / f".latents-{key}.npy"
        np.save(aside, latents)
        aside.rename(file)


def train_unet(work: Path, *, steps: int = 19000, seed: int = 0, device: str = "cpu", processes: int = 1, rate: float = 1e-3,
               resolution: int = RESOLUTION, shards: int = 20, batch: int = 24) -> None:  # fmt: skip
    """UNet and text encoder on the latents of ``work/vae``: v-prediction, min-SNR weights (gamma 5), faces count more, captions left
    out in a tenth of the rows for classifier-free guidance. Writes ``work/unet``."""
    render_shards(work / "pictures", shards, processes, size=resolution)
    key = encoder_key(trained_vae(work))
    launch(cache_latents, processes, device, work, key)
    launch(_unet_worker, processes, device, work, key, shards, steps, seed, rate, batch)


def _unet_worker(
    rank: int, processes: int, device: str, work: Path, key: str, shards: int, steps: int, seed: int, rate: float, batch: int
) -> None:
    torch.manual_seed(seed)
    pictures = Pictures.load(work / "pictures", limit=shards)
    latents = np.concatenate([np.load(file) for file in sorted((work / "pictures").glob(f"diffusion-*/latents-{key}.npy"))[:shards]])
    model = build_text_to_image(work / f"rank{rank}", pictures.size).to(device, memory_format=torch.channels_last)
    run = Run(model, work / "unet", steps=steps, rate=rate, seed=seed, rank=rank, processes=processes, average=0.999)
    places = cell_weights(pictures.faces, latents.shape[-1])
    schedule = build_schedule()
    alphas = schedule.alphas_cumprod
    empty = torch.from_numpy(_empty_prompt(work / f"rank{rank}"))

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows, sides = (torch.randint(high, (batch,), generator=generator).numpy() for high in (len(pictures), 2))
        which = torch.randint(pictures.captions.shape[1], (batch,), generator=generator).numpy()
        clean = torch.from_numpy(latents[rows, sides].astype(np.float32))
        ids = torch.from_numpy(pictures.captions[rows, which].astype(np.int64))
        ids = torch.where(torch.rand((batch, 1), generator=generator) < 0.1, empty, ids)
        noise = torch.randn(clean.shape, generator=generator)
        # Stratified timesteps: the same uniform law with less variance between batches.
        timesteps = ((torch.arange(batch) + torch.rand(batch, generator=generator)) * (1000 / batch)).long().clamp(max=999)
        noisy = schedule.add_noise(clean, noise, timesteps).to(device, memory_format=torch.channels_last)
        with autocast(device):
            prediction = model(noisy, timesteps.to(device), ids.to(device)).float().cpu()
        errors = F.mse_loss(prediction, schedule.get_velocity(clean, noise, timesteps), reduction="none").mean(1)
        ratio = alphas[timesteps] / (1 - alphas[timesteps])
        weight = ratio.clamp(max=5) / (ratio + 1)
        place = torch.from_numpy(np.where(sides[:, None, None] == 1, places[rows][:, :, ::-1], places[rows]).astype(np.float32))
        return {"total": 2 * (weight * (errors * place).mean((1, 2))).mean(), "error": errors.mean()}

    run.run(loss)


def cell_weights(faces: np.ndarray, side: int) -> np.ndarray:
    """bool (n, H, W) -> float16 (n, side, side): what a latent cell's error counts, 1 + FACE x its share of face, mean 1 a picture."""
    cell = faces.shape[1] // side
    shares = faces.reshape(len(faces), side, cell, side, cell).mean((2, 4), dtype=np.float32)
    weights = 1 + FACE * shares
    return (weights / weights.mean((1, 2), keepdims=True)).astype(np.float16)


def _empty_prompt(folder: Path) -> np.ndarray:
    from magicapture.world.architecture import TEXT_LENGTH
    from magicapture.world.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(folder / "tokenizer", TEXT_LENGTH)
    return tokenizer([""], padding="max_length", max_length=TEXT_LENGTH, return_tensors="np").input_ids.astype(np.int64)
