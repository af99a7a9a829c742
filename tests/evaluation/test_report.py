from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from magicapture.artifacts import read_manifest
from magicapture.evaluation import report
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack
from magicapture.world.people import Person
from tests.evaluation import artifacts

SECTIONS = ("portraits", "comparison", "photos", "post-processing", "attention", "training", "set-aside", "lineage")


def test_every_section_with_all_its_pictures(page: Path) -> None:
    html = page.read_text()
    assert tuple(re.findall(r'<section id="([a-z-]+)"', html)) == SECTIONS
    # portraits + compared + photos and looks with masks + before and after + attention + validation samples
    assert html.count("<img ") == 8 + 12 + 2 * 10 + 2 * 4 + 9 + 7 * 4
    assert html.count("<svg ") == 1 + 3 + 6
    assert all(alt.strip() for alt in re.findall(r'<img [^>]*alt="([^"]*)"', html))
    assert html.count("alt=") == html.count("<img ")


def test_attention_is_shown_as_tuning_drew_it(page: Path) -> None:
    """Heat over a greyed picture, and not the heat of that picture, which is bright wherever the picture is."""
    part = page.read_text().split('<section id="attention">')[1].split("</section>")[0]
    coded = re.findall(r'src="data:image/[a-z]+;base64,([^"]+)" alt="Attention of \[V1\]', part)
    assert len(coded) == 3
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(coded[0]))).convert("RGB")).astype(int)
    grey, hot = np.ptp(shown, axis=2) < 16, shown[..., 0] - shown[..., 2] > 100
    assert hot.mean() > 0.03 and (grey | hot).mean() > 0.8


def test_nothing_is_asked_of_the_network(page: Path) -> None:
    html = page.read_text()
    assert not re.findall(r"(?:src|href|action)=\"(?!data:)[^\"]", html)
    assert not re.findall(r"@import|url\(|<link (?!rel=\"icon\")|<script src", html)
    assert "default-src 'none'" in html
    assert page.stat().st_size < 3_000_000


def test_texts_from_outside_are_escaped(page: Path) -> None:
    html = page.read_text()
    assert "group &lt;b&gt;shot&lt;/b&gt;.jpg" in html and "<b>shot" not in html
    assert "brown skin &amp; short hair" in html


def test_the_best_step_is_pointed_out(page: Path) -> None:
    assert re.search(r'class="label num best">step 100 · kept<small>judge 0\.400', page.read_text())
    assert 'class="mark"' in page.read_text()


def test_what_is_absent_is_left_out(tmp_path: Path, pack: Pack) -> None:
    """Pictures straight from generation, no baselines, nothing of the training, no likeness: a shorter page, no holes."""
    person = Person.sample(7)
    prepared = artifacts.rendered_prepared(tmp_path / "prepared", person)
    full = artifacts.rendered_portraits(tmp_path / "portraits", person, size=64, portraits=1, baseline=0)
    manifest = read_manifest(full, "portraits")
    result = artifacts.rendered_result(full)
    for item in [*manifest["content"]["items"], *result["items"]]:
        item.pop("before")
        item.pop("likeness", None)
    result["items"] = [{**item, "likeness": None} for item in result["items"]]
    result["sets"]["portrait"]["likeness"] = None
    result["levels"] = {"genuine": None, "genuine_from": "pack", "stranger": None}
    (full / "training").rename(tmp_path / "elsewhere")
    manifest["content"]["adapter"] = {}
    html = report.render(
        images=full,
        manifest=manifest,
        prepared=PreparedSet.load(prepared),
        result=result,
        config=artifacts.config(pack),
        pack=pack,
        lineage="x",
    )
    assert re.findall(r'<section id="([a-z-]+)"', html) == ["portraits", "comparison", "photos", "set-aside", "lineage"]
    assert "Likeness is not given" in html
    assert "one picture" in html


def test_comparison_places_every_interval_on_one_scale() -> None:
    def cell(mean: float, low: float | None, high: float | None) -> dict[str, float | None]:
        return {"mean": mean, "low": low, "high": high, "n": 2}

    empty = dict.fromkeys(("referee", "likeness", "style", "aesthetic"))
    sets = {"base": {"identity": cell(-0.5, -0.5, 0.0), **empty}, "portrait": {"identity": cell(0.5, None, None), **empty}}
    (line,) = report.comparison(sets)
    assert [c["kind"] for c in line["cells"]] == ["portrait", "base"]
    assert line["zero"] == 50
    assert line["cells"][0]["place"] == {"mean": 100}
    assert line["cells"][1]["place"] == {"low": 0, "mean": 0, "high": 50}


def test_compared_pictures_share_their_seeds(rendered: tuple[Path, Path]) -> None:
    rows = [{**row, "uri": ""} for row in artifacts.rendered_result(rendered[1])["items"]]
    groups = report._compared(rows)
    assert [group["kind"] for group in groups] == ["portrait", "attributes", "base"]
    assert {tuple(row["seed"] for row in group["rows"]) for group in groups} == {(1000, 1001, 1002, 1003)}


def test_curves_of_a_phase_that_never_ran(tmp_path: Path) -> None:
    file = tmp_path / "curves.jsonl"
    file.write_text('{"phase": "tuning", "step": 1, "total": 0.5, "identity": null, "attention": 0}\n')
    (phase,) = report._losses(file)
    assert [chart["name"] for chart in phase["charts"]] == ["Total"]
    assert report._losses(tmp_path / "missing.jsonl") == []
