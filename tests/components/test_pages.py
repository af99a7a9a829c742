"""What the Kubeflow page shows: numbers, a summary and a page of every kind of artifact."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from kfp import dsl
from PIL import Image

from components import pages
from magicapture.artifacts import writing
from magicapture.registry import promote
from tests.registry.artifacts import knobs, make_candidate

HOSTILE = "<script>alert(1)</script>|a_b.png"


def show(folder: Path, tmp_path: Path) -> tuple[dict[str, float], str, str]:
    """Numbers, page and summary."""
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    page, summary = (SimpleNamespace(path=str(tmp_path / name)) for name in ("page", "summary"))
    pages.write(folder, metrics, page, summary, {"seconds": 2.5})
    assert json.loads((tmp_path / "metrics").read_text()) == metrics.metadata
    return metrics.metadata, (tmp_path / "page").read_text(), (tmp_path / "summary").read_text()


def picture(path: Path, side: int = 300) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)).save(path)
    return f"{path.parent.name}/{path.name}"


def make_prepared(out: Path, sheet: str) -> Path:
    with writing(out, "prepared/1") as draft:
        (draft.path / "sheet.html").write_text(sheet)
        file = picture(draft.path / "source" / "0.png")
        draft.content = {
            "source": [{"file": file, "name": HOSTILE}], "reference": [], "warnings": ["only one photo"],
            "set_aside": [{"set": "source", "name": HOSTILE, "reason": "too\ndark"}],
        }  # fmt: skip
    return out


def test_the_quality_sheet_is_the_page_and_the_verdicts_are_in_words(tmp_path: Path) -> None:
    numbers, page, summary = show(make_prepared(tmp_path / "p", "<!doctype html>sheet"), tmp_path)
    assert page == "<!doctype html>sheet"
    assert numbers == {"photos": 1, "looks": 0, "set_aside": 1, "seconds": 2.5}
    assert "only one photo" in summary and "<script>" not in summary
    (row,) = (line for line in summary.splitlines() if "too dark" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 4  # the name's own bar parts no cells


def test_what_is_too_long_to_show_is_shown_in_short(tmp_path: Path) -> None:
    _, page, _ = show(make_prepared(tmp_path / "p", "x" * (pages.LIMIT + 1)), tmp_path)
    assert "sheet.html is too long to be shown here" in page
    assert page.count("data:image/jpeg;base64,") == 1 and len(page) < 100_000
    assert "<script>" not in page


@pytest.mark.parametrize("kind", ["tokens", "adapter", "evaluation", "promotion"])
def test_training_scores_and_verdict(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    folders = make_candidate(tmp_path, 3)
    folders["promotion"] = promote([folders], tmp_path / "promotion", knobs())
    numbers, page, summary = show(folders[kind], tmp_path)
    if kind == "tokens":
        assert numbers["steps"] == 20 and numbers["last_source"] == 0.5
        assert page.count("<svg") == 2 and "t3" in summary
    elif kind == "adapter":
        assert (numbers["best_step"], numbers["judge"]) == (10, 0.4)
        assert page.count("data:image/png;base64,") == 3 and "source-v1" in page and "step-00010-0" in page
    elif kind == "evaluation":
        assert (numbers["selection"], numbers["portrait.selection"], numbers["base.selection"]) == (0.8, 0.8, 0.3)
        assert page == "<p>report</p>" and "| selection | 0.80 | 0.30 |" in summary
    else:
        assert (numbers["champion"], numbers["selection"]) == (0, 0.8)
        assert page == "<p>report</p>" and "does not answer" in summary


def test_pictures_and_what_became_of_them(tmp_path: Path) -> None:
    for kind, counted in (("images", "pictures_portrait"), ("portraits", "pictures")):
        with writing(tmp_path / kind, f"{kind}/1") as draft:
            items = []
            for index in range(pages.PICTURES + 2):
                file, before = (picture(draft.path / part / f"{index:04d}.png", 64) for part in ("images", "before"))
                items.append(
                    {"file": file, "before": before, "kind": "portrait", "prompt": "a [V1] person", "seed": index, "size": [64, 64]}
                )
            draft.content = {"items": items}
        numbers, page, summary = show(tmp_path / kind, tmp_path)
        assert numbers[counted] == pages.PICTURES + 2
        assert page.count("<img") == pages.PICTURES and "more lie in the artifact" in page
        assert ("a \\[V1\\] person" in summary) is (kind == "images")


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    """Of objects there is no identity, and a judge that finds no face has no score."""
    folder = make_candidate(tmp_path, faces=0)["evaluation"]
    numbers, _, summary = show(folder, tmp_path)
    assert "selection" not in numbers and numbers["base.selection"] == 0.3
    assert "| selection | - | 0.30 |" in summary


def test_the_plan_says_what_the_run_is_of(tmp_path: Path) -> None:
    with writing(tmp_path / "run", "run/1", lineage="abc") as draft:
        draft.content = {"job": "j", "run": "r", "reason": None, "tags": {"lineage": "abc", "pack": "mini"}}
    text = pages.plan(tmp_path / "run", {"MLflow": "http://m/#/runs/r", "this run": ""}, None)
    assert "The stages run" in text and "[MLflow](http://m/#/runs/r)" in text and "| pack | mini |" in text and "this run" not in text
    assert "**Nothing changed**: version 3" in pages.plan(tmp_path / "run", {}, "version 3")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["lineage"] == "abc"
