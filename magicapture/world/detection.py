"""Training the face detector on scenes put together from renders: none, one or several people, large, small and cut off."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magicapture.faces.align import on_grids
from magicapture.packs import Pack
from magicapture.world.architecture import RESOLUTION
from magicapture.world.datasets import Samples, load_samples
from magicapture.world.degrade import coarsen, wear
from magicapture.world.looks import Look
from magicapture.world.loop import Run, autocast, load_average, settle_norms
from magicapture.world.networks import ANCHORS, STRIDES, Detector
from magicapture.world.packing import DETECTOR_SIZE, write_detector
from magicapture.world.render import render_background
from magicapture.world.splits import seeds
from magicapture.world.warm import go_on

BATCH = 32
STEPS = 8000
SIZES = ((0, 40), (32, 110), (90, 1000))  # px of the face's longer side that each stride answers for; they overlap
_BACKDROPS = 400

Scene = tuple[np.ndarray, np.ndarray, np.ndarray]


def train_detector(
    work: Path, *, steps: int = STEPS, rate: float = 2e-3, seed: int = 0, device: str = "cpu", processes: int = 1, pack: Pack | None = None
) -> None:
    """Train the detector and write it below ``work/pack``."""
    samples = load_samples(work, "general", processes=processes)
    make = scene_maker(samples, "train")
    torch.manual_seed(seed)
    model = Detector().to(device, memory_format=torch.channels_last)

    def batch(rng: np.random.Generator) -> tuple[Tensor, list[Scene]]:
        scenes = [make(rng) for _ in range(BATCH)]
        return network_input(np.stack([scene[0] for scene in scenes])).to(device, memory_format=torch.channels_last), scenes

    start = partial(go_on, model, pack, "detector", lambda: batch(np.random.default_rng((seed, 24)))[:1])
    run = Run(model, work / "detector", steps=steps, rate=rate, seed=seed, average=0.998, weight_decay=0.02, start=start)

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        images, scenes = batch(np.random.default_rng((seed, step, 23)))
        with autocast(device):
            rows = torch.cat(model.logits(images), 1).float()
        wanted, weight = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*(targets(s[1], s[2]) for s in scenes), strict=True))
        positive = wanted[..., 0] > 0
        probability = rows[..., 0].sigmoid()
        # focal: easy background cells, which are nearly all, must not drown the rest
        focus = torch.where(positive, 1 - probability, probability).square()
        score = F.binary_cross_entropy_with_logits(rows[..., 0], wanted[..., 0], reduction="none") * focus * weight
        count = positive.sum().clamp(min=1)
        score = score.sum() / count
        box = (1 - overlap(rows[..., 1:5][positive], wanted[..., 1:5][positive])).sum() / count
        extent = (wanted[..., 1:5][positive].sum(1, keepdim=True) / 4).clamp(min=0.2)
        points = (
            F.smooth_l1_loss(rows[..., 5:][positive] / extent, wanted[..., 5:][positive] / extent, beta=0.02, reduction="none")
            .mean(1)
            .sum()
            / count
        )
        return {"total": score + box + 16 * points, "score": score, "box": box, "points": points}

    run.run(loss)
    rng = np.random.default_rng((seed, 29))
    settle_norms(load_average(model, work / "detector"), (batch(rng)[0] for _ in range(20)))
    write_detector(work / "pack", model.cpu().to(memory_format=torch.contiguous_format))


def network_input(images: np.ndarray) -> Tensor:
    """uint8 (b, H, W, 3) -> (b, 3, H, W), (x - 127.5) / 128 as insightface feeds it."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127.5) / 128


def overlap(boxes: Tensor, wanted: Tensor) -> Tensor:
    """Intersection over union (n,) of boxes given as distances (n, 4) left, top, right, bottom from a common point."""
    width, height = (torch.minimum(boxes[:, i], wanted[:, i]) + torch.minimum(boxes[:, i + 2], wanted[:, i + 2]) for i in (0, 1))
    inner = width.clamp(min=0) * height.clamp(min=0)
    area, area_wanted = ((b[:, 0] + b[:, 2]) * (b[:, 1] + b[:, 3]) for b in (boxes, wanted))
    return inner / (area + area_wanted - inner).clamp(min=1e-6)


def targets(boxes: np.ndarray, keypoints: np.ndarray, size: int = DETECTOR_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """What every anchor should say (cells x 2, 15) and its weight in the score (cells x 2,), all strides in a row.

    Cells near a face's middle answer for it; those around them are left alone (weight 0), all others must be silent: strides
    that are not meant for the face's size as well, or they find faces within faces.
    """
    rows, weights = [], []
    for stride, (least, most) in zip(STRIDES, SIZES, strict=True):
        cells = size // stride
        centres = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1).reshape(-1, 2) * float(stride)
        wanted, weight = np.zeros((len(centres), 15), np.float32), np.ones(len(centres), np.float32)
        closest = np.full(len(centres), np.inf)  # of faces side by side, the one whose middle is nearer has the cell
        for box, points in zip(boxes, keypoints, strict=True):
            extent = max(box[2] - box[0], box[3] - box[1])
            middle = (box[:2] + box[2:]) / 2
            distance = np.abs(centres - middle).max(1)
            nearest = distance <= distance.min()
            inside = ((centres > box[:2] + 1) & (centres < box[2:] - 1)).all(1)
            near = inside & ((distance < max(0.2 * extent, 0.75 * stride)) | nearest)
            if least <= extent < most:
                near &= distance / extent < closest
                closest[near] = distance[near] / extent
                weight[inside & (distance < 0.3 * extent)] = 0
                wanted[near, 0] = 1
                wanted[near, 1:3] = (centres[near] - box[:2]) / stride
                wanted[near, 3:5] = (box[2:] - centres[near]) / stride
                wanted[near, 5:] = ((points[None] - centres[near][:, None]) / stride).reshape(-1, 10)
                weight[near] = 1
        weight[wanted[:, 0] > 0] = 1
        rows.append(np.repeat(wanted, ANCHORS, 0))
        weights.append(np.repeat(weight, ANCHORS))
    return np.concatenate(rows), np.concatenate(weights)


def scene_maker(samples: Samples, looks: str, size: int = DETECTOR_SIZE) -> Callable[[np.random.Generator], Scene]:
    """A function that draws scenes: picture (size, size, 3) uint8, boxes (k, 4) and key points (k, 5, 2) in px, k from 0 to 5."""
    first = seeds("looks", looks)[0]
    backdrops = [render_background(Look.sample(first + i) if i % 2 else Look.compose(first + i), size) for i in range(_BACKDROPS)]

    def draw(rng: np.random.Generator) -> Scene:
        kind = rng.random()
        if kind < 0.5:
            scene = _close(samples, rng, size)
        elif kind < 0.72:
            scene = _collage(samples, rng, size)
        else:
            scene = _group(samples, rng, backdrops, size)
        image, boxes, points = scene
        seen = _visible(boxes, size)
        if len(seen) and not seen.all():  # a sliver of a face at the rim, or a speck of one, is neither face nor background: paint it over
            for box in boxes[~seen]:
                left, top, right, bottom = np.clip(box, 0, size).astype(int)
                image[top:bottom, left:right] = image.mean((0, 1))
        if rng.random() < 0.4:  # pictures of the diffusion model's own size come enlarged
            image = coarsen(image, size / RESOLUTION)
        image = wear(image, rng) if rng.random() < 0.5 else image
        boxes = boxes[seen]
        boxes[:, :] = np.clip(boxes, 0, size)
        return image, boxes, points[seen]

    return draw


def _visible(boxes: np.ndarray, size: int) -> np.ndarray:
    shown = np.clip(boxes, 0, size)
    area, whole = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (shown, boxes))
    # below 10 px a face may lie between the cells of the finest stride
    return (area > 0.6 * whole) & ((shown[:, 2:] - shown[:, :2]).min(1, initial=size) >= 10)


def _close(samples: Samples, rng: np.random.Generator, size: int) -> Scene:
    """One picture, zoomed, shifted and turned; often letterboxed as insightface does with pictures that are not square."""
    row = int(rng.integers(len(samples)))
    scale = size / samples.plan.size * float(np.exp(rng.uniform(-0.75, 0.4)) if rng.random() < 0.7 else 1.0)
    turn = float(0.2 * rng.standard_normal())
    target = rng.uniform(0.35, 0.65, 2) * size if scale * samples.plan.size > 0.95 * size else rng.uniform(0.25, 0.75, 2) * size
    image, box, points = _place(
        samples, row, scale, turn, target, size, cv2.BORDER_CONSTANT if rng.random() < 0.6 else cv2.BORDER_REPLICATE
    )
    return image, box[None], points[None]


def _collage(samples: Samples, rng: np.random.Generator, size: int) -> Scene:
    """Pictures side by side, 2 x 2 or 3 x 3, some cells empty."""
    cells = int(rng.integers(2, 4))
    side = size // cells
    image, boxes, points = np.zeros((size, size, 3), np.uint8), [], []
    image[:] = rng.integers(0, 256, 3)
    for y in range(cells):
        for x in range(cells):
            if rng.random() < 0.25:
                continue
            row = int(rng.integers(len(samples)))
            tile = cv2.resize(samples.images[row], (side, side), interpolation=cv2.INTER_AREA)
            image[y * side : (y + 1) * side, x * side : (x + 1) * side] = tile
            ratio, offset = side / samples.plan.size, np.array([x * side, y * side])
            boxes.append(samples.boxes[row] * ratio + np.tile(offset, 2))
            points.append(samples.keypoints[row] * ratio + offset)
    return image, np.array(boxes, np.float32).reshape(-1, 4), np.array(points, np.float32).reshape(-1, 5, 2)


def _group(samples: Samples, rng: np.random.Generator, backdrops: list[np.ndarray], size: int) -> Scene:
    """People cut out by their parsing and set before a backdrop, beside one another; sometimes nobody."""
    image = backdrops[int(rng.integers(len(backdrops)))].copy()
    if rng.random() < 0.5:
        image = image[:, ::-1].copy()
    boxes, points = [], []
    count = int(rng.choice(5, p=[0.35, 0.2, 0.2, 0.15, 0.1]))
    for i in range(count):
        row = int(rng.integers(len(samples)))
        scale = size / samples.plan.size * float(rng.uniform(0.25, 1.0)) / max(1.0, 0.55 * count)
        target = np.array([(i + 0.5 + rng.uniform(-0.12, 0.12)) / count, rng.uniform(0.3, 0.7)]) * size
        seed = float(0.12 * rng.standard_normal())
        person, box, kps = _place(samples, row, scale, seed, target, size, cv2.BORDER_CONSTANT)
        mask = _place(samples, row, scale, seed, target, size, cv2.BORDER_CONSTANT, mask=True)[0][..., None] / 255
        image = (image * (1 - mask) + person * mask + 0.5).astype(np.uint8)
        boxes.append(box)
        points.append(kps)
    return image, np.array(boxes, np.float32).reshape(-1, 4), np.array(points, np.float32).reshape(-1, 5, 2)


def _place(
    samples: Samples, row: int, scale: float, turn: float, target: np.ndarray, size: int, border: int, mask: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sample, scaled and turned (radians) so that its face's middle comes to ``target``: picture (or person mask), box, key points."""
    box, points = samples.boxes[row], samples.keypoints[row]
    source = np.where(samples.parsing[row] > 0, np.uint8(255), np.uint8(0)) if mask else samples.images[row]
    shrink = max(1, int(0.5 / scale))
    if shrink > 1:  # averaged first, not aliased
        side = samples.plan.size // shrink
        source = cv2.resize(source, (side, side), interpolation=cv2.INTER_AREA)
    ratio = samples.plan.size / source.shape[0]
    turned = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = target - turned @ ((box[:2] + box[2:]) / 2)
    transform = on_grids(np.column_stack([turned, shift]), ratio)
    image = cv2.warpAffine(source, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
    corners = np.array([[box[0], box[1]], [box[2], box[1]], [box[0], box[3]], [box[2], box[3]]]) @ turned.T + shift
    # A face is round: its turned box is a little smaller than the box of the turned corners.
    loose = np.concatenate([corners.min(0), corners.max(0)])
    middle, half = (loose[:2] + loose[2:]) / 2, (loose[2:] - loose[:2]) / 2 * (1 - 0.35 * abs(np.sin(turn)))
    return image, np.concatenate([middle - half, middle + half]).astype(np.float32), (points @ turned.T + shift).astype(np.float32)
