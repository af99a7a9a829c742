"""The gate's benchmark: what counts as right, and its curves against slow, obvious counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import quality
from benchmarks.quality_pictures import Painter, write_sets
from magicapture.config import load_config


def _row(kind: str, expected: str, *problems: str) -> dict:
    right = list(problems[:1]) == [expected] if kind else not problems
    return {"kind": kind, "expected": expected, "problems": problems, "verdict": "set aside" if problems else "use", "right": right}


def test_a_bad_photo_is_right_when_its_own_fault_comes_first() -> None:
    rows = [
        _row("pose", "tilted", "tilted"),
        _row("pose", "tilted", "covered", "tilted"),
        _row("pose", "tilted"),
        _row("", ""),
        _row("", "", "blurred"),
    ]
    found = quality.summary(rows)
    assert found["bad"] == {"pose": {"n": 3, "aside": 2, "right": 1}}
    assert found["good"] == {"n": 2, "use": 1, "warn": 0, "set aside": 1}
    lines = quality.table({"gate": found, "rocs": {}}).splitlines()
    assert "| pose | 3 | 2 | 1 |" in lines and "| **all** | 3 | 66.7% | 33.3% |" in lines
    assert any(line.startswith("Of 2 good photos of the test split 1 were refused (50.0%)") for line in lines)


def test_curves_are_what_counting_says() -> None:
    config = load_config("mini", ["preprocess.max_turn=0.4", "preprocess.min_sharpness=100"])
    rng = np.random.default_rng(0)
    rows = [("", dict.fromkeys(quality.MEASURES, 0.0) | {"turn": float(v), "sharpness": 200.0}) for v in rng.uniform(0, 0.5, 50)]
    rows += [("turned away", dict.fromkeys(quality.MEASURES, 0.0) | {"turn": float(v)}) for v in rng.uniform(0.3, 0.9, 30)]
    rows += [("blurred", dict.fromkeys(quality.MEASURES, 0.0) | {"sharpness": v}) for v in (50.0, 99.0, 150.0, 250.0)]
    found = quality.rocs(rows, config)
    good = [values["turn"] for what, values in rows if not what]
    bad = [values["turn"] for what, values in rows if what == "turned away"]
    turn = found["turn"]
    assert turn["auc"] == pytest.approx(np.mean([b > g for b in bad for g in good]))
    assert turn["found"] == pytest.approx(np.mean([b > 0.4 for b in bad])) and turn["refused"] == pytest.approx(
        np.mean([g > 0.4 for g in good])
    )
    assert turn["curve"]["0.0"] == pytest.approx(np.mean([b > max(good) for b in bad]))
    assert (turn["worst good"], turn["mildest bad"]) == (pytest.approx(max(good)), pytest.approx(min(bad)))
    blurred = found["sharpness"]  # less of it is worse
    assert (blurred["found"], blurred["refused"], blurred["curve"]["0.0"]) == (0.5, 0.0, 0.75)
    assert (blurred["worst good"], blurred["mildest bad"]) == (200.0, 250.0)
    assert set(found) == {"turn", "sharpness"}  # no bad photo tells of the others


def test_sets_that_lack_something_are_drawn_once_and_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    real = Painter.picture

    def spy(self: Painter, person=None, look=None, nuisance=None):
        drawn.append((look, nuisance))
        return real(self, person, look, nuisance)

    monkeypatch.setattr(Painter, "picture", spy)
    files = write_sets(tmp_path, "validation", 3)
    assert {name: len(own) for name, own in files.items()} == {"pose": 4, "place": 4}
    assert all(Image.open(path).size == (512, 512) for own in files.values() for path in own)
    pose, place = drawn[:4], drawn[4:]
    assert len({nuisance.yaw for _, nuisance in pose}) == 1 and len({look.name for look, _ in pose}) > 1
    assert len({look for look, _ in place}) == 1 and len({(n.light, n.exposure) for _, n in place}) == 1
    assert len({nuisance.yaw for _, nuisance in place}) == 4
    assert write_sets(tmp_path, "validation", 3) == files and len(drawn) == 8
