"""Training of the mini pack's autoencoder; a function of (seed, step), so that a killed run goes on with the same batches."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from magicapture.adapters import tensor_hash
from magicapture.artifacts import write_text
from magicapture.world.architecture import RESOLUTION, build_vae
from magicapture.world.diffusion_data import Pictures, render_shards
from magicapture.world.loop import Run, autocast, load_average
from magicapture.world.parallel import launch


def train_vae(
    work: Path, *, steps: int = 8400, seed: int = 0, device: str = "cpu", processes: int = 1, rate: float = 1.5e-3,
    resolution: int = RESOLUTION, shards: int = 8, batch: int = 8,
) -> None:  # fmt: skip
    """The autoencoder, on crops of half the side in three steps of four; the face counts fourfold. Writes ``work/vae``."""
    render_shards(work / "pictures", shards, processes, size=resolution)
    launch(_vae_worker, processes, device, work, "vae", steps, seed, rate, batch)


def train_decoder(
    work: Path, *, steps: int = 3000, seed: int = 0, device: str = "cpu", processes: int = 1, rate: float = 5e-4,
    resolution: int = RESOLUTION, shards: int = 8, batch: int = 8,
) -> None:  # fmt: skip
    """The decoder of the trained autoencoder alone, so that every latent, and the text-to-image model, stays good. Writes
    ``work/decoder``."""
    render_shards(work / "pictures", shards, processes, size=resolution)
    key = encoder_key(load_average(build_vae(), work / "vae"))
    mark = work / "decoder" / "encoder"  # an encoder trained anew makes the old decoder worthless
    if not mark.is_file() or mark.read_text() != key:
        for name in ("checkpoint.safetensors", "log.jsonl"):
            (mark.parent / name).unlink(missing_ok=True)
        write_text(mark, key)
    launch(_vae_worker, processes, device, work, "decoder", steps, seed, rate, batch)


def _vae_worker(rank: int, processes: int, device: str, work: Path, part: str, steps: int, seed: int, rate: float, batch: int) -> None:
    torch.manual_seed(seed)
    whole = part == "vae"
    pictures = Pictures.load(work / "pictures")
    vae = (build_vae(pictures.size) if whole else trained_vae(work).train()).to(device, memory_format=torch.channels_last)
    part_size = pictures.size // 2
    module = vae if whole else _decoder(vae)
    run = Run(module, work / part, steps=steps, rate=rate, seed=seed, rank=rank, processes=processes, average=0.998)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(pictures), (batch if step % 4 == 0 else 4 * batch,), generator=generator).numpy()
        images, faces = to_pixels(pictures.images[rows]), torch.from_numpy(pictures.faces[rows])[:, None].float()
        if step % 4:
            y, x = (int(v) for v in torch.randint(0, part_size + 1, (2,), generator=generator))
            images, faces = (each[..., y : y + part_size, x : x + part_size] for each in (images, faces))
        images, faces = images.to(device, memory_format=torch.channels_last), faces.to(device)
        with autocast(device):
            with torch.set_grad_enabled(whole):
                posterior = vae.encode(images).latent_dist
            latents = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=generator).to(device)
            decoded = vae.decode(latents).sample.float()
        weight = 1 + 3 * faces
        difference = (decoded - images) * weight.sqrt()
        absolute, squared = difference.abs().mean(), difference.square().mean()
        edges = sum((difference.diff(dim=d)).abs().mean() for d in (2, 3))
        # Hues are learnt last; opponent colours give them the weight that brightness has by itself.
        chroma = (difference - difference[:, [1, 2, 0]]).square().mean()
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        alike = similarity(decoded, images).mean()
        total = absolute + 6 * squared + 3 * chroma + 0.5 * edges + 0.6 * (1 - alike) + 2e-3 * kl
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
    if not any((work / "pictures").glob("diffusion-*")):
        render_shards(work / "pictures", 1)  # on a machine that went on from a pack
    pictures = Pictures.load(work / "pictures", limit=1)
    vae = load_average(build_vae(pictures.size), work / "vae").eval()
    if (work / "decoder" / "checkpoint.safetensors").is_file() and (work / "decoder" / "encoder").read_text() == encoder_key(vae):
        load_average(_decoder(vae), work / "decoder")
    with torch.no_grad():
        latents = vae.encode(to_pixels(pictures.images[:256])).latent_dist.mean
    vae.register_to_config(scaling_factor=round(1.0 / float(latents.std()), 5))
    return vae


def encoder_key(vae: AutoencoderKL) -> str:
    """Hex digits that name the weights that latents depend on."""
    return tensor_hash({name: value for name, value in vae.state_dict().items() if name.startswith(("encoder.", "quant_conv."))})[:12]


def _decoder(vae: AutoencoderKL) -> nn.ModuleDict:
    """What turns latents into pictures, its weights named as in the whole."""
    return nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder})


def to_pixels(rows: np.ndarray | Iterable[np.ndarray]) -> Tensor:
    """uint8 (b, h, w, 3) to float (b, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rows)).permute(0, 3, 1, 2).float() / 127.5 - 1
