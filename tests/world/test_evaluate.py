from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from magicapture.faces.analysis import Face
from magicapture.packs import Pack, load_pack
from magicapture.world import card, datasets, detection, diffusion, diffusion_data, evaluate, recognition
from magicapture.world.architecture import build_vae
from magicapture.world.datasets import Plan
from magicapture.world.evaluate import _average_precision, _iou, _point_error, _psnr


def test_average_precision() -> None:
    assert _average_precision([(0.9, True), (0.8, True)], 2) == 1.0
    assert _average_precision([(0.9, True), (0.8, True)], 4) == 0.5
    assert _average_precision([(0.9, False), (0.8, True)], 1) == 0.5
    assert _average_precision([], 3) == 0.0


def test_overlap_and_point_error() -> None:
    a = np.array([0.0, 0, 10, 10])
    assert _iou(a, a) == 1.0
    assert _iou(a, np.array([5.0, 0, 15, 10])) == pytest.approx(1 / 3)
    points = np.array([[0.0, 0], [10, 0], [5, 5], [2, 8], [8, 8]])
    assert _point_error(Face(a, points + [1.0, 0], 1.0), points) == pytest.approx(0.1)


def test_psnr() -> None:
    picture = np.full((1, 4, 4, 3), 100, np.uint8)
    assert _psnr(picture + np.uint8(10), picture) == pytest.approx(28.13, abs=0.01)


def test_every_role_of_a_pack_is_measured_and_embedded(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way from trained roles to the embedded pack, on sets of a few pictures and weights that know nothing."""
    plans = {"verification": Plan("validation", "validation", 64, 3, 2, 2), "check": Plan("validation", "validation", 256, 3, 0, 1)}
    monkeypatch.setattr(datasets, "PLANS", {**datasets.PLANS, **plans})
    monkeypatch.setattr(recognition, "PLANS", datasets.PLANS)
    monkeypatch.setattr(evaluate, "SCENES", 4)
    monkeypatch.setattr(detection, "_BACKDROPS", 2)
    monkeypatch.setattr(diffusion_data, "SHARD", 100)
    work, target = tmp_path / "work", tmp_path / "packs" / "mini"
    target.parent.mkdir()
    shutil.copytree(pack.folder, work / "pack")
    for name, model in (("vae", build_vae()), ("unet", diffusion.build_text_to_image(tmp_path / "tokens"))):
        run = diffusion.Run(model, work / name, steps=1, rate=0.0, seed=0, rank=0, processes=1)
        run.run(lambda step, generator, model=model: {"total": sum(p.sum() for p in model.parameters())})
    diffusion_data.render_shards(work / "pictures", 1)
    scores = card.embed(work, target)
    assert set(scores) == {"detector", "recogniser", "parser", "clip", "aesthetic", "upscaler", "restorer", "size_mb"}
    made = load_pack(target)
    made.require()
    settings = made.role("referee").settings
    assert settings["stranger"] == round(scores["recogniser"]["referee"]["matched"], 4) and "genuine" in settings
    assert json.loads((target / "scores.json").read_text()) == scores
    assert "caption_top1_of_100" in (target / "README.md").read_text()
    assert list(target.parent.iterdir()) == [target]
