from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from magicapture import stages
from magicapture.artifacts import ArtifactError, read_manifest
from magicapture.config import load_config
from magicapture.evaluation import gallery
from magicapture.packs import Pack, PackError
from tests.evaluation import artifacts

PEOPLE: dict[str, list[int | None]] = {"portrait": [1, 0, None, 0], "base": [1, 2], "attributes": [0, 2]}


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifacts.marker_portraits(tmp_path_factory.mktemp("stage") / "portraits", PEOPLE)


@pytest.fixture(scope="module")
def evaluated(portraits: Path, marker_set: Path, pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stages.evaluate(portraits, marker_set, tmp_path_factory.mktemp("out") / "evaluation", artifacts.config(pack))


def test_what_it_writes(evaluated: Path, portraits: Path) -> None:
    manifest = read_manifest(evaluated, "evaluation", verify=True)
    assert manifest["schema"] == "evaluation/1" and manifest["lineage"]
    scores = json.loads((evaluated / "scores.json").read_text())
    assert len(scores["items"]) == 8
    for item in scores["items"]:
        assert (evaluated / item["file"]).read_bytes() == (portraits / item["file"]).read_bytes()
    assert (evaluated / "report.html").stat().st_size > 20_000


def test_ranking_and_summary(evaluated: Path) -> None:
    scores = json.loads((evaluated / "scores.json").read_text())
    own = [item for item in scores["items"] if item["kind"] == "portrait"]
    assert [item["rank"] for item in own] == [1, 2, 3, 4]
    assert {own[0]["file"], own[1]["file"]} == {"images/0001.png", "images/0003.png"}  # who is the person comes first
    assert own[3]["file"] == "images/0002.png" and not own[3]["face"]  # nobody comes last
    assert scores["sets"]["portrait"]["faces"] == 3
    assert scores["sets"]["portrait"]["identity"]["mean"] > scores["sets"]["base"]["identity"]["mean"]


def test_what_the_gate_compares(evaluated: Path) -> None:
    content = read_manifest(evaluated, "evaluation")["content"]
    scores = json.loads((evaluated / "scores.json").read_text())
    best, second = scores["items"][:2]
    assert content["best"] == best["file"]
    assert content["protocol"] == scores["protocol"]
    assert content["identity"] == pytest.approx((best["identity"] + second["identity"]) / 2, abs=1e-4)
    assert content["selection"] == pytest.approx((best["selection"] + second["selection"]) / 2, abs=1e-4)
    assert content["adapter"] == {"best_hash": "abc", "seed": 3}
    assert content["sets"] == scores["sets"]


def test_protocols_of_two_candidates(evaluated: Path, marker_set: Path, pack: Pack, tmp_path: Path) -> None:
    first = read_manifest(evaluated, "evaluation")["content"]["protocol"]

    def protocol(name: str, people: dict[str, list[int | None]], schema: str = "portraits/1") -> str:
        pictures = artifacts.marker_portraits(tmp_path / name, people, schema=schema)
        out = stages.evaluate(pictures, marker_set, tmp_path / f"{name}-out", artifacts.config(pack))
        return str(read_manifest(out, "evaluation")["content"]["protocol"])

    assert protocol("another", {"portrait": [2, 2, 2, 2]}) == first
    assert protocol("fewer", {"portrait": [0]}) != first
    assert protocol("raw", {"portrait": [1, 0, None, 0]}, "images/1") != first  # not post-processed


def test_the_network_trained_against_neither_judges_nor_reports_unless_allowed(marker_set: Path, pack: Pack, tmp_path: Path) -> None:
    def evaluate(name: str, onnx: str | None, **knobs: bool) -> Path:
        trained = {"role": "arcface", "weights": "0" * 64, "onnx": onnx}
        pictures = artifacts.marker_portraits(tmp_path / f"{name}-in", {"portrait": [0, 1]}, adapter={"recogniser": trained})
        return stages.evaluate(pictures, marker_set, tmp_path / name, artifacts.config(pack, evaluation=knobs))

    with pytest.raises(PackError, match=r"judge and referee \(judge/judge.onnx, referee/referee.onnx\) and the network trained against"):
        evaluate("refused", pack.sha256("judge"))  # the marker pack's are one file
    assert not (tmp_path / "refused").exists()
    other = evaluate("other", pack.sha256("recogniser"))
    allowed = evaluate("allowed", pack.sha256("judge"), allow_trained_network=True)
    scores, said = (json.loads((folder / "scores.json").read_text()) for folder in (other, allowed))
    assert (scores["trained_against"], said["trained_against"]) == ([], ["judge", "referee"])
    assert scores["protocol"] != said["protocol"]  # the gate may not compare them
    assert "Not independent" not in (other / "report.html").read_text()
    assert "Not independent" in (allowed / "report.html").read_text()
    pages = [" ".join((folder / "report.html").read_text().split()) for folder in (other, allowed)]
    assert ["a judge the training never saw" in page for page in pages] == [True, False]
    assert ["the very network that training pleased" in page for page in pages] == [False, True]


def test_no_face_anywhere_still_reports(marker_set: Path, pack: Pack, tmp_path: Path) -> None:
    pictures = artifacts.marker_portraits(tmp_path / "empty", {"portrait": [None, None]})
    out = stages.evaluate(pictures, marker_set, tmp_path / "out", artifacts.config(pack))
    content = read_manifest(out, "evaluation")["content"]
    assert content["selection"] is None and content["identity"] is None
    page = (out / "report.html").read_text()
    assert "no face found" in page and "no more alike than strangers" not in page


def test_an_altered_or_lost_input_is_named(marker_set: Path, portraits: Path, pack: Pack, tmp_path: Path) -> None:
    config = artifacts.config(pack)
    for folder, name in ((marker_set, "source/0.png"), (portraits, "images/0000.png")):
        copy = tmp_path / name.partition("/")[0]
        shutil.copytree(folder, copy)
        (copy / name).write_bytes((folder / name).read_bytes() + b" ")
        inputs = (portraits, copy) if folder == marker_set else (copy, marker_set)
        with pytest.raises(ArtifactError, match=f"{name} differs"):
            stages.evaluate(*inputs, tmp_path / "out", config)
        (copy / name).unlink()
        with pytest.raises(ArtifactError, match=name):
            stages.evaluate(*inputs, tmp_path / "out", config)


def test_wrong_folders_are_named(marker_set: Path, portraits: Path, pack: Pack, tmp_path: Path) -> None:
    config = artifacts.config(pack)
    with pytest.raises(ArtifactError, match="expected a 'portraits' artifact"):
        stages.evaluate(tmp_path / "nothing", marker_set, tmp_path / "out", config)
    with pytest.raises(ArtifactError, match="holds 'prepared/1'"):
        stages.evaluate(marker_set, marker_set, tmp_path / "out", config)
    baseline = artifacts.marker_portraits(tmp_path / "baseline", {"base": [0]})
    with pytest.raises(ArtifactError, match="no picture of kind 'portrait'"):
        stages.evaluate(baseline, marker_set, tmp_path / "out", config)
    broken = artifacts.marker_portraits(tmp_path / "broken", {"portrait": [0, 1]})
    (broken / "images/0001.png").unlink()
    with pytest.raises(ArtifactError, match=r"images/0001\.png is named in"):
        stages.evaluate(broken, marker_set, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["file", "before"])
def test_a_strangers_manifest_writes_and_reads_nothing_outside(key: str, marker_set: Path, pack: Pack, tmp_path: Path) -> None:
    pictures = artifacts.marker_portraits(tmp_path / "in" / "pictures", {"portrait": [0, 1]})
    (tmp_path / "in" / "anna.png").write_bytes((pictures / "images" / "0001.png").read_bytes())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "anna.png").write_text("mine")
    manifest = json.loads((pictures / "manifest.json").read_text())
    manifest["content"]["items"][1][key] = "../anna.png"
    (pictures / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"names '\.\./anna\.png', which is not in the folder"):
        stages.evaluate(pictures, marker_set, tmp_path / "out" / "evaluation", artifacts.config(pack))
    assert (tmp_path / "out" / "anna.png").read_text() == "mine"


def test_what_is_not_known_of_the_pictures_is_not_claimed(portraits: Path, marker_set: Path, pack: Pack, tmp_path: Path) -> None:
    """Portraits that an older version or the pipeline made do not say how they were trained; the report does not either."""
    config = load_config({"pack": str(pack.folder), "evaluation": {"weight_style": 2.0}}, partial=True)
    out = stages.evaluate(portraits, marker_set, tmp_path / "evaluation", config)
    kept = read_manifest(out, "evaluation")["config"]
    assert set(kept) == {"pack", "postprocessing", "evaluation"} and kept["evaluation"] == {"weight_style": 2.0}
    assert kept["postprocessing"] == read_manifest(portraits, "portraits")["config"]["postprocessing"]
    assert "weight_style: 2.0" in (page := (out / "report.html").read_text()) and "lambda_identity" not in page
    assert gallery.compare([out])["runs"][0]["subject"] == ""


def test_neither_network_of_a_merged_adapter_may_judge(marker_set: Path, pack: Pack, tmp_path: Path) -> None:
    networks = [{"role": role, "weights": "0", "onnx": None} for role in ("arcface", "judge")]
    known = {"recogniser": networks[0], "recognisers": networks}
    portraits = artifacts.marker_portraits(tmp_path / "portraits", {"portrait": [0]}, adapter=known)
    with pytest.raises(PackError, match="judge .* are one"):
        stages.evaluate(portraits, marker_set, tmp_path / "evaluation", artifacts.config(pack))
