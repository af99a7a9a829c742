"""Training the face parser on renders with their exact class maps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.faces.align import on_grids
from magicapture.faces.classes import FACE_CLASSES, PARSING_CLASSES
from magicapture.packs import Pack
from magicapture.world.datasets import Samples, load_samples
from magicapture.world.degrade import wear
from magicapture.world.loop import Run, autocast, load_average, settle_norms
from magicapture.world.networks import FaceParser
from magicapture.world.packing import PARSER_MEAN, PARSER_SIZE, PARSER_STD, write_parser
from magicapture.world.warm import go_on

BATCH = 24
STEPS = 11000


def train_parser(
    work: Path, *, steps: int = STEPS, rate: float = 2e-3, seed: int = 0, device: str = "cpu", processes: int = 1, pack: Pack | None = None
) -> None:
    """Train the parser and write it below ``work/pack``."""
    samples = load_samples(work, "general", processes=processes)
    torch.manual_seed(seed)
    model = FaceParser().to(device, memory_format=torch.channels_last)

    def batch(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        pairs = [_example(samples, int(rng.integers(len(samples))), rng) for _ in range(BATCH)]
        images, labels = (np.stack(part) for part in zip(*pairs, strict=True))
        return network_input(images).to(device, memory_format=torch.channels_last), torch.from_numpy(labels).long().to(device)

    start = partial(go_on, model, pack, "parser", lambda: batch(np.random.default_rng((seed, 32)))[:1])
    run = Run(model, work / "parser", steps=steps, rate=rate, seed=seed, average=0.998, weight_decay=0.02, start=start)

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        images, labels = batch(np.random.default_rng((seed, step, 31)))
        with autocast(device):
            logits = model(images).float()
        error, missed = F.cross_entropy(logits, labels), 1 - overlap(logits, labels)
        right = (logits.argmax(1) == labels).float().mean()
        return {"total": error + missed, "error": error, "missed": missed, "right": right}

    run.run(loss)
    rng = np.random.default_rng((seed, 37))
    settle_norms(load_average(model, work / "parser"), (batch(rng)[0] for _ in range(20)))
    write_parser(work / "pack", model.cpu().to(memory_format=torch.contiguous_format))


def overlap(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice overlap in [0, 1] of logits (B, C, H, W) with labels (B, H, W), mean over the classes present (arXiv 1606.04797).

    Brows and earrings count as much as the background, without the wider rims that weights in the cross-entropy give them.
    """
    wanted = F.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2).float()
    shares = logits.softmax(1)
    both, either = (shares * wanted).sum((0, 2, 3)), (shares + wanted).sum((0, 2, 3))
    present = wanted.sum((0, 2, 3)) > 0
    return (2 * both / either)[present].mean()


def network_input(images: np.ndarray) -> Tensor:
    """uint8 (b, H, W, 3) -> (b, 3, H, W), (x / 255 - mean) / std."""
    pixels = (images.astype(np.float32) / 255 - np.array(PARSER_MEAN, np.float32)) / np.array(PARSER_STD, np.float32)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _example(samples: Samples, row: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture (128, 128, 3) and its labels (128, 128): shifted, zoomed, turned, often from 64 px, as prepared pictures are."""
    size, source = PARSER_SIZE, samples.plan.size
    image, labels = samples.images[row], samples.parsing[row]
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    # Always moved by a part of a pixel: of an unmoved map's four labels a pixel, none lies in its middle.
    turned = rng.random() < 0.8
    angle, zoom = (0.12 * rng.standard_normal(), float(np.exp(0.16 * rng.standard_normal()))) if turned else (0.0, 1.0)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    turn, centre = np.array([[cos, -sin], [sin, cos]]), np.array([size / 2, size / 2])
    move = 0.05 * size * rng.standard_normal(2) if turned else rng.uniform(-0.5, 0.5, 2)
    transform = np.column_stack([turn, centre - turn @ centre + move])
    image = cv2.warpAffine(image, on_grids(transform), (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    fine = on_grids(np.column_stack([turn * (size / source), transform[:, 2]]))
    labels = cv2.warpAffine(labels, fine, (size, size), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.6:
        image = cv2.resize(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA), (size, size), interpolation=cv2.INTER_LINEAR)
    return wear(image, rng) if rng.random() < 0.5 else image, labels


def agreement(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Mean IoU over the classes present in ``wanted`` (n, H, W), and IoU of the face region."""
    shares = [
        float(((found == c) & (wanted == c)).sum() / ((found == c) | (wanted == c)).sum())
        for c in range(len(PARSING_CLASSES))
        if (wanted == c).any()
    ]
    face, true = np.isin(found, FACE_CLASSES), np.isin(wanted, FACE_CLASSES)
    return {"mean_iou": float(np.mean(shares)), "face_iou": float((face & true).sum() / (face | true).sum())}
