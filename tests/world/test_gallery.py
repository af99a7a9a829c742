from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from magicapture.packs import Pack
from magicapture.world import diffusion_data, gallery, measure_diffusion
from magicapture.world.looks import LOOKS


def test_a_sheet_stays_below_its_size(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    file = gallery.save(tmp_path / "new" / "noise.jpg", noise)
    assert file.stat().st_size <= gallery.LARGEST
    plain = gallery.save(tmp_path / "plain.jpg", np.full((64, 64, 3), (200, 30, 30), np.uint8))
    assert cv2.imread(str(plain))[0, 0] == pytest.approx([30, 30, 200], abs=4)


def test_every_look_is_on_its_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "SIZE", 32)
    rows = -(-len(LOOKS) // 8)
    assert gallery.looks_sheet().shape[0] == rows * (32 + 18 + 4) + 4


def test_sheets_of_a_pack(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of random weights, few steps and few samples: every file is there, and the pairs show the nearest pictures."""
    monkeypatch.setattr(measure_diffusion, "STEPS", 1)
    monkeypatch.setattr(measure_diffusion, "TRAINING_SHARDS", 1)
    monkeypatch.setattr(diffusion_data, "SHARD", 6)
    monkeypatch.setattr(gallery, "SAMPLES", 6)
    monkeypatch.setattr(gallery, "PROMPTS", 2)
    monkeypatch.setattr(gallery, "SEEDS", 2)
    monkeypatch.setattr(gallery, "SIZE", 64)
    files = gallery.write_sheets(pack, tmp_path / "work", tmp_path / "sheets")
    assert {file.stem for file in files} == {"people", "looks", "objects", "prompts", "post-processing", "nearest"}
    assert all(cv2.imread(str(file)) is not None and file.stat().st_size <= gallery.LARGEST for file in files)
    prompts = cv2.imread(str(tmp_path / "sheets" / "prompts.jpg"))
    assert prompts.shape[1] == 6 * 68 + 4  # two captions a row, each with two samples
