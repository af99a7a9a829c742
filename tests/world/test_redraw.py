"""Pictures drawn again in part: still the same pictures, with what samples show."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from magicapture.packs import load_pack
from magicapture.world import diffusion_data
from magicapture.world.datasets import Samples
from magicapture.world.redraw import redrawn
from magicapture.world.warm import continue_from


def test_pictures_drawn_again_are_near_their_own_render_and_kept(
    tmp_path: Path, portraits: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion_data, "SHARD", 40)
    continue_from(load_pack("mini"), tmp_path)
    small = np.stack([cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA) for image in portraits.images])
    drawn = redrawn(tmp_path, portraits.plan, small)
    assert drawn.shape == small.shape and drawn.dtype == np.uint8
    distance = np.abs(drawn[:, None].astype(float) - small[None]).mean((2, 3, 4))
    assert (distance.argmin(1) == np.arange(len(small))).all()
    assert np.diag(distance).min() > 0.5
    (file,) = (tmp_path / "data").glob("redrawn-*.npy")
    stamp = file.stat().st_mtime_ns
    assert np.array_equal(redrawn(tmp_path, portraits.plan, small), drawn) and file.stat().st_mtime_ns == stamp
