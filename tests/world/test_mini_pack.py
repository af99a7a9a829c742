"""The embedded pack does its work on people it never saw (figures and bars: its model card, `world.evaluate`)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from magicapture.backbones.recogniser import load_recogniser
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.faces.parse import Parser
from magicapture.packs import Pack, load_pack
from magicapture.world.datasets import Plan, Samples, load_samples
from magicapture.world.looks import Look
from magicapture.world.parsing import agreement
from magicapture.world.recognition import crop_batch, verification
from magicapture.world.render import render_background


@pytest.fixture(scope="module")
def mini() -> Pack:
    return load_pack("mini")


@pytest.fixture(scope="module")
def people(work: Path) -> Samples:
    """Six groups of three people whom the same words describe, four pictures each."""
    return load_samples(work, "mini", Plan("validation", "validation", 64, 6, 2, 4))


def _crops(samples: Samples) -> np.ndarray:
    return ((crop_batch(samples, np.arange(len(samples)), None) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def test_files_are_those_recorded(mini: Pack) -> None:
    mini.require()
    assert sum(p.stat().st_size for p in mini.folder.rglob("*") if p.is_file()) <= 40e6


@pytest.mark.parametrize("role", ["recogniser", "judge", "referee"])
def test_people_are_told_from_matched_strangers(mini: Pack, people: Samples, role: str) -> None:
    scores = verification(Embedder(mini, role).embed(_crops(people)), people.people, people.groups)
    assert scores["genuine"] > scores["matched"] + 0.35 > scores["strangers"] + 0.5


def test_torch_and_onnx_recogniser_agree_over_1000_inputs(mini: Pack, people: Samples) -> None:
    rng = np.random.default_rng(0)
    crops = _crops(people)[rng.integers(len(people), size=1000)]
    crops = np.clip(crops + rng.normal(0, 20, crops.shape), 0, 255).astype(np.uint8)
    net = load_recogniser(mini)
    with torch.inference_mode():
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        rows = torch.nn.functional.normalize(torch.cat([net(part) for part in pixels.split(100)])).numpy()
    assert (rows * Embedder(mini, "recogniser").embed(crops)).sum(1).min() >= 0.9999


@pytest.mark.parametrize("size", [64, 128, 256])
def test_one_face_is_found_where_one_is(mini: Pack, portraits: Samples, size: int) -> None:
    detector = FaceDetector(mini)
    found = [detector.detect(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)) for image in portraits.images]
    assert np.mean([len(faces) == 1 for faces in found]) >= 0.85
    errors = [
        np.linalg.norm(faces[0].keypoints * 256 / size - points, axis=1).mean() / np.linalg.norm(points[0] - points[1])
        for faces, points in zip(found, portraits.keypoints, strict=True)
        if faces
    ]
    assert np.mean(errors) < 0.1


def test_several_faces_and_none(mini: Pack, portraits: Samples) -> None:
    detector = FaceDetector(mini)
    four = np.vstack([np.hstack([portraits.images[i], portraits.images[i + 1]]) for i in (0, 2)])
    assert len(detector.detect(four)) == 4
    assert not detector.detect(render_background(Look.sample(3_600_000, "office"), 128))


def test_parser_knows_the_face(mini: Pack, portraits: Samples) -> None:
    parser = Parser(mini)
    found = np.stack([parser.parse(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA), (256, 256)) for image in portraits.images])
    assert agreement(found, portraits.parsing)["face_iou"] > 0.85
