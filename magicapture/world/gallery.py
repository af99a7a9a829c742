"""Contact sheets: what the world looks like, and what a pack's diffusion model makes of it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from magicapture.artifacts import write_bytes
from magicapture.backbones import load_backbone
from magicapture.config import load_config
from magicapture.faces.analysis import FaceDetector
from magicapture.packs import Pack
from magicapture.postprocessing.restore import Restorer
from magicapture.postprocessing.upscale import Upscaler, consistent
from magicapture.world.looks import LOOKS, Look
from magicapture.world.measure_diffusion import SAMPLES, held_out_captions, nearest, sample, sampled, training_images
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render
from magicapture.world.sheet import contact_sheet
from magicapture.world.splits import seeds

SIZE = 128
LARGEST = 400_000  # bytes of a sheet
PROMPTS, SEEDS = 16, 4
_PEOPLE = 400_000  # offset in the seeds of the split: nobody who is measured


def write_sheets(pack: Pack, work: Path, folder: Path) -> list[Path]:
    """Every sheet as a JPEG of at most LARGEST bytes in ``folder``; returns the files."""
    from magicapture.world.objects import objects_sheet

    return [
        save(folder / f"{name}.jpg", sheet)
        for name, sheet in (
            ("people", people_sheet()),
            ("looks", looks_sheet()),
            ("objects", objects_sheet(SIZE)),
            ("prompts", prompts_sheet(pack)),
            ("post-processing", postprocessing_sheet(pack)),
            ("nearest", nearest_sheet(pack, work)),
        )
    ]


def save(file: Path, sheet: np.ndarray) -> Path:
    """Write a sheet (H, W, 3) uint8 RGB as JPEG, of less quality than 88 only where it would exceed LARGEST bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    for quality in range(88, 40, -4):
        done, data = cv2.imencode(".jpg", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
        assert done
        if len(data) <= LARGEST:
            break
    write_bytes(file, data.tobytes())
    return file


def people_sheet() -> np.ndarray:
    """Eight people, a row each in a look of their own, in eight poses."""
    rows = []
    for i in range(8):
        person = Person.sample(seeds("people", "validation")[_PEOPLE + i])
        look = Look.sample(seeds("looks", "validation")[_PEOPLE + i], LOOKS[i % len(LOOKS)])
        poses = [Nuisance.frontal(), *(Nuisance.sample(100 * i + j) for j in range(7))]
        rows.append([render(person, look, pose, SIZE).image for pose in poses])
    return contact_sheet(rows)


def looks_sheet(columns: int = 8) -> np.ndarray:
    """One person in every named look."""
    person, styles = Person.sample(seeds("people", "validation")[_PEOPLE]), seeds("looks", "validation")
    images = [render(person, Look.sample(styles[_PEOPLE + i], name), Nuisance.frontal(), SIZE).image for i, name in enumerate(LOOKS)]
    return contact_sheet(_rows(images, columns), labels=_rows(LOOKS, columns))


def prompts_sheet(pack: Pack) -> np.ndarray:
    """PROMPTS held-out captions, two a row, each beside SEEDS samples of it."""
    captions = held_out_captions(SAMPLES).captions[:PROMPTS]
    samples = sample(load_backbone(pack), [caption for caption in captions for _ in range(SEEDS)], list(range(SEEDS)) * len(captions))
    blocks = [[_written(caption), *samples[i * SEEDS : (i + 1) * SEEDS]] for i, caption in enumerate(captions)]
    return contact_sheet([left + right for left, right in zip(blocks[::2], blocks[1::2], strict=True)], SIZE)


def postprocessing_sheet(pack: Pack, columns: int = 6) -> np.ndarray:
    """Samples as they are (above) and enlarged and restored (below), with the mini preset's knobs."""
    before = list(sampled(pack.folder, SAMPLES)[:columns])
    upscaler, restorer, detector, knobs = Upscaler(pack), Restorer(pack), FaceDetector(pack), load_config("mini").postprocessing
    large = [consistent(upscaler.upscale(image), image, knobs.consistency) for image in before]
    after = [restorer.restore(image, detector.detect(image), knobs.fidelity) for image in large]
    return contact_sheet([before, after], 4 * before[0].shape[0], ["as sampled", "after post-processing"])


def nearest_sheet(pack: Pack, work: Path, count: int = 16, columns: int = 4) -> np.ndarray:
    """Pairs: a sample and the training picture nearest to it, with their distance (0 to 255)."""
    samples = sampled(pack.folder, SAMPLES)[:count]
    found, distances = nearest(samples, training_images(work))
    images = [image for pair in zip(samples, found, strict=True) for image in pair]
    labels = [text for distance in distances for text in ("sample", f"training, {distance:.0f}")]
    return contact_sheet(_rows(images, 2 * columns), SIZE, _rows(labels, 2 * columns))


def _rows(values: Sequence[Any], columns: int) -> list[list[Any]]:
    return [list(values[i : i + columns]) for i in range(0, len(values), columns)]


def _written(text: str) -> np.ndarray:
    """A white cell (SIZE, SIZE, 3) with a caption on it."""
    cell = Image.new("RGB", (SIZE, SIZE), (255, 255, 255))
    lines = "\n".join(textwrap.wrap(text.replace(" ,", ","), 21))
    ImageDraw.Draw(cell).multiline_text((4, 4), lines, fill=(40, 40, 40), font=ImageFont.load_default(size=11), spacing=3)
    return np.array(cell)
