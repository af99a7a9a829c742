"""The method's table: methods are settings, results add up, a finished pair is not trained again."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import method, method_sheet
from benchmarks.method_rows import answers, made_by, ratio, summarise
from benchmarks.method_scores import collapsed
from benchmarks.method_sheet import differences, table, tiles
from benchmarks.methods import PROCESSED
from magicapture.artifacts import writing
from magicapture.world.samples import write_samples


def test_every_method_is_a_configuration_of_both_bases() -> None:
    for base in ("mini", "sd15"):
        configs = {name: method.configure(base, each) for name, each in method.METHODS.items()}
        assert len({config.digest() for config in configs.values()}) == len(method.METHODS)
        assert all(
            len(config.generation.seeds) == 16 and config.preprocess == configs["magicapture"].preprocess for config in configs.values()
        )
        assert not configs["no-composed"].tuning.composed and configs["no-identity"].tuning.lambda_identity == 0


def test_folders_of_people_and_looks_are_paired(tmp_path: Path) -> None:
    for name in ("people/ann", "people/bob", "looks/noir"):
        (tmp_path / name).mkdir(parents=True)
    cases = method.cases_of(tmp_path / "out", str(tmp_path / "people"), str(tmp_path / "looks"), "test", quick=False)
    assert [(case.person, case.look) for case in cases] == [("ann", "noir"), ("bob", "noir")] and len({case.folder for case in cases}) == 2
    with pytest.raises(SystemExit, match="two folders that hold a folder for each person and look"):
        method.cases_of(tmp_path / "out", str(tmp_path / "people/ann"), str(tmp_path / "looks"), "test", quick=False)


@pytest.mark.parametrize(("people", "looks"), [("10", "looks"), ("people", "3"), ("nowhere", "looks")])
def test_a_number_and_a_folder_or_none_are_refused_in_words(
    people: str, looks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("people/ann", "looks/noir"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(SystemExit, match="expected two numbers, or two folders"):
        method.cases_of(tmp_path / "out", people, looks, "test", quick=False)


def test_memory_is_told_by_the_process_that_trained_alone(tmp_path: Path) -> None:
    with writing(tmp_path / "adapter", "adapter/1") as draft:
        draft.content = {"train_seconds": 9.0, "step_seconds": 2.5, "last_step": 7}
    assert method._cost(tmp_path / "adapter", trained_here=False) == {"seconds": 2.5, "steps": 7, "megabytes": None}
    assert method._cost(tmp_path / "adapter", trained_here=True)["megabytes"] > 10
    waited = [method._cost(tmp_path / "adapter", trained_here=True, ran=ran)["seconds"] for ran in (0.5, 1.02)]
    assert waited == [1.25, 2.5]  # half of its time it waited for a core; more than one core is one
    rows = [_row("ann", "magicapture", [0.2]), _row("ann", "dreambooth", [0.2]), _row("bob", "dreambooth", [0.2])]
    rows[0]["cost"]["megabytes"] = rows[1]["cost"]["megabytes"] = None
    rows[1]["cost"]["seconds"] = 30
    summary = summarise(rows)
    assert "megabytes" not in summary["magicapture"] and summary["dreambooth"]["megabytes"] == 900
    assert summary["magicapture"]["pace"] == 1 and summary["dreambooth"]["pace"] == 1.5  # bob's has no row to be a multiple of
    assert summary["magicapture"]["seconds"] == 2 and summary["dreambooth"]["seconds"] == 2.5
    rows[1]["machine"] = "another"
    summary = summarise(rows)
    assert "pace" not in summary["dreambooth"] and summary["dreambooth"]["seconds"] == 2  # ann's is of a machine that made fewer rows
    assert "| MagiCapture |" in table(["magicapture", "dreambooth"], summary)


def _columns(csim: list[float | None], **more: list[float | None]) -> dict:
    n = len(csim)
    plain = {"seed": list(range(n)), "csim": csim, "likeness": csim, "style": [0.5] * n, "aesthetic": [5.0] * n}
    return (
        plain
        | {
            "photo_face": csim,
            "look_face": [None if value is None else 0.0 for value in csim],
            "photo_place": [0.1] * n,
            "look_place": [0.8] * n,
        }
        | more
    )


def _row(person: str, name: str, csim: list[float | None], **more: list[float | None]) -> dict:
    row = {"case": f"look-0/{person}", "person": person, "look": "noir", "method": name, "config": "c", "code": "k", "machine": "m"}
    row["levels"] = None
    cost = {"seconds": 20, "steps": 10, "megabytes": 900}
    return row | {"sets": {"portrait": _columns(csim, **more)}, "stray": {"[V1]": [0.1], "[V2]": [0.3]}, "cost": cost}


def test_a_portrait_without_a_face_counts_nothing_and_intervals_are_over_people() -> None:
    rows = [_row("ann", "magicapture", [0.2, None]), _row("bob", "magicapture", [0.4, 0.6]), _row("ann", "dreambooth", [0.1, 0.1])]
    rows[0]["sets"]["processed"] = _columns([0.3, None])
    rows[0]["sets"]["base"] = _columns([0.0])
    rows[0]["sets"]["real"] = _columns([0.9])
    summary = summarise(rows)
    found = summary["magicapture"]
    assert found["csim"]["mean"] == pytest.approx(0.3) and found["csim"]["n"] == 4 and found["csim"]["low"] == pytest.approx(0.1)
    assert found["no face"]["mean"] == 0.25 and found["stray"]["mean"] == pytest.approx(0.2)
    assert summary["dreambooth"]["csim"]["low"] is None
    assert set(summary) == {"magicapture", "dreambooth", PROCESSED, "base", "real"}
    lines = table(["magicapture", "dreambooth"], summary).splitlines()
    assert lines[2].startswith("| MagiCapture | 0.30 (0.10, 0.50) |") and lines[2].endswith("| 0.566 | 0.73 | 6.218 |")
    assert lines[3].startswith("| DreamBooth | 0.10 |") and len({line.count("|") for line in lines}) == 1
    assert [line.split(" |")[0] for line in lines[4:]] == [
        "| MagiCapture, post-processed", "| real: the person in the look, rendered", "| untuned"
    ]  # fmt: skip


def test_likeness_that_no_levels_allow_is_left_out_and_a_lost_face_is_not() -> None:
    row = _row("ann", "magicapture", [0.5, None], likeness=[None, None])
    assert summarise([row])["magicapture"]["likeness"] is None
    row = _row("ann", "magicapture", [0.5, None], likeness=[0.6, None])
    assert summarise([row])["magicapture"]["likeness"] == {"mean": 0.3, "low": None, "high": None, "n": 2}


def test_ratios_are_of_sums_and_have_intervals_over_people() -> None:
    told = [("ann", 3.0, 1.0), ("ann", 1.0, 1.0), ("bob", 2.0, 4.0)]
    found = ratio(told)
    assert found["mean"] == 1.0 and (found["low"], found["high"]) == (0.5, 2.0) and found["n"] == 3
    assert ratio(told[:2]) == {"mean": 2.0, "low": None, "high": None, "n": 2}
    assert ratio([("ann", 1.0, 2.0), ("bob", 1.0, -1.0)])["mean"] is None and ratio([("ann", 1.0, -1.0)])["mean"] is None


def test_rows_of_several_versions_of_the_code_are_told() -> None:
    rows = [_row("ann", "magicapture", [0.2]), _row("bob", "magicapture", [0.2])]
    assert made_by(rows) == "Made by code k, on m."
    rows[1] |= {"code": "l", "machine": "n"}
    assert made_by(rows) == "Made by 2 versions of the code, which are not to be compared, on m and n; seconds a step are of m alone."


def test_differences_are_of_equal_seeds_and_of_equal_pairs() -> None:
    rows = [_row("ann", "magicapture", [0.2, 0.4]), _row("bob", "magicapture", [0.9, 0.7]), _row("ann", "dreambooth", [0.1, 0.3])]
    rows[0]["sets"]["processed"] = _columns([0.25, 0.4])
    rows[1]["sets"]["processed"] = _columns([0.8, None])
    rows.append(_row("ann", "no-refocusing", [0.1, 0.1]) | {"stray": {"[V1]": [0.5], "[V2]": [0.3]}})
    found = answers(rows)
    assert found["dreambooth"]["likeness times"]["mean"] == pytest.approx(1.5) == found["dreambooth"]["csim times"]["mean"]
    assert found["stray"]["[V1]"]["mean"] == pytest.approx(5) and found["stray"]["[V2]"]["mean"] == pytest.approx(1)
    assert found["dreambooth"]["face taken"]["mean"] == 0 and found[PROCESSED]["likeness"]["n"] == 4
    change = found[PROCESSED]["csim"]
    assert (change["mean"], change["n"]) == (pytest.approx((0.05 + 0.0 - 0.1 - 0.7) / 4), 4)
    assert change["low"] == pytest.approx(-0.4) and change["high"] == pytest.approx(0.025)
    less = found["dreambooth"]["likeness"]
    assert (less["mean"], less["n"]) == (pytest.approx(0.1), 1)  # bob has no DreamBooth
    lines = differences(found).splitlines()
    assert next(line for line in lines if line.startswith("| DreamBooth")).startswith(
        "| DreamBooth | 0.100 | 1.500 | 0.100 | 1.500 | 0.000 |"
    )
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert lines[-1] == "Without Attention Refocusing more attention strays: 5.0 times for [V1], 1.0 times for [V2]."


def test_a_copy_is_a_face_of_the_look_or_a_place_of_a_photo() -> None:
    columns = {
        "photo_face": [0.5, 0.2, 0.3, None],
        "look_face": [0.6, 0.3, 0.2, None],
        "photo_place": [0.9, 0.1, 0.4, 0.9],
        "look_place": [0.8, 0.8, 0.8, 0.8],
    }
    found = collapsed(columns, {"genuine": 0.8, "stranger": 0.2})
    assert found == {"face taken": [1, 0, 0, 0], "place taken": [1, 0, 0, 1]}  # the second face is nobody's: as near as strangers are
    assert collapsed(columns, None)["face taken"] == [1, 1, 0, 0]


def test_tiles_are_kept_small_and_the_first_is_cut_out_again(tmp_path: Path) -> None:
    images = [np.full((64, 64, 3), 15 * i, np.uint8) for i in range(1, 17)]
    (tmp_path / "a.jpg").write_bytes(tiles(images))
    sheet = np.array(Image.open(tmp_path / "a.jpg"))
    assert sheet.shape == (128, 512, 3) and abs(int(sheet[96, 480].mean()) - 240) < 4
    found = method_sheet._tiles(tmp_path / "a.jpg")
    assert len(found) == 8 and found[1].shape == (64, 64, 3) and abs(found[1].mean() - 30) < 2
    assert Image.open(BytesIO(tiles([np.zeros((512, 512, 3), np.uint8)]))).size == (1024, 128)


@pytest.mark.timeout(900)
def test_a_quick_table_is_made_and_not_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doc = tmp_path / "docs/method.md"
    arguments = [str(tmp_path / "out"), "--quick", "--methods", "magicapture", "no-composed", "custom-diffusion", "--doc", str(doc)]
    assert method.main(arguments) == 0
    said = capsys.readouterr().out
    kept = (tmp_path / "docs/method/results.jsonl").read_text()
    rows = [json.loads(line) for line in kept.splitlines()[1:]]
    assert sorted(row["method"] for row in rows) == ["custom-diffusion", "magicapture", "no-composed"]
    assert {row["case"] for row in rows} == {"look-0/person-0"}
    for row in rows:
        portrait = row["sets"]["portrait"]
        assert portrait["seed"] == [1000, 1001] and all(0 <= value <= 1 for own in row["stray"].values() for value in own)
        assert all(-1 <= value <= 1 for name in ("photo_place", "look_place", "style_around") for value in portrait[name])
        assert row["seed"] == rows[0]["seed"] != 0
        assert row["cost"]["megabytes"] > 100 and row["cost"]["seconds"] > 0 and row["adapter"]["best_step"] <= 6 and row["code"]
        more = {"attributes", "base", "processed", "real"} if row["method"] == "magicapture" else set()
        assert set(row["sets"]) == {"portrait"} | more
    (row,) = (row for row in rows if row["method"] == "magicapture")
    assert row["sets"]["processed"]["seed"] == [1000, 1001] and row["levels"]["genuine"] > row["levels"]["stranger"]
    real = summarise(rows)["real"]
    assert real["likeness"]["mean"] == pytest.approx(1, abs=0.35) and real["face taken"]["mean"] == real["place taken"]["mean"] == 0
    text = doc.read_text()
    assert "1 of 1 pairs: 1 people, 1 looks." in text and "\n| Custom Diffusion | " in text.split("| MagiCapture less |")[1]
    assert "![portraits of equal seeds](method/portraits.jpg)" in text and "![attention maps](method/attention.jpg)" in text
    assert Image.open(tmp_path / "docs/method/attention.jpg").size[0] > 3 * 128
    assert "| Custom Diffusion |" in text and "| Custom Diffusion |" in said and (tmp_path / "docs/method/portraits.jpg").is_file()
    case = tmp_path / "out/look-0/person-0"
    assert len(list(case.glob("tokens-*"))) == 2  # the ablation's first phase is the method's own
    # Another machine: the rows come with the document, nothing is trained, the table is the same.
    shutil.move(tmp_path / "out", tmp_path / "old")
    assert method.main([str(tmp_path / "out"), *arguments[1:]]) == 0
    assert not list((tmp_path / "out").glob("look-*")) and doc.read_text() == text
    assert (tmp_path / "docs/method/results.jsonl").read_text() == kept
    with pytest.raises(SystemExit, match="results of other options"):
        method.main([str(tmp_path / "other"), *arguments[1:], "--set", "tuning.lambda_identity=0.1"])


@pytest.mark.timeout(900)
def test_real_pictures_in_folders_and_one_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ann's are there, Bob's cannot be read, which stops nobody else."""
    write_samples(tmp_path / "data", count=2, size=128)
    shutil.copytree(tmp_path / "data/person", tmp_path / "people/ann")
    shutil.copytree(tmp_path / "data/look", tmp_path / "styles/noir")
    (tmp_path / "people/bob").mkdir()
    (tmp_path / "people/bob/0.png").write_text("no picture")
    folders = ["--people", str(tmp_path / "people"), "--looks", str(tmp_path / "styles")]
    assert method.main([str(tmp_path / "real"), "--quick", "--jobs", "2", "--methods", "magicapture", *folders]) == 1
    said = capsys.readouterr()
    assert "noir/bob" in said.err and "1 of 2 pairs: 1 people, 1 looks." in said.out
    (row,) = (json.loads(line) for line in (tmp_path / "real/results.jsonl").read_text().splitlines()[1:])
    assert row["person"] == "ann" and row["levels"] is None and set(row["sets"]) == {"portrait", "attributes", "base", "processed"}
