from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from magicapture.faces.analysis import Face
from magicapture.packs import Pack, load_pack
from magicapture.world import (
    attributes,
    card,
    datasets,
    detection,
    diffusion,
    diffusion_data,
    evaluate,
    loop,
    measure_diffusion,
    recognition,
    structure_training,
)
from magicapture.world.architecture import build_vae
from magicapture.world.datasets import Plan
from magicapture.world.evaluate import ROLES, _average_precision, _iou, _point_error, main, measure


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


def test_an_unknown_role_is_refused_with_the_names(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="'unet' cannot be measured; there are: vae, text_to_image, detector"):
        measure(pack, tmp_path, ("vae", "unet"))
    monkeypatch.setattr("sys.argv", ["evaluate", "--role", "unet"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert "unet" in said and all(name in said for name in (*ROLES, "sheets"))


def test_one_role_of_a_folder_is_measured_alone(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(diffusion_data, "SHARD", 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["evaluate", "--pack", str(pack.folder), "--work", str(tmp_path), "--role", "vae"])
    main()
    scores = json.loads(capsys.readouterr().out)
    assert set(scores) == {"vae"} and set(scores["vae"]) == {"psnr", "ssim", "psnr_face"}
    assert not (tmp_path / "docs").exists()


def test_every_role_of_a_pack_is_measured_and_embedded(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way from trained roles to the embedded pack, on sets of a few pictures and weights that know nothing."""
    plans = {"verification": Plan("validation", "validation", 64, 3, 2, 2), "check": Plan("validation", "validation", 256, 3, 0, 1)}
    monkeypatch.setattr(datasets, "PLANS", {**datasets.PLANS, **plans})
    monkeypatch.setattr(recognition, "PLANS", datasets.PLANS)
    monkeypatch.setattr(evaluate, "SCENES", 4)
    monkeypatch.setattr(detection, "_BACKDROPS", 2)
    monkeypatch.setattr(diffusion_data, "SHARD", 100)
    for name, value in (("SAMPLES", 6), ("STEPS", 2), ("TRAINING_SHARDS", 1)):
        monkeypatch.setattr(measure_diffusion, name, value)
    monkeypatch.setattr(structure_training, "SHARD", 6)
    monkeypatch.setattr(attributes, "SHARDS", 1)
    monkeypatch.setattr(attributes, "STEPS", 2)
    work, target = tmp_path / "work", tmp_path / "packs" / "mini"
    target.parent.mkdir()
    shutil.copytree(pack.folder, work / "pack")
    for name, model in (("vae", build_vae()), ("unet", diffusion.build_text_to_image(tmp_path / "tokens"))):
        run = loop.Run(model, work / name, steps=1, rate=0.0, seed=0, rank=0, processes=1)
        run.run(lambda step, generator, model=model: {"total": sum(p.sum() for p in model.parameters())})
    diffusion_data.render_shards(work / "pictures", 1)
    scores = card.embed(work, target)
    assert set(scores) == {*ROLES, "size_mb"}
    drawn = scores["text_to_image"]
    assert set(drawn["accuracy"]) == set(diffusion_data.LABELS) and drawn["accuracy"]["look"]["count"] == 6
    assert drawn["frechet"]["ratio"] == pytest.approx(drawn["frechet"]["samples"] / drawn["frechet"]["renders"])
    assert drawn["nearest"]["training_pictures"] == 100 and drawn["nearest"]["samples"]["mean"] > 0 and drawn["seconds"] > 0
    made = load_pack(target)
    made.require()
    settings = made.role("referee").settings
    assert settings["stranger"] == round(scores["recogniser"]["referee"]["matched"], 4) and "genuine" in settings
    assert json.loads((target / "scores.json").read_text()) == scores
    assert "caption_top1_of_100" in (target / "README.md").read_text()
    assert list(target.parent.iterdir()) == [target]
