"""Training the upscaler (64 -> 256 px) and the face restorer on pictures worn as generated ones are.

The truth is the render at 256 px. Its small version is worn by blur, noise and compression and, where the models are trained, by a
round trip through the autoencoder of ``work/vae`` or by being drawn again in part by ``work/unet`` (redraw.py).
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.adapters import tensor_hash
from magicapture.backbones.recogniser import INPUT, FaceNet, aligned
from magicapture.faces.align import FFHQ, matrix, warp
from magicapture.packs import Pack
from magicapture.postprocessing.upscale import consistent
from magicapture.world import degrade
from magicapture.world.autoencoder import trained_vae
from magicapture.world.datasets import Samples, load_samples
from magicapture.world.loop import Run, autocast, load_average, settle_norms
from magicapture.world.networks import Restorer, Upscaler
from magicapture.world.packing import ARCHITECTURES, RESTORER_SIZE, ROLES, write_restorer, write_upscaler
from magicapture.world.redraw import redrawn
from magicapture.world.warm import file_weights, go_on, start_from

SMALL = 64
CROP = 40  # px of the small picture in an upscaler's example
UPSCALER_BATCH, RESTORER_BATCH = 16, 16
UPSCALER_STEPS, RESTORER_STEPS = 6000, 3000
VERSIONS = (0.3, 0.25, 0.45)  # shares of examples: the render itself, after a round trip, drawn again
REDRAWN = 1500  # pictures that are drawn again; that takes a minute for every four hundred
TEMPLATE = FFHQ * (RESTORER_SIZE / 512)  # key points in a face crop, as post-processing frames it
IDENTITY = 0.3  # weight of 1 - cosine to the true face in the restorer's loss


def train_upscaler(
    work: Path, *, steps: int = UPSCALER_STEPS, rate: float = 8e-4, seed: int = 0, device: str = "cpu", processes: int = 1,
    pack: Pack | None = None,
) -> None:  # fmt: skip
    """Train the upscaler and write it below ``work/pack``."""
    samples = load_samples(work, "general", processes=processes)
    small = small_versions(work, samples)
    torch.manual_seed(seed)
    model = Upscaler().to(device, memory_format=torch.channels_last)
    run = Run(model, work / "upscaler", steps=steps, rate=rate, seed=seed, average=0.998, start=partial(go_on, model, pack, "upscaler"))
    scale = Upscaler.SCALE

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng((seed, step, 53))
        given, truth = [], []
        for row in rng.integers(len(samples), size=UPSCALER_BATCH):
            image = _worn(_version(small, row, rng), rng)
            y, x = _corner(samples.boxes[row] / scale, rng)
            given.append(image[y : y + CROP, x : x + CROP])
            truth.append(samples.images[row][scale * y : scale * (y + CROP), scale * x : scale * (x + CROP)])
        with autocast(device):
            made = model(_unit(given).to(device, memory_format=torch.channels_last)).float()
        return _difference(made, _unit(truth).to(device))

    run.run(loss)
    write_upscaler(work / "pack", load_average(model, work / "upscaler").cpu().to(memory_format=torch.contiguous_format))


def train_restorer(
    work: Path, *, steps: int = RESTORER_STEPS, rate: float = 2e-3, seed: int = 0, device: str = "cpu", processes: int = 1,
    pack: Pack | None = None,
) -> None:  # fmt: skip
    """Train the restorer on what the pack's upscaler makes of worn pictures; written below ``work/pack``.

    Faces shall look like the truth to the pack's recogniser too. Upscaler and recogniser are trained before.
    """
    samples = load_samples(work, "general", processes=processes)
    small = small_versions(work, samples)
    upscaler = Upscaler().eval()
    start_from(upscaler, file_weights(work / "pack" / ROLES["upscaler"][0]))
    recogniser = FaceNet(ARCHITECTURES["recogniser"], norm=False).eval().requires_grad_(False)
    start_from(recogniser, file_weights(work / "pack" / ROLES["recogniser_torch"][0]))
    recogniser.to(device)
    torch.manual_seed(seed)
    model = Restorer().to(device)
    given, truth = _face_pairs(samples, small, upscaler, seed, work / "restorer")
    example = _unit(list(given[:64])).to(device) * 2 - 1, torch.zeros((), device=device)
    start = partial(go_on, model, pack, "restorer", lambda: example)
    run = Run(model, work / "restorer", steps=steps, rate=rate, seed=seed, average=0.995, start=start)

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng((seed, step, 59))
        rows = rng.integers(len(given), size=RESTORER_BATCH)
        # What the upscaler left is hardly better than it can be; faces spoilt by other means give the net something to mend.
        images = [_spoilt(truth[row], rng) if rng.random() < 0.6 else given[row] for row in rows]
        with autocast(device):
            made = model(_unit(images).to(device) * 2 - 1, torch.zeros((), device=device)).float()
            wanted = _unit([truth[row] for row in rows]).to(device)
            embeddings = recogniser(recognised(torch.cat([made, wanted * 2 - 1]))).float()
        parts = _difference((made + 1) / 2, wanted)
        parts["identity"] = (1 - F.cosine_similarity(*embeddings.chunk(2))).mean()
        return {**parts, "total": parts["total"] + IDENTITY * parts["identity"]}

    run.run(loss)
    nothing = torch.zeros(())
    net = load_average(model, work / "restorer").cpu()
    settle_norms(_Given(net, nothing), (_unit(list(given[i : i + 64])) * 2 - 1 for i in range(0, min(len(given), 2560), 64)))
    write_restorer(work / "pack", net)


class _Given(torch.nn.Module):
    """The restorer with its fidelity given, as a function of the picture alone."""

    def __init__(self, net: Restorer, weight: Tensor) -> None:
        super().__init__()
        self.net, self.weight = net, weight

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, self.weight)


def recognised(faces: Tensor) -> Tensor:
    """Restorer's crops (b, 3, 128, 128) in the recogniser's framing (b, 3, 112, 112), differentiable; black (-1) outside."""
    transform = torch.from_numpy(matrix(TEMPLATE, INPUT)).expand(len(faces), -1, -1)
    return aligned(faces, transform, torch.zeros(len(faces), 2))


def small_versions(work: Path, samples: Samples) -> tuple[np.ndarray, ...]:
    """The pictures at 64 px, uint8 (n, 64, 64, 3): as they are, after a round trip through the autoencoder, and the first REDRAWN drawn
    again. In place of what is not trained yet stands the version before it.
    """
    plain = np.stack([cv2.resize(image, (SMALL, SMALL), interpolation=cv2.INTER_AREA) for image in samples.images])
    if not (work / "vae" / "checkpoint.safetensors").is_file():
        return plain, plain, plain
    vae, trips = trained_vae(work), []
    generator = torch.Generator().manual_seed(61)
    with torch.inference_mode(), autocast("cpu"):
        for start in range(0, len(plain), 64):
            posterior = vae.encode(_unit(list(plain[start : start + 64])) * 2 - 1).latent_dist
            # A sampler's latents are a little off those of any picture.
            spread = posterior.std + 0.08 * posterior.mean.std()
            latents = posterior.mean + spread * torch.randn(posterior.mean.shape, generator=generator)
            trips.append(to_uint8((vae.decode(latents).sample.float() + 1) / 2))
    if not (work / "unet" / "checkpoint.safetensors").is_file():
        return plain, np.concatenate(trips), np.concatenate(trips)
    return plain, np.concatenate(trips), redrawn(work, samples.plan, plain[:REDRAWN])


def _version(small: tuple[np.ndarray, ...], row: int, rng: np.random.Generator) -> np.ndarray:
    """Picture ``row`` in one of its small versions; after the round trip where it was not drawn again."""
    chosen = small[rng.choice(len(VERSIONS), p=VERSIONS)]
    return chosen[row] if row < len(chosen) else small[1][row]


def to_uint8(pictures: Tensor) -> np.ndarray:
    """(b, 3, H, W) in 0..1 -> uint8 (b, H, W, 3)."""
    return (pictures.clamp(0, 1) * 255 + 0.5).byte().permute(0, 2, 3, 1).contiguous().numpy()


def _worn(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, noise, compression; no bending and no colours, which an upscaler must leave alone."""
    blurred, noisy, packed, whole = rng.random(4) < (0.4, 0.4, 0.3, 0.3)
    if whole:
        return image
    if blurred:
        image = degrade.blur(image, 0.25 + 0.6 * rng.random())
    if noisy:
        image = degrade.noise(image, 6 * rng.random(), rng)
    return degrade.jpeg(image, int(rng.integers(50, 96))) if packed else image


def _spoilt(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A true face made coarse, blurred, noisy and compressed, each up to where a person is just known."""
    face = degrade.blur(degrade.coarsen(face, 1 + 2 * rng.random()), 0.3 + 2.0 * rng.random())
    face = degrade.noise(face, 12 * rng.random(), rng, grain=int(rng.integers(1, 3)))
    return degrade.jpeg(face, int(rng.integers(40, 96)))


def _corner(box: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Top left of a crop, on the face most of the time."""
    if rng.random() < 0.7:
        middle = (box[:2] + box[2:]) / 2 - CROP / 2 + rng.normal(0, 5, 2)
    else:
        middle = rng.uniform(0, SMALL - CROP, 2)
    x, y = np.clip(np.round(middle), 0, SMALL - CROP).astype(int)
    return int(y), int(x)


def _face_pairs(
    samples: Samples, small: tuple[np.ndarray, ...], upscaler: Upscaler, seed: int, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Aligned faces uint8 (n, 128, 128, 3): upscaled from worn small pictures as the mini preset does, and true.

    Kept in ``folder`` under a name that says from which pictures and which upscaler they come; what older ones made is removed.
    """
    key = tensor_hash({f"small.{i}": torch.from_numpy(part) for i, part in enumerate(small)} | upscaler.state_dict())[:12]
    cache = folder / f"crops-{seed}-{key}"
    if not cache.is_dir():
        for old in folder.glob("crops*"):
            shutil.rmtree(old)
        rng = np.random.default_rng((seed, 67))
        given, truth = [], []
        for start in range(0, len(samples), 32):
            rows = range(start, min(start + 32, len(samples)))
            worn = [_worn(_version(small, row, rng), rng) for row in rows]
            with torch.inference_mode(), autocast("cpu"):
                large = map(partial(consistent, share=1.0), to_uint8(upscaler(_unit(worn)).float()), worn)
            for row, image in zip(rows, large, strict=True):
                transform = matrix(samples.keypoints[row] + rng.normal(0, 1.5, (5, 2)), RESTORER_SIZE, TEMPLATE)
                given.append(warp(image, transform, RESTORER_SIZE, RESTORER_SIZE))
                truth.append(warp(samples.images[row], transform, RESTORER_SIZE, RESTORER_SIZE))
        aside = folder / ".crops"
        aside.mkdir(parents=True, exist_ok=True)
        np.save(aside / "given.npy", np.stack(given))
        np.save(aside / "truth.npy", np.stack(truth))
        aside.rename(cache)
    return np.load(cache / "given.npy"), np.load(cache / "truth.npy")


def _unit(images: list[np.ndarray]) -> Tensor:
    """uint8 (H, W, 3) pictures -> (b, 3, H, W) in 0..1."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def _difference(made: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Absolute error of the picture and of its gradients at two scales: edges stay edges."""
    absolute = (made - truth).abs().mean()
    edges = sum((made.diff(dim=d) - truth.diff(dim=d)).abs().mean() for d in (2, 3))
    half = [F.avg_pool2d(x, 2) for x in (made, truth)]
    coarse = sum((half[0].diff(dim=d) - half[1].diff(dim=d)).abs().mean() for d in (2, 3))
    return {"total": absolute + edges + 0.5 * coarse, "absolute": absolute, "edges": edges}
