"""Every small role trains for two steps from the command line's table and leaves files of the pack's formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from magicapture.backbones.structure import load_structure
from magicapture.packs import load_pack
from magicapture.world import (
    clip_training,
    datasets,
    detection,
    diffusion_data,
    loop,
    packing,
    parsing,
    recognition,
    structure_training,
    train,
)
from magicapture.world.card import segments
from magicapture.world.datasets import Plan
from magicapture.world.packing import HISTORY, ROLES

NEEDED = {"aesthetic": ("clip",), "restorer": ("upscaler", "recogniser")}  # roles whose files another one's training reads


@pytest.fixture(scope="module")
def small_world() -> None:
    """Tiny sets in place of the real ones."""
    with pytest.MonkeyPatch.context() as patch:
        plans = {"recogniser": Plan("recogniser", "train", 64, 2, 2, 2), "general": Plan("train", "train", 256, 8, 0, 1)}
        patch.setattr(datasets, "PLANS", {**datasets.PLANS, **plans})
        patch.setattr(detection, "_BACKDROPS", 4)
        patch.setattr(detection, "BATCH", 4)
        patch.setattr(parsing, "BATCH", 4)
        patch.setattr(clip_training, "BATCH", 8)
        patch.setattr(clip_training, "SHARDS", 1)
        patch.setattr(clip_training, "SAMPLES", 40)
        patch.setattr(diffusion_data, "SHARD", 40)
        patch.setattr(structure_training, "BATCH", 4)
        patch.setattr(structure_training, "SHARD", 6)
        patch.setattr(structure_training, "SHARDS", 3)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def trained(small_world: None, folder: Path) -> Callable[[str], Path]:
    """Gives what a role delivers, after two steps of training; each is trained when it is first asked for."""

    @cache
    def deliver(role: str) -> Path:
        for other in NEEDED.get(role, ()):
            deliver(other)
        train.trainer(role)(folder, steps=2, seed=3)
        return folder / "pack" / ROLES[role][0]

    return deliver


@pytest.mark.parametrize("role", ["recogniser", "detector", "parser", "clip", "aesthetic", "upscaler", "restorer", "structure"])
def test_role_trains_and_delivers(trained: Callable[[str], Path], folder: Path, role: str) -> None:
    delivered = trained(role)
    assert delivered.exists()
    assert (folder / role / "checkpoint.safetensors").is_file()
    if delivered.suffix == ".onnx":
        onnxruntime.InferenceSession(delivered)


def test_interrupted_training_ends_the_same(
    trained: Callable[[str], Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after a checkpoint in the middle and started again: the very file an uninterrupted run writes."""
    before = trained("recogniser").read_bytes()
    (tmp_path / "data").symlink_to(folder / "data")
    real, calls = recognition.crop_batch, []

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(recognition, "crop_batch", stopped)
    save = loop.Run.run
    monkeypatch.setattr(loop.Run, "run", lambda self, loss: save(self, loss, save_every=0.0))
    with pytest.raises(KeyboardInterrupt):
        train.trainer("recogniser")(tmp_path, steps=2, seed=3)
    monkeypatch.setattr(recognition, "crop_batch", real)
    train.trainer("recogniser")(tmp_path, steps=2, seed=3)
    assert (tmp_path / "pack" / ROLES["recogniser"][0]).read_bytes() == before


def test_restorer_moves_away_from_its_input_only_as_far_as_asked(trained: Callable[[str], Path]) -> None:
    session = onnxruntime.InferenceSession(trained("restorer"))
    face = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3, 128, 128)).astype(np.float32)
    full, half, none = (session.run(None, {"input": face, "weight": np.array(w)})[0] for w in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(none, face, atol=1e-6)
    assert np.abs(full - face).max() > 0
    np.testing.assert_allclose(half - face, (full - face) / 2, atol=1e-5)


def test_segments_tell_where_each_run_began_and_ended(tmp_path: Path) -> None:
    role = tmp_path / "judge"
    train.note_segment(role, 5, "cpu")
    (role / "log.jsonl").write_text(json.dumps({"step": 50, "seconds": 30.0}) + "\n")
    train.note_segment(role, 5, "cpu")
    with open(role / "log.jsonl", "a") as log:
        log.write("".join(json.dumps({"step": step, "seconds": seconds}) + "\n" for step, seconds in ((70, 90.0), (90, 180.0))))
    found = [(s["from"], s["to"], s["seed"], s["minutes"]) for s in segments(tmp_path, "judge")]
    assert found == [(0, 50, 5, 0.5), (50, 90, 5, 3.0)]
    assert segments(tmp_path, "referee") == []


def test_segments_of_the_pack_come_first_unless_the_role_was_trained_anew(tmp_path: Path) -> None:
    (tmp_path / HISTORY).write_text(
        json.dumps({"judge": [{"from": 0, "to": 7}], "parser": [{"from": 0, "to": 8}], "clip": [{"from": 0, "to": 6}]})
    )
    for role, pack in (("judge", "pack mini 1"), ("parser", None)):
        train.note_segment(tmp_path / role, 0, "cpu", pack)
        (tmp_path / role / "log.jsonl").write_text(json.dumps({"step": 5}) + "\n")
    assert [(s["from"], s["to"]) for s in segments(tmp_path, "judge")] == [(0, 7), (0, 5)]
    assert segments(tmp_path, "judge")[1]["note"] == "started from pack mini 1"
    assert [(s["from"], s["to"]) for s in segments(tmp_path, "parser")] == [(0, 5)]
    assert segments(tmp_path, "clip") == [{"from": 0, "to": 6}]


def test_unknown_role_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["train", "--role", "jury", "--work", "x"])
    with pytest.raises(SystemExit):
        train.main()
    assert "jury" in capsys.readouterr().err


def test_structure_is_a_role_that_a_pack_loads_measures_and_goes_on_from(small_world: None, tmp_path: Path) -> None:
    packing.random_pack(tmp_path / "pack")
    shutil.rmtree(tmp_path / "pack" / "structure")
    packing.write_pack_yaml(tmp_path / "pack", "without")
    assert "structure" not in load_pack(tmp_path / "pack").roles
    train.trainer("structure")(tmp_path, steps=2, seed=3)
    packing.write_pack_yaml(tmp_path / "pack", "test")
    pack = load_pack(tmp_path / "pack")
    assert pack.role("structure").optional and 0.8e6 < pack.path("structure").joinpath("model.safetensors").stat().st_size < 1.2e6
    net = load_structure(pack)
    found = net(torch.zeros(2, 3, 64, 64))
    assert found.keys.shape == (2, 256, 96) and found.cls.shape == (2, 96)
    scores = structure_training.structure_scores(pack, tmp_path)
    assert all(0 <= scores[name] <= 1 for name in ("shape_found", "look_found"))
    packing.random_pack(tmp_path / "other" / "pack")
    train.trainer("structure")(tmp_path / "other", steps=2, seed=4, rate=1e-9, pack=pack)
    packing.write_pack_yaml(tmp_path / "other" / "pack", "test")
    on = load_structure(load_pack(tmp_path / "other" / "pack"))
    torch.testing.assert_close(on.vit.state_dict(), net.vit.state_dict(), atol=1e-3, rtol=1e-3)


def test_patches_are_told_what_part_they_show_and_how_deep(small_world: None, tmp_path: Path) -> None:
    parts = np.zeros((1, 64, 64), np.uint8)
    parts[0, 8:40, 8:40] = 20
    shares, depth = structure_training.patch_targets(parts)
    assert shares.shape == (1, 256, 23) and torch.allclose(shares.sum(2), torch.ones(1, 256))
    grid = shares[0].view(16, 16, 23)
    assert grid[2:10, 2:10, 20].min() == 1 and grid[:2, :, 0].min() == 1
    deep = depth[0].view(16, 16)
    assert deep[5, 5] > deep[2, 2] > deep[0, 0] == 0
    pairs = structure_training.Pairs.load(tmp_path, "validation", 1)
    rows = np.arange(6)
    images, _ = pairs.triples(rows)
    assert np.array_equal(images[12:], pairs.images[(rows + 1) % 6, 0])  # the look of the second picture, another shape
    assert np.array_equal(pairs.parts[:, 0], pairs.parts[:, 1])  # an object is where it is whatever its texture


def test_the_same_look_elsewhere_is_no_negative() -> None:
    cls = torch.eye(6)
    cls[2] = cls[1]  # the first row's second picture is the second row's first one
    free = structure_training.look_contrast(cls, torch.zeros(2, 2, dtype=torch.bool))[0]
    masked = structure_training.look_contrast(cls, torch.ones(2, 2, dtype=torch.bool))[0]
    assert masked < free
