"""Several runs on one page: what they share, in what they differ, and what cannot be compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect
from typer.testing import CliRunner

from magicapture.artifacts import MANIFEST, ArtifactError, page_tag, writing
from magicapture.cli import app
from magicapture.config import load_config
from magicapture.evaluation import gallery, ranking
from tests.evaluation.artifacts import SAMPLING
from tests.evaluation.browser import Open, contrasts, unnamed, unreached
from tests.faces import tinypack

ROOT = Path(__file__).parents[2]


def run(folder: Path, identities: dict[int, float], *, protocol: str = "p1", training: int = 0, **knobs: Any) -> Path:
    """An evaluation folder: a picture of every seed with this identity, style 0.5 + a tenth of it."""
    config = load_config({"preset": "mini", "promotion": {"subject": "anna"}, **knobs})
    rows = []
    with writing(folder, "evaluation/1", config=config.model_dump(mode="json")) as draft:
        (draft.path / "images").mkdir()
        for i, (seed, identity) in enumerate(identities.items()):
            file = f"images/{i:04d}.png"
            _save(draft.path / file, seed)
            scores = dict.fromkeys(("referee", "likeness", "head"), identity) | {"style": 0.5 + identity / 10, "aesthetic": 7.0}
            rows.append({"file": file, "kind": "portrait", "prompt": "a [V1]", "seed": seed, "face": True, "identity": identity, **scores})
            rows[-1] |= SAMPLING
        ranked = ranking.rank(rows, config.evaluation)
        result = {"protocol": protocol, "items": ranked, "sets": ranking.summaries(ranked)}
        (draft.path / "scores.json").write_text(json.dumps(result))
        adapter = {"seed": training, "best_step": 80}
        draft.content.update(protocol=protocol, **ranking.better_half(ranked), best="images/0000.png", adapter=adapter)
    return folder


def _save(path: Path, seed: int) -> None:
    Image.fromarray(tinypack.draw(64, 64, [(32, 32, 28, seed % 4)], seed)).save(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of train: the second is better on the three seeds that both have, by 0.1, 0.2 and 0.3; its other training seed is worse."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder / "plain/seed-0/evaluation", {1: 0.3, 2: 0.4, 3: 0.5, 4: 0.9})
    run(folder / "long/seed-0/evaluation", {1: 0.1, 2: 0.1, 3: 0.1}, tuning={"steps": 400})
    run(folder / "long/seed-1/evaluation", {3: 0.8, 2: 0.6, 1: 0.4}, training=1, tuning={"steps": 400, "lora": {"rank": 16}})
    return folder / "plain", folder / "long"


def test_the_best_seed_speaks_for_a_run(runs: tuple[Path, Path]) -> None:
    plain, long = gallery.compare(runs)["runs"]
    assert (plain["name"], long["name"]) == ("plain", "long") and long["seed"] == 1
    assert long["evaluation"] == str((runs[1] / "seed-1/evaluation").resolve())
    assert long["scores"]["identity"]["mean"] == pytest.approx(0.6) and long["scores"]["identity"]["low"] < 0.6
    for folder in (runs[1] / "seed-0", runs[1] / "seed-0/evaluation"):
        assert gallery.find_evaluation(folder) == (runs[1] / "seed-0/evaluation").resolve()


def test_the_seed_that_train_chose_speaks_not_an_earlier_trainings(tmp_path: Path) -> None:
    """`train --seed 0`, then `--seed 1` with the same --out: the first one's evaluation stays there."""
    for seed, identity in ((0, 0.9), (1, 0.2)):
        run(tmp_path / f"seed-{seed}/evaluation", {1: identity, 2: identity}, training=seed)
    (tmp_path / "search.json").write_text(json.dumps({"winner": "seed-1"}))
    assert gallery.find_evaluation(tmp_path) == (tmp_path / "seed-1/evaluation").resolve()
    shutil.rmtree(tmp_path / "seed-1/evaluation")
    with pytest.raises(ArtifactError, match="holds none"):
        gallery.find_evaluation(tmp_path)


def test_the_page_tells_purge_whose_pictures_it_holds(runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = gallery.render(gallery.compare(runs))
    assert page_tag({"anna": []}) in page  # of runs from before manifests told: by promotion.subject
    other = Path(shutil.copytree(runs[0], tmp_path / "plain"))
    manifest = other / "seed-0/evaluation" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"subjects": {'ben"<': ["1"]}}))
    page = gallery.render(gallery.compare([other, runs[1]]))
    assert page_tag({'ben"<': ["1"], "anna": []}) in page and 'ben"<' not in page


def test_differences_are_between_pictures_of_the_same_prompt_and_seed(runs: tuple[Path, Path]) -> None:
    compared = gallery.compare(runs)
    difference = compared["runs"][1]["differences"]["identity"]
    assert difference["n"] == 3 and difference["mean"] == pytest.approx(0.2)  # not 0.6 less the mean 0.525 of all four
    assert 0.09 < difference["low"] < 0.2 < difference["high"] < 0.31
    assert compared["runs"][0]["differences"] == {}
    assert [row["seed"] for row in compared["shared"]] == [3, 2, 1]  # in the first run's order of rank; 4 is its own
    for row in compared["shared"]:
        assert len(row["files"]) == 2 and all(Path(file).is_file() for file in row["files"])


def test_only_knobs_that_differ_are_named(runs: tuple[Path, Path]) -> None:
    assert gallery.compare(runs)["knobs"] == {"tuning.steps": [320, 400], "tuning.lora.rank": [8, 16]}


def test_another_protocol_is_not_compared_in_silence(runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = run(tmp_path / "other", {7: 0.5, 8: 0.6}, protocol="p2", evaluation={"weight_style": 2.0})
    compared = gallery.compare([runs[0], other])
    assert not compared["comparable"] and compared["shared"] == []
    assert compared["reasons"] == ["their portraits are of different prompts or seeds", "the weights of the ranking differs"]
    page = gallery.render(compared)
    assert "cannot be compared" in page and "No portrait of one is of the same prompt and seed" in page
    same = run(tmp_path / "same", {1: 0.5, 2: 0.6, 3: 0.5, 4: 0.7}, protocol="p3")
    assert "different photos or looks" in gallery.compare([runs[0], same])["reasons"][0]


def test_results_of_the_pipeline_lead_to_their_evaluation(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with writing(tmp_path / "latest", "results/1") as draft:
        draft.content = {"folders": {"evaluation": str(runs[0] / "seed-0/evaluation")}}
    assert gallery.find_evaluation(tmp_path / "latest") == (runs[0] / "seed-0/evaluation").resolve()
    with writing(tmp_path / "gone", "results/1") as draft:
        draft.content = {"folders": {"evaluation": str(tmp_path / "nowhere")}}
    with pytest.raises(ArtifactError, match="is not there any more; run the pipeline again"):
        gallery.find_evaluation(tmp_path / "gone")


def test_names_tell_runs_apart(runs: tuple[Path, Path]) -> None:
    compared = gallery.compare([runs[0] / "seed-0", runs[1] / "seed-0"])
    assert [entry["name"] for entry in compared["runs"]] == ["plain/seed-0", "long/seed-0"]


@pytest.mark.parametrize(
    ("given", "message"),
    [("missing", "does not exist: expected an evaluation"), ("empty", "holds none"), ("tokens", "holds 'tokens'")],
)
def test_a_folder_that_is_no_run_is_named(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with writing(tmp_path / "tokens", "tokens/1"):
        pass
    command = (sys.executable, "-m", "magicapture", "gallery", str(tmp_path / given), "--out", str(tmp_path / "page.html"))
    result = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and message in result.stderr and str(tmp_path / given) in result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / "page.html").exists()


def test_the_same_run_twice(runs: tuple[Path, Path]) -> None:
    with pytest.raises(ArtifactError, match="given twice"):
        gallery.compare([runs[0], runs[0] / "seed-0"])


def test_json_for_programs_and_a_page_for_people(runs: tuple[Path, Path], tmp_path: Path) -> None:
    folders = [str(folder) for folder in runs]
    said = CliRunner().invoke(app, ["gallery", *folders, "--json", "--out", str(tmp_path / "none.html")])
    assert json.loads(said.output) == json.loads(json.dumps(gallery.compare(runs))) and not (tmp_path / "none.html").exists()
    out = tmp_path / "pages/gallery.html"
    said = CliRunner().invoke(app, ["gallery", *folders, "--out", str(out)])
    assert said.exit_code == 0 and f"gallery: {out}" in said.output and "plain  identity 0.525" in said.output
    page = out.read_text()
    assert page.count("<img ") == 6 and str(runs[0].parent) not in page  # nobody's folders in a page that is passed on
    assert "+0.200 (" in page and "tuning.lora.rank" in page


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_in_the_browser(open_page: Open, runs: tuple[Path, Path], tmp_path: Path, width: int, scheme: str) -> None:
    file = tmp_path / "gallery.html"
    file.write_text(gallery.render(gallery.compare(runs)))
    shown = open_page(file, width, scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert contrasts(shown) == [] and unnamed(shown) == [] and unreached(shown) == []
    shown.locator(".zoom").nth(1).click()
    dialog = shown.get_by_role("dialog")
    expect(dialog.locator(".count")).to_have_text("2 of 6")
    expect(dialog.locator("figcaption")).to_contain_text("long · identity 0.80 · style 0.58seed 3 · a [V1]")
    shown.keyboard.press("ArrowRight")
    expect(dialog.locator("figcaption")).to_contain_text("plain · identity 0.40")
    shown.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
