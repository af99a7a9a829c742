"""Several subjects: every picture is measured against its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from magicapture import stages
from magicapture.artifacts import read_manifest
from magicapture.evaluation.measure import Measurer
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack
from tests.evaluation import artifacts
from tests.faces import tinypack

ANN, BOB = ["[V1:ann]"], ["[V1:bob]"]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifacts.several_prepared(tmp_path_factory.mktemp("several") / "prepared")


@pytest.fixture(scope="module")
def evaluated(several: Path, pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four portraits, of which the third shows the wrong person, and nobody else's."""
    folder = tmp_path_factory.mktemp("evaluated")
    portraits = artifacts.marker_portraits(folder / "portraits", {"portrait": [0, 0, 0, 1]}, tokens={"portrait": [ANN, ANN, BOB, BOB]})
    return stages.evaluate(portraits, several, folder / "evaluation", artifacts.config(pack))


def test_the_same_picture_is_one_subject_and_not_the_other(several: Path, pack: Pack) -> None:
    measurer = Measurer(pack, PreparedSet.load(several))
    picture = tinypack.draw(128, 128, [(64, 64, 56, 0)], 9)
    own, other, both, unnamed = measurer.measure([picture] * 4, [ANN, BOB, [*ANN, *BOB], []])
    assert own.identity is not None and other.identity is not None and unnamed.identity is not None and own.head is not None
    assert own.identity > 0.8 and other.identity < 0.2
    assert unnamed.identity == pytest.approx((own.identity + other.identity) / 2, abs=1e-5)
    assert both.face is False and both.identity is None  # one of the two is missing
    assert other.head is not None and own.head > other.head and own.style == other.style
    alone = measurer.prepared.of(ANN)
    (same,) = Measurer(pack, alone).measure([picture])
    assert (same.identity, same.referee, same.likeness) == pytest.approx((own.identity, own.referee, own.likeness), abs=1e-5)


def test_of_a_couple_each_face_counts_as_whom_it_is_most_like(several: Path, pack: Pack) -> None:
    measurer, couple = Measurer(pack, PreparedSet.load(several)), [*ANN, *BOB]
    faces = [(64, 64, 56, 0), (192, 64, 52, 1)]
    together, swapped, twice = measurer.measure(
        [
            tinypack.draw(128, 256, faces, 9),
            tinypack.draw(128, 256, [(64, 64, 56, 1), (192, 64, 52, 0)], 9),
            tinypack.draw(128, 256, [(64, 64, 56, 0), (192, 64, 52, 0)], 9),
        ],
        [couple] * 3,
    )
    assert together.identity is not None and swapped.identity is not None and twice.identity is not None
    assert together.identity > 0.8 and swapped.identity > 0.8  # whoever stands left
    assert twice.identity < 0.7  # ann beside herself is half of them
    assert together.head is None and together.likeness is not None
    _, masks, _ = measurer.find([tinypack.draw(128, 256, faces, 9)], 2)
    assert masks[0][:, :128].any() and masks[0][:, 128:].any()  # the style hides both


def test_levels_are_a_subjects_own_and_never_between_two(several: Path, pack: Pack) -> None:
    measurer = Measurer(pack, PreparedSet.load(several))
    own = [measurer.levels_of(measurer.prepared.of(tokens)).genuine for tokens in (ANN, BOB)]
    assert measurer.levels.genuine == pytest.approx(sum(level for level in own if level is not None) / 2)
    assert measurer.levels.genuine is not None and measurer.levels.genuine > 0.9


def test_summaries_of_each_pair_and_a_selection_that_no_subject_is_left_out_of(evaluated: Path) -> None:
    scores = json.loads((evaluated / "scores.json").read_text())
    assert [pair["tokens"] for pair in scores["pairs"]] == [ANN, BOB]
    means = [pair["sets"]["portrait"]["identity"]["mean"] for pair in scores["pairs"]]
    assert means[0] > 0.8 and 0.3 < means[1] < 0.7
    assert scores["sets"]["portrait"]["identity"]["mean"] == pytest.approx(sum(means) / 2, abs=1e-4)
    best = [max(i["identity"] for i in scores["items"] if i["tokens"] == tokens) for tokens in (ANN, BOB)]
    content = read_manifest(evaluated, "evaluation")["content"]
    assert content["identity"] == pytest.approx(sum(best) / 2, abs=0.02)  # the better one of each, not the two of ann


def test_the_report_says_whose_every_portrait_is(evaluated: Path) -> None:
    page = (evaluated / "report.html").read_text()
    assert "4 photos of 2 people and 1 image of one look" in page and "The people" in page and "The look" in page
    assert page.count("<b>[V1:ann]</b>") == 2 and page.count("<b>[V1:bob]</b>") == 2
    assert "Each subject in each look" in page and "bob “a person with a beard”" in page
