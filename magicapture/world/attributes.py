"""What a picture shows, read by a small classifier: skin, hair, look and the rest of what captions name.

It judges whether samples show what their captions say. It learns from renders of the ``diffusion`` split and is no part of a pack.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from magicapture.world import degrade
from magicapture.world.diffusion_data import LABELS, Pictures, render_shards
from magicapture.world.loop import Run, autocast, load_average, settle_norms

SHARDS = 20  # of the training pictures
STEPS, BATCH = 4000, 96  # about a quarter of an hour on one core; a judge that errs hides what it judges


class Reader(nn.Module):
    """Pictures (b, 3, 64, 64) in [-1, 1] -> logits, name -> (b, values), one head for each of LABELS."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 32, 64, 64, 128, 128, 192)
        strides = (2, 1, 2, 1, 2, 1, 2)
        layers: list[nn.Module] = []
        for given, made, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            layers += [nn.Conv2d(given, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(192 * 16, 256), nn.ReLU(inplace=True))
        self.heads = nn.Linear(256, sum(len(values) for values in LABELS.values()))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        parts = self.heads(self.body(images)).float().split([len(values) for values in LABELS.values()], 1)
        return dict(zip(LABELS, parts, strict=True))


def trained_reader(work: Path) -> Reader:
    """The classifier below ``work/attributes``; if there is none, it is trained on SHARDS of ``work/pictures`` (rendered if missing)."""
    file, model = work / "attributes" / "reader.safetensors", Reader().to(memory_format=torch.channels_last)
    if file.is_file():
        model.load_state_dict(load_file(file))
        return model.eval()
    render_shards(work / "pictures", SHARDS)
    pictures = Pictures.load(work / "pictures", limit=SHARDS)
    torch.manual_seed(0)
    model = Reader().to(memory_format=torch.channels_last)
    run = Run(model, file.parent, steps=STEPS, rate=2e-3, seed=0, warm_up=50, average=0.99, weight_decay=0.05)

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng((step, 83))
        rows = rng.integers(len(pictures), size=BATCH)
        with autocast():
            logits = model(_network_input(np.stack([_varied(image, rng) for image in pictures.images[rows]])))
        wanted = torch.from_numpy(pictures.labels[rows].astype(np.int64))
        losses = [_masked(logits[name], wanted[:, column]) for column, name in enumerate(LABELS)]
        return {"total": torch.stack(losses).sum()}

    run.run(loss)
    load_average(model, file.parent)
    rng = np.random.default_rng(89)
    settle_norms(model, (_network_input(pictures.images[rng.integers(len(pictures), size=BATCH)]) for _ in range(20)))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    return model


def _masked(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of the rows to which the attribute applies; 0 when there is none."""
    return F.cross_entropy(logits, wanted, ignore_index=-1, reduction="sum") / (wanted >= 0).sum().clamp(min=1)


@torch.inference_mode()
def read(model: Reader, images: np.ndarray) -> np.ndarray:
    """The likeliest value of every attribute: uint8 (n, 64, 64, 3) -> int64 (n, len(LABELS)), indices into LABELS' values."""
    rows = []
    for start in range(0, len(images), 200):
        logits = model(_network_input(images[start : start + 200]))
        rows.append(torch.stack([logits[name].argmax(1) for name in LABELS], 1).numpy())
    return np.concatenate(rows)


# The words beside which a value counts, where the value alone may mean something else ("brown skin", "brown hair").
_PHRASES = {
    "skin": "{skin} skin", "hair_colour": "{hair_colour} hair", "glasses": "{glasses} glasses", "cloth_colour": "{cloth_colour} {clothing}",
    "look": "{look} style",
}  # fmt: skip


def named(attributes: dict[str, str], caption: str) -> np.ndarray:
    """bool (len(LABELS),): whether the caption says the attribute's value in words; what it leaves open, a sample is free to choose."""
    phrases = [_PHRASES.get(name, f"{{{name}}}").format_map(defaultdict(str, attributes)) for name in LABELS]
    return np.array([bool(phrase) and f" {phrase} " in f" {caption} " for phrase in phrases])


def accuracy(predicted: np.ndarray, wanted: np.ndarray, asked: np.ndarray) -> dict[str, float | None]:
    """Share of right values of each attribute over the rows where ``asked`` and the attribute applies; None where there are none.

    All are (n, len(LABELS)): indices into LABELS' values, -1 in ``wanted`` where the attribute does not apply, and bool.
    """
    counted = asked & (wanted >= 0)
    right = (predicted == wanted) & counted
    return {name: float(right[:, i].sum() / counted[:, i].sum()) if counted[:, i].any() else None for i, name in enumerate(LABELS)}


def _varied(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrored, moved, a little soft and noisy, as decoded samples are."""
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.5:
        image = degrade.noise(degrade.blur(image, 0.2 + 0.5 * rng.random()), 6 * rng.random(), rng)
    shift = np.array([[1, 0, rng.integers(-2, 3)], [0, 1, rng.integers(-2, 3)]], np.float32)
    return cv2.warpAffine(np.ascontiguousarray(image), shift, (64, 64), borderMode=cv2.BORDER_REPLICATE)


def _network_input(images: np.ndarray) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last)
