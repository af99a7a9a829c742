"""Choosing the best candidate and the champion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from magicapture.artifacts import ArtifactError
from magicapture.config import Promotion
from magicapture.registry.gate import Scores, best_of, read_scores, verdict
from tests.registry.artifacts import make_candidate

GOOD = Scores("p1", 0.8, 0.5, 0.4, 8)


def scores(**changes: object) -> Scores:
    return Scores(**{**GOOD.__dict__, **changes})


@pytest.mark.parametrize(
    ("candidate", "champion", "knobs", "crowned", "said"),
    [
        (GOOD, None, {}, True, "first champion"),
        (scores(faces=0), None, {}, False, "no face"),
        (GOOD, None, {"min_identity": 0.6}, False, "promotion.min_identity"),
        (GOOD, scores(selection=0.7), {}, True, "gain +0.1000"),
        (GOOD, scores(selection=0.7), {"min_gain": 0.2}, False, "does not exceed"),
        (GOOD, GOOD, {}, False, "gain +0.0000 does not exceed"),
        (GOOD, scores(selection=0.9), {}, False, "gain -0.1000"),
        (GOOD, scores(protocol="p0", selection=0.9), {}, True, "p1 differs from the champion's p0"),
        (scores(lead=-0.1), scores(protocol="p0", selection=0.1), {}, False, "lead over the untuned base -0.1000"),
        (scores(lead=None), scores(protocol="p0"), {}, False, "baseline_images"),
    ],
)
def test_verdict(candidate: Scores, champion: Scores | None, knobs: dict, crowned: bool, said: str) -> None:
    decision, reason = verdict(candidate, champion, Promotion(**knobs))
    assert decision is crowned
    assert said in reason


def test_best_is_the_judges_choice_whatever_the_referee_says(tmp_path: Path) -> None:
    folders = [make_candidate(tmp_path, seed, selection=value) for seed, value in enumerate((0.5, 0.9, 0.7))]
    file = folders[0]["evaluation"] / "scores.json"
    data = json.loads(file.read_text())
    data["sets"]["portrait"]["referee"] = {"mean": 0.99}
    file.write_text(json.dumps(data))
    assert best_of([read_scores(entry["evaluation"]) for entry in folders]) == 1


def test_scores_survive_tags_exactly() -> None:
    odd = scores(selection=0.1 + 0.2, lead=None)
    assert Scores.from_tags(odd.tags()) == odd
    assert Scores.from_tags(GOOD.tags()) == GOOD


def test_read_scores(tmp_path: Path) -> None:
    assert read_scores(make_candidate(tmp_path)["evaluation"]) == Scores("p1", 0.8, 0.5, 0.5, 2)
    faceless = read_scores(make_candidate(tmp_path / "b", faces=0)["evaluation"])
    assert faceless == Scores("p1", 0.0, 0.0, None, 0)


def test_unlike_protocols_are_refused() -> None:
    with pytest.raises(ArtifactError, match="different protocols \\(p0, p1\\)"):
        best_of([GOOD, scores(protocol="p0")])
