"""Training of the mini pack's autoencoder and of its text-to-image model (UNet and text encoder together).

Both are functions of (seed, step): a run killed at any moment goes on from its last checkpoint with the same batches.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from magicapture.adapters import tensor_hash
from magicapture.world.architecture import build_schedule, build_text_encoder, build_unet, build_vae
from magicapture.world.diffusion_data import Pictures, render_shards
from magicapture.world.parallel import average_gradients, launch

Step = Callable[[int, torch.Generator], dict[str, Tensor]]


def autocast(device: str = "cpu") -> torch.autocast:
    """bf16 arithmetic where it is faster: on CUDA, and on CPUs that multiply in it (measured: with AMX three times faster, with
    AVX-512 BF16 1.2 (UNet) to 1.7 times (VAE); on others slower). Weights stay fp32."""
    fast = device != "cpu" or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=fast)


class Run:
    """A resumable optimisation of ``model``: AdamW, averaged weights (EMA), checkpoints written aside, a JSONL log.

    ``warm_up`` steps of linear rise, then constant until ``decay_from`` (share of ``steps``), then cosine to zero.
    ``start`` puts other weights than random ones into ``model``; called where there is no checkpoint yet.
    """

    def __init__(self, model: nn.Module, folder: Path, *, steps: int, rate: float, seed: int, rank: int = 0, processes: int = 1,
                 warm_up: int = 200, decay_from: float = 0.6, average: float = 0.999, weight_decay: float = 0.01,
                 start: Callable[[], object] | None = None) -> None:  # fmt: skip
        self.model, self.folder, self.steps, self.rate, self.seed = model, folder, steps, rate, seed
        self.rank, self.processes, self.warm_up, self.decay_from, self.average = rank, processes, warm_up, decay_from, average
        if start is not None and not (folder / "checkpoint.safetensors").is_file():
            start()
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.AdamW(self.named.values(), rate, weight_decay=weight_decay, betas=(0.9, 0.99), fused=True)
        self.averaged = {name: p.detach().clone() for name, p in self.named.items()}
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self, loss: Step, *, save_every: float = 120.0, log_every: int = 50) -> None:
        """Go on to ``steps``; ``loss(step, generator)`` returns named scalars whose ``total`` is minimised."""
        saved = started = time.time()
        sums: dict[str, float] = {}
        summed = 0
        while self.step < self.steps:
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate * self._schedule()
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) * 64 + self.rank)
            values = loss(self.step, generator)
            values["total"].backward()
            average_gradients(self.named.values(), self.processes)
            nn.utils.clip_grad_norm_(self.named.values(), 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self.step += 1
            decay = min(self.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.averaged.values()), [p.detach() for p in self.named.values()], 1 - decay)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            summed += 1
            if self.rank == 0 and self.step % log_every == 0:
                record = {"step": self.step, "seconds": round(time.time() - started, 1), "lr": self.optimiser.param_groups[0]["lr"]}
                with open(self.folder / "log.jsonl", "a") as log:
                    log.write(json.dumps(record | {name: round(value / summed, 5) for name, value in sums.items()}) + "\n")
            if self.step % log_every == 0:
                sums, summed = {}, 0
            if self.rank == 0 and (time.time() - saved > save_every or self.step == self.steps):
                self.save()
                saved = time.time()

    def _schedule(self) -> float:
        if self.step < self.warm_up:
            return (self.step + 1) / self.warm_up
        late = (self.step / self.steps - self.decay_from) / (1 - self.decay_from)
        return 1.0 if late <= 0 else 0.5 * (1 + math.cos(math.pi * min(late, 1.0)))

    def save(self) -> None:
        """Write weights, averaged weights, optimiser state and step in one file, aside and renamed."""
        state: dict[str, Tensor] = {f"model.{name}": p.detach() for name, p in self.named.items()}
        state |= {f"average.{name}": p for name, p in self.averaged.items()}
        for name, p in self.named.items():
            state |= {f"optimiser.{key}.{name}": value for key, value in self.optimiser.state[p].items()}
        aside = self.folder / ".checkpoint.safetensors"
        save_file({key: value.contiguous() for key, value in state.items()}, aside, metadata={"step": str(self.step)})
        aside.rename(self.folder / "checkpoint.safetensors")

    def _resume(self) -> None:
        file = self.folder / "checkpoint.safetensors"
        if not file.is_file():
            return
        state = load_file(file)
        for name, p in self.named.items():
            p.data.copy_(state[f"model.{name}"])
            self.averaged[name] = torch.empty_like(p.data).copy_(state[f"average.{name}"])
            moments = {key: state[f"optimiser.{key}.{name}"] for key in ("exp_avg", "exp_avg_sq")}
            # In the weight's own memory order: the fused optimiser walks through memory, and channels-last weights are stored otherwise.
            self.optimiser.state[p] = {key: torch.empty_like(p).copy_(value) for key, value in moments.items()}
            self.optimiser.state[p]["step"] = state[f"optimiser.step.{name}"]
        self.step = int(next(iter(state[f"optimiser.step.{name}"] for name in self.named)).item())


def load_average(model: nn.Module, folder: Path) -> nn.Module:
    """Put the averaged weights of a run's checkpoint into ``model``.

    Raises FileNotFoundError, and ValueError when the checkpoint is that of another architecture.
    """
    state = load_file(folder / "checkpoint.safetensors")
    named = {f"average.{name}": p for name, p in model.named_parameters() if p.requires_grad}
    if lost := sorted(name for name in named if name not in state or state[name].shape != named[name].shape):
        raise ValueError(
            f"{folder / 'checkpoint.safetensors'} does not fit {type(model).__name__} ({len(lost)} weights, first {lost[0]}); "
            "the architecture has changed since: remove the folder and train the role anew"
        )
    for name, p in named.items():
        p.data.copy_(state[name])
    return model


def train_vae(
    work: Path, *, steps: int = 4800, seed: int = 0, processes: int = 1, rate: float = 1.5e-3, shards: int = 8, batch: int = 8
) -> None:
    """The autoencoder, on 32 px crops in three steps of four; the face counts fourfold. Writes ``work/vae``."""
    render_shards(work / "pictures", shards, processes)
    launch(_vae_worker, processes, work, steps, seed, rate, batch)


def _vae_worker(rank: int, processes: int, work: Path, steps: int, seed: int, rate: float, batch: int) -> None:
    torch.manual_seed(seed)
    vae, pictures = build_vae().to(memory_format=torch.channels_last), Pictures.load(work / "pictures")
    run = Run(vae, work / "vae", steps=steps, rate=rate, seed=seed, rank=rank, processes=processes, average=0.998)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(pictures), (batch if step % 4 == 0 else 4 * batch,), generator=generator).numpy()
        images, faces = _images(pictures.images[rows]), torch.from_numpy(pictures.faces[rows])[:, None].float()
        if step % 4:
            y, x = (int(v) for v in torch.randint(0, 33, (2,), generator=generator))
            images, faces = images[..., y : y + 32, x : x + 32], faces[..., y : y + 32, x : x + 32]
        images = images.contiguous(memory_format=torch.channels_last)
        with autocast():
            posterior = vae.encode(images).latent_dist
            latents = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=generator)
            decoded = vae.decode(latents).sample.float()
        weight = 1 + 3 * faces
        difference = (decoded - images) * weight.sqrt()
        absolute, squared = difference.abs().mean(), difference.square().mean()
        edges = sum((difference.diff(dim=d)).abs().mean() for d in (2, 3))
        # Hues are learnt last; opponent colours give them the weight that brightness has by itself.
        chroma = (difference - difference[:, [1, 2, 0]]).square().mean()
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        alike = similarity(decoded, images).mean()
        total = absolute + 2 * squared + 3 * chroma + 0.5 * edges + 0.3 * (1 - alike) + 2e-3 * kl
        return {"total": total, "absolute": absolute, "squared": squared, "chroma": chroma, "alike": alike, "kl": kl}

    run.run(loss)


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (b, c, h - 6, w - 6) of pictures (b, c, h, w) in [-1, 1]: 7 px uniform windows, as scikit-image's default."""
    first, second = (F.avg_pool2d(x, 7, 1) for x in (a, b))
    share = 49 / 48  # sample covariance
    variances = [share * (F.avg_pool2d(x * x, 7, 1) - mean * mean) for x, mean in ((a, first), (b, second))]
    covariance = share * (F.avg_pool2d(a * b, 7, 1) - first * second)
    c1, c2 = (2 * 0.01) ** 2, (2 * 0.03) ** 2
    return ((2 * first * second + c1) * (2 * covariance + c2)) / ((first**2 + second**2 + c1) * (sum(variances) + c2))


def trained_vae(work: Path) -> AutoencoderKL:
    """The autoencoder of ``work/vae``, its scaling factor set so that latents of the training pictures have unit deviation."""
    vae = load_average(build_vae(), work / "vae").eval()
    pictures = Pictures.load(work / "pictures", limit=1)
    with torch.no_grad():
        latents = vae.encode(_images(pictures.images[:256])).latent_dist.mean
    vae.register_to_config(scaling_factor=round(1.0 / float(latents.std()), 5))
    return vae


class TextToImage(nn.Module):
    """UNet and text encoder as one module, as they are trained."""

    def __init__(self, vocabulary: int, start: int, end: int) -> None:
        super().__init__()
        self.unet, self.text_encoder = build_unet(), build_text_encoder(vocabulary, start, end)

    def forward(self, noisy: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        """Prediction (b, 8, 16, 16) from noised latents, timesteps (b,) and token ids (b, length)."""
        return self.unet(noisy, timesteps, self.text_encoder(ids).last_hidden_state).sample


def build_text_to_image(folder: Path) -> TextToImage:
    """The module for the tokenizer of the rendered world (written below ``folder``)."""
    from magicapture.world.architecture import TEXT_LENGTH
    from magicapture.world.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(folder / "tokenizer", TEXT_LENGTH)
    return TextToImage(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id)


def cache_latents(rank: int, processes: int, work: Path, key: str) -> None:
    """Scaled mean latents of every picture and of its mirror image, ``latents-<key>.npy`` float16 (n, 2, 8, 16, 16) in its shard.

    ``key`` names the autoencoder (:func:`vae_key`); latents of an older one are removed. Processes share the shards.
    """
    vae = trained_vae(work).to(memory_format=torch.channels_last)
    for shard in sorted((work / "pictures").glob("diffusion-*"))[rank::processes]:
        file = shard / f"latents-{key}.npy"
        if file.is_file():
            continue
        for old in shard.glob("latents-*.npy"):
            old.unlink()
        pictures = np.load(shard / "images.npy", mmap_mode="r")
        latents = np.empty((len(pictures), 2, 8, 16, 16), np.float16)
        with torch.no_grad(), autocast():
            for start in range(0, len(pictures), 100):
                images = _images(pictures[start : start + 100]).contiguous(memory_format=torch.channels_last)
                for side, batch in enumerate((images, images.flip(-1))):
                    mean = vae.encode(batch).latent_dist.mean.float() * vae.config.scaling_factor
                    latents[start : start + 100, side] = mean.numpy()
        aside = shard / f".latents-{key}.npy"
        np.save(aside, latents)
        aside.rename(file)


def vae_key(work: Path) -> str:
    """Hex digits that name the trained autoencoder's weights."""
    return tensor_hash(dict(trained_vae(work).state_dict()))[:12]


def train_unet(work: Path, *, steps: int = 4400, seed: int = 0, processes: int = 1, rate: float = 1e-3,
               shards: int = 20, batch: int = 24) -> None:  # fmt: skip
    """UNet and text encoder on the latents of ``work/vae``: v-prediction, min-SNR weights (gamma 5), captions left out in a
    tenth of the rows for classifier-free guidance. Writes ``work/unet``."""
    render_shards(work / "pictures", shards, processes)
    key = vae_key(work)
    launch(cache_latents, processes, work, key)
    launch(_unet_worker, processes, work, key, shards, steps, seed, rate, batch)


def _unet_worker(rank: int, processes: int, work: Path, key: str, shards: int, steps: int, seed: int, rate: float, batch: int) -> None:
    torch.manual_seed(seed)
    pictures = Pictures.load(work / "pictures", limit=shards)
    latents = np.concatenate([np.load(file) for file in sorted((work / "pictures").glob(f"diffusion-*/latents-{key}.npy"))[:shards]])
    model = build_text_to_image(work / f"rank{rank}").to(memory_format=torch.channels_last)
    run = Run(model, work / "unet", steps=steps, rate=rate, seed=seed, rank=rank, processes=processes, average=0.999)
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
        noisy = schedule.add_noise(clean, noise, timesteps).contiguous(memory_format=torch.channels_last)
        with autocast():
            prediction = model(noisy, timesteps, ids).float()
        error = F.mse_loss(prediction, schedule.get_velocity(clean, noise, timesteps), reduction="none").mean((1, 2, 3))
        ratio = alphas[timesteps] / (1 - alphas[timesteps])
        weight = ratio.clamp(max=5) / (ratio + 1)
        return {"total": 2 * (weight * error).mean(), "error": error.mean()}

    run.run(loss)


def _empty_prompt(folder: Path) -> np.ndarray:
    from magicapture.world.architecture import TEXT_LENGTH
    from magicapture.world.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(folder / "tokenizer", TEXT_LENGTH)
    return tokenizer([""], padding="max_length", max_length=TEXT_LENGTH, return_tensors="np").input_ids.astype(np.int64)


def _images(rows: np.ndarray | Iterable[np.ndarray]) -> Tensor:
    """uint8 (b, h, w, 3) to float (b, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rows)).permute(0, 3, 1, 2).float() / 127.5 - 1
