from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from magicapture.artifacts import read_manifest
from magicapture.evaluation import report
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack
from magicapture.world.people import Person
from tests.evaluation import artifacts

SECTIONS = ("portraits", "balance", "comparison", "photos", "post-processing", "attention", "training", "set-aside", "lineage")


def test_every_section_with_all_its_pictures(page: Path) -> None:
    html = page.read_text()
    assert tuple(re.findall(r'<section id="([a-z-]+)"', html)) == SECTIONS
    assert re.findall(r'<li><a href="#([a-z-]+)">', html) == list(SECTIONS)
    # portraits + compared + photos and looks with masks + before and after of the best + attention + validation samples
    assert html.count("<img ") == 8 + 12 + 2 * 10 + 2 + 9 + 7 * 4
    assert html.count("<svg ") == 1 + 1 + 3 + 6
    assert html.count('data-before="data:image/png') == 8
    assert all(alt.strip() for alt in re.findall(r'<img [^>]*alt="([^"]*)"', html))


def test_attention_lies_over_the_picture_as_tuning_left_it(page: Path, rendered: tuple[Path, Path]) -> None:
    """The more opaque, the more the token looks there; each token in a colour of its own."""
    part = page.read_text().split('<section id="attention"')[1].split("</section>")[0]
    maps = load_file(rendered[1] / "training/attention/maps.safetensors")["source"]
    colours = []
    for token, level in zip(("v1", "v2"), maps, strict=True):
        coded = re.findall(rf'<img class="map {token}" src="data:image/png;base64,([^"]+)" alt="Where \[{token.upper()}\] looks', part)
        assert len(coded) == 3
        shown = np.array(Image.open(io.BytesIO(base64.b64decode(coded[0]))))
        assert shown.shape == (96, 96, 4)
        cells = shown[..., 3].reshape(16, 6, 16, 6).mean((1, 3)) / 255
        np.testing.assert_allclose(cells, level * cells.max(), atol=0.12)
        colours.append(tuple(shown[0, 0, :3]))
    assert colours[0] != colours[1]


def test_what_has_one_value_cannot_be_filtered_by(page: Path) -> None:
    assert re.findall(r'<select name="(\w+)" data-filter>', page.read_text()) == ["seed"]
    rows = [{"seed": 1, "prompt": "a", "tokens": ["[V1:x]", "[V2]"]}, {"seed": 1, "prompt": "b", "tokens": ["[V1:y]", "[V2]"]}]
    assert report._filters(rows) == [("prompt", "Prompt", ["a", "b"]), ("tokens", "Subject and look", ["[V1:x] [V2]", "[V1:y] [V2]"])]


def test_a_filters_value_is_the_prompt_itself(page: Path) -> None:
    """An option's text is told with its spaces collapsed, and a prompt with two in a row would filter to nothing."""
    options = re.findall(r"<option([^>]*)>", page.read_text())
    assert len(options) > 3 and all(option.startswith(' value="') for option in options)


def test_nothing_is_asked_of_the_network(page: Path) -> None:
    html = page.read_text()
    assert not re.findall(r"(?:src|href|action)=\"(?!data:|#[a-z])[^\"]", html)
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
    (line,) = report.comparison(sets, ["portrait", "base"])
    assert [c["column"] for c in line["cells"]] == ["portrait", "base"]
    assert line["zero"] == 50
    assert line["cells"][0]["place"] == {"mean": 100}
    assert line["cells"][1]["place"] == {"low": 0, "mean": 0, "high": 50}


def test_compared_pictures_share_their_seeds(rendered: tuple[Path, Path]) -> None:
    groups = report._compared(artifacts.rendered_result(rendered[1])["items"], rendered[1])
    assert [group["kind"] for group in groups] == ["portrait", "attributes", "base"]
    assert {tuple(row["seed"] for row in group["rows"]) for group in groups} == {(1000, 1001, 1002, 1003)}


def test_compared_pictures_are_of_one_prompt(rendered: tuple[Path, Path]) -> None:
    """The first: that of which baselines are drawn."""
    rows = [row for row in artifacts.rendered_result(rendered[1])["items"] if row["kind"] in ("portrait", "base")]
    drawn = {row["file"]: row for row in sorted(rows, key=lambda row: row["file"])}
    for kind, prompts in (("portrait", ["a [V1] one", "a [V1] two"]), ("base", ["a one", "a two"])):
        own = [row for row in drawn.values() if row["kind"] == kind]
        for number, row in enumerate(own):
            half = len(own) // 2
            row |= {"tokens": [], "prompt": prompts[number >= half], "seed": 1000 + number % half, "rank": len(own) - number}
    groups = report._compared(sorted(drawn.values(), key=lambda row: row["rank"]), rendered[1])
    assert [{row["prompt"] for row in group["rows"]} for group in groups] == [{"a [V1] one"}, {"a one"}]


def test_curves_of_a_phase_that_never_ran(tmp_path: Path) -> None:
    file = tmp_path / "curves.jsonl"
    file.write_text('{"phase": "tuning", "step": 1, "total": 0.5, "identity": null, "attention": 0}\n')
    (phase,) = report._losses(file)
    assert [chart["name"] for chart in phase["charts"]] == ["Total"]
    assert report._losses(tmp_path / "missing.jsonl") == []
