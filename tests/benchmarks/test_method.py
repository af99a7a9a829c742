"""The method's table: methods are settings, results add up, a finished pair is not trained again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import method
from benchmarks.method_sheet import table
from magicapture.artifacts import writing


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
        draft.content = {"train_seconds": 2.5, "last_step": 7}
    assert method._cost(tmp_path / "adapter", trained_here=False) == {"seconds": 2.5, "steps": 7, "megabytes": None}
    assert method._cost(tmp_path / "adapter", trained_here=True)["megabytes"] > 10
    waited = [method._cost(tmp_path / "adapter", trained_here=True, ran=ran)["seconds"] for ran in (0.5, 1.02)]
    assert waited == [1.25, 2.5]  # half of its time it waited for a core; more than one core is one
    rows = [_row("ann", "magicapture", [0.2]) | {"megabytes": None}, _row("ann", "dreambooth", [0.2]), _row("bob", "dreambooth", [0.2])]
    rows[1]["megabytes"] = None
    summary = method.summarise(rows)
    assert "megabytes" not in summary["magicapture"] and summary["dreambooth"]["megabytes"] == 900
    assert "| MagiCapture |" in table(["magicapture", "dreambooth"], summary)


def _row(person: str, name: str, csim: list[float | None], **more: list[float]) -> dict:
    portrait = {"csim": csim, "likeness": csim, "style": [0.5] * len(csim), "aesthetic": [5.0] * len(csim), **more}
    return {"person": person, "look": "noir", "method": name, "sets": {"portrait": portrait}, "seconds": 20, "steps": 10, "megabytes": 900}


def test_means_are_over_pictures_with_a_face_and_intervals_over_people() -> None:
    rows = [
        _row("ann", "magicapture", [0.2, None], collapsed=[0.0, 1.0], stray=[0.1]),
        _row("bob", "magicapture", [0.4, 0.6], collapsed=[0.0, 0.0], stray=[0.3]),
        _row("ann", "dreambooth", [0.1, 0.1]),
    ]
    rows[0]["sets"]["processed"] = {"csim": [0.3]}
    rows[0]["sets"]["base"] = {"csim": [0.0]}
    summary = method.summarise(rows)
    found = summary["magicapture"]
    assert found["csim"]["mean"] == pytest.approx(0.4) and found["csim"]["n"] == 3 and found["csim"]["low"] == pytest.approx(0.2)
    assert found["collapsed"]["mean"] == 0.25 and found["stray"]["mean"] == pytest.approx(0.2)
    assert found["seconds"] == 2 and found["megabytes"] == 900
    assert summary["dreambooth"]["csim"]["low"] is None and summary["dreambooth"]["stray"] is None
    assert set(summary) == {"magicapture", "dreambooth", method.PROCESSED, "base"}
    lines = table(["magicapture", "dreambooth"], summary).splitlines()
    assert lines[2].startswith("| MagiCapture | 0.40 (0.20, 0.50) |") and lines[2].endswith("| 0.566 | 0.73 | 6.218 |")
    assert lines[3].startswith("| DreamBooth | 0.10 |") and len({line.count("|") for line in lines}) == 1
    assert "| untuned | 0.00 |" in lines[-1] and len(lines) == 6


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
        assert len(portrait["style"]) == 2 and all(0 <= value <= 1 for value in portrait["stray"])
        assert row["megabytes"] > 100 and row["seconds"] > 0
        assert set(row["sets"]) == ({"portrait", "attributes", "base", "processed"} if row["method"] == "magicapture" else {"portrait"})
    text = doc.read_text()
    assert "1 of 1 pairs: 1 people, 1 looks." in text
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
