from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import lineup
from benchmarks.lineup_sheet import Lineup, Row, sheet_html, sheet_png
from benchmarks.pairs import claim
from magicapture.packs import pack_names

LEVELS = {"genuine": 0.8, "stranger": 0.2}


def test_the_referee_picks_the_nearest_set() -> None:
    sources = [np.eye(3)[[0, 0]], np.eye(3)[[1, 1]], np.eye(3)[[2, 2]]]
    pictures = np.array([[1.0, 0.1, 0], [0.1, 1.0, 0], [0, 0.9, 0.1], [0, 0, 0]])
    found = np.array([True, True, True, False])
    scored = lineup.score(pictures, found, sources, 1, LEVELS)
    assert scored["picks"] == [0, 1, 1, -1]
    assert scored["by_mean"] == 1
    assert scored["csim"][3] is None and scored["csim"][1] == pytest.approx(0.995, abs=1e-3)
    assert scored["likeness"][1] == pytest.approx((scored["csim"][1] - 0.2) / 0.6)
    nobody = lineup.score(pictures, np.zeros(4, bool), sources, 1, LEVELS)
    assert nobody["picks"] == [-1] * 4 and nobody["by_mean"] == -1
    blind = lineup.score(pictures, found, sources, 1, {"genuine": 0.1, "stranger": 0.2})
    assert blind["likeness"] == [None] * 4


def test_summary_clusters_by_person() -> None:
    def subject(person: int, picks: list[int], by_mean: int) -> dict[str, object]:
        scores = {"csim": [0.5, None], "likeness": [None, None], "head": [0.9, None], "style": [0.9, 0.7], "aesthetic": [5.0, 6.0]}
        return {"person": person, "kinds": {"portrait": {"own": 0, "picks": picks, "by_mean": by_mean, **scores}}}

    line = lineup.summarise([subject(1, [0, 0], 0), subject(2, [1, -1], 1), subject(2, [0, 2], 0)])["portrait"]
    assert line["right per picture"]["mean"] == pytest.approx(0.5) and line["right per picture"]["n"] == 6
    assert line["right per subject"]["mean"] == pytest.approx(2 / 3)
    assert (
        line["right per picture"]["low"] == pytest.approx(0.25) and line["right per picture"]["high"] == 1
    )  # two people, not six pictures
    assert line["csim"]["n"] == 3 and line["likeness"] is None


def test_what_post_processing_does_to_likeness() -> None:
    """Person 1 loses 0.2 in each of three portraits, person 2 gains 0.1 in one and loses a face in the other, person 3 has no face."""
    nan = float("nan")
    processed = [
        (1, np.array([0.8, 0.6]), np.array([0.6, 0.4])),
        (1, np.array([0.7]), np.array([0.5])),
        (2, np.array([0.5, 0.4]), np.array([0.6, nan])),
        (3, np.array([nan]), np.array([0.9])),
    ]
    kept = lineup.kept_likeness(processed)
    assert kept is not None
    assert kept["people"][0] == {"person": 1, "before": pytest.approx(0.7), "after": pytest.approx(0.5), "n": 3}
    assert [person["n"] for person in kept["people"]] == [3, 1, 0] and kept["people"][2]["before"] is None
    assert kept["difference"]["mean"] == pytest.approx((-0.6 + 0.1) / 4) and kept["difference"]["n"] == 4 and kept["lost"] == 1
    assert kept["difference"]["low"] == pytest.approx(-0.2) and kept["difference"]["high"] == pytest.approx(0.1)  # two people
    assert lineup.kept_likeness(processed[3:]) is None


def _lineup(photos: int = 5) -> Lineup:
    def picture(level: int) -> np.ndarray:
        return np.full((64, 64, 3), level, np.uint8)

    rows = [Row(letter, [picture(40 * i + j) for j in range(4)], letter == "C", letter == "B") for i, letter in enumerate("ABCD")]
    return Lineup("neon, person 7", [picture(200 + i) for i in range(photos)], rows)


def test_the_png_shows_every_picture_and_not_the_answer() -> None:
    sheet = sheet_png(_lineup())
    for level in [200 + i for i in range(5)] + [40 * i + j for i in range(4) for j in range(4)]:
        assert (sheet == level).all(2).sum() >= 170 * 170
    others = [Row(row.letter, row.portraits, row.letter == "A", False) for row in _lineup().rows]
    assert (sheet == sheet_png(Lineup("other title", _lineup().photos, others))).all()


def test_the_page_hides_the_answer_behind_a_fold() -> None:
    value = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 8}
    summary = {
        "portrait": {"right per picture": value, "likeness": None},
        "base": {"right per picture": {**value, "low": None}, "likeness": value},
    }
    people = [{"person": 7, "before": 0.5, "after": 0.625, "n": 3}, {"person": 8, "before": None, "after": None, "n": 0}]
    kept = {"people": people, "lost": 2, "difference": {"mean": 0.125, "low": -0.25, "high": 0.5, "n": 3}}
    html = sheet_html([_lineup(), _lineup(3)], summary, {"matched": True, "quick": False, "split": "test"}, kept)
    assert "+0.125" in html and "-0.250 to +0.500" in html and "faces lost: 2" in html and "<td>0.625</td>" in html
    assert "post-processing" not in sheet_html([_lineup()], summary, {"matched": True, "quick": False, "split": "test"})
    assert html.count("<img ") == 2 * 16 + 5 + 3
    assert html.count("row <b>C</b>") == 2 and "The referee picks row B." in html
    assert "described by the same words" in html and "quick run" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_a_folder_of_other_options_is_refused(tmp_path: Path) -> None:
    config = lineup.load_config({"preset": "mini", "pack": str(_any_pack(tmp_path / "pack"))})
    claim(tmp_path, {"people": 4}, config)
    claim(tmp_path, {"people": 4}, config)
    with pytest.raises(SystemExit, match="other options"):
        claim(tmp_path, {"people": 8}, config)


def test_two_people_end_to_end(tmp_path: Path) -> None:
    """The whole benchmark on the mini pack with as few steps as can be; a second call finds everything there."""
    if "mini" not in pack_names():
        pytest.fail("the embedded pack `mini` is missing: git checkout magicapture/packs/mini")
    steps = [
        "inversion.steps=1",
        "tuning.steps=1",
        "tuning.samples=1",
        "generation.steps=2",
        "generation.seeds=[1,2]",
        "evaluation.strangers=2",
    ]
    arguments = [str(tmp_path / "out"), "--people", "2", "--quick", "--matched", *(part for step in steps for part in ("--set", step))]
    assert lineup.main([*arguments, "--set", "evaluation.baseline_images=1"]) == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert [len(subject["kinds"]["portrait"]["picks"]) for subject in results["subjects"]] == [2, 2]
    assert set(results["summary"]) == {"portrait", "attributes", "base"}
    assert [person["person"] for person in results["postprocessing"]["people"]] == [s["person"] for s in results["subjects"]]
    assert (tmp_path / "out/lineup.html").is_file() and (tmp_path / "out/lineup-1.png").is_file()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("manifest.json") if "checkpoints" not in path.parts}
    assert len(made) == 12
    assert lineup.main([*arguments, "--set", "evaluation.baseline_images=1"]) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made


def _any_pack(folder: Path) -> Path:
    folder.mkdir()
    (folder / "pack.yaml").write_text("{name: x, version: '1', description: x, resolution: 64, attention_resolution: 16, roles: {}}")
    return folder
