from __future__ import annotations

from typing import Any

import pytest

from magicapture.config import Evaluation
from magicapture.evaluation import ranking

WEIGHTS = Evaluation(weight_identity=1, weight_style=0.5, weight_aesthetic=0.1)


def _row(
    file: str, identity: float | None, style: float, *, kind: str = "portrait", referee: float = 0.0, aesthetic: float = 5.0
) -> dict[str, Any]:
    known = identity is not None
    return {
        "file": file, "kind": kind, "prompt": "a", "seed": 1, "face": known, "identity": identity, "referee": referee if known else None,
        "likeness": None, "style": style, "aesthetic": aesthetic,
    }  # fmt: skip


def test_rank_by_the_weighted_sum_and_pictures_without_a_face_last() -> None:
    rows = [_row("none", None, 0.9), _row("low", 0.1, 0.2), _row("high", 0.5, 0.1), _row("style", 0.1, 0.9), _row("none2", None, 0.95)]
    ranked = ranking.rank(rows, WEIGHTS)
    assert [(row["file"], row["rank"]) for row in ranked] == [("high", 1), ("style", 2), ("low", 3), ("none2", 4), ("none", 5)]
    assert ranked[0]["selection"] == pytest.approx(0.5 + 0.05 + 0.5)
    assert ranked[-1]["selection"] is None


def test_of_two_that_are_else_equal_the_more_aesthetic_is_first() -> None:
    first, second = ranking.rank([_row("plain", 0.3, 0.5, aesthetic=4.0), _row("fine", 0.3, 0.5, aesthetic=6.0)], WEIGHTS)
    assert (first["file"], second["file"]) == ("fine", "plain")
    assert first["selection"] - second["selection"] == pytest.approx(0.1 * (6.0 - 4.0))


def test_the_referee_selects_nothing() -> None:
    rows = [_row("a", 0.3, 0.5, referee=0.9), _row("b", 0.4, 0.5, referee=-0.9)]
    assert [row["file"] for row in ranking.rank(rows, WEIGHTS)] == ["b", "a"]


def test_kinds_are_ranked_apart_portraits_first() -> None:
    rows = [_row("base", 0.9, 0.9, kind="base"), _row("p", 0.1, 0.1), _row("words", 0.5, 0.5, kind="attributes")]
    assert [(row["file"], row["rank"]) for row in ranking.rank(rows, WEIGHTS)] == [("p", 1), ("words", 1), ("base", 1)]


def test_summaries_leave_out_pictures_without_a_face_but_count_them() -> None:
    rows = ranking.rank([_row("a", 0.2, 0.4), _row("b", 0.6, 0.6), _row("c", None, 0.8)], WEIGHTS)
    summary = ranking.summaries(rows)["portrait"]
    assert summary["pictures"] == 3 and summary["faces"] == 2
    assert summary["identity"]["mean"] == pytest.approx(0.4) and summary["identity"]["n"] == 2
    assert summary["identity"]["low"] == pytest.approx(0.2) and summary["identity"]["high"] == pytest.approx(0.6)
    assert summary["style"]["mean"] == pytest.approx(0.6) and summary["style"]["n"] == 3
    assert summary["likeness"] is None


def test_better_half_counts_a_lost_face_as_nothing() -> None:
    faces = ranking.rank([_row("a", 0.6, 0.5), _row("b", 0.4, 0.5), _row("c", 0.2, 0.5)], WEIGHTS)
    assert ranking.better_half(faces)["identity"] == pytest.approx(0.5)
    lost = ranking.rank([_row("a", 0.6, 0.5), _row("b", None, 0.5), _row("c", None, 0.5)], WEIGHTS)
    assert ranking.better_half(lost)["identity"] == pytest.approx(0.3)
    none = ranking.rank([_row("a", None, 0.5)], WEIGHTS)
    assert ranking.better_half(none) == {"selection": None, "identity": None}


def test_choose_keeps_the_best_of_each_prompt_with_as_many_faces_as_people() -> None:
    def row(file: str, identity: float | None, faces: int | None, prompt: str = "a", tokens: tuple[str, ...] = ()) -> dict[str, Any]:
        return {**_row(file, identity, 0.5), "face_count": faces, "prompt": prompt, "tokens": list(tokens)}

    rows = [row("low", 0.1, 1), row("crowd", 0.9, 3), row("high", 0.5, 1), row("none", None, 0), row("middle", 0.3, 1)]
    couple = ("[V1:ann]", "[V1:ben]", "[V2]")
    rows += [row("one", None, 1, "b", couple), row("two", 0.2, 2, "b", couple), {**row("base", 0.9, 1), "kind": "base"}]
    chosen = {each["file"]: each for each in ranking.choose(ranking.rank(rows, WEIGHTS), 2)}
    assert {file for file, each in chosen.items() if each["kept"]} == {"high", "middle", "two"}
    assert set(chosen) == {"low", "crowd", "high", "none", "middle", "one", "two"}  # nothing is lost
    assert chosen["low"]["reason"] == "4 of 5 by rank, 2 are kept"
    assert chosen["crowd"]["reason"] == "3 faces found, expected 1" and chosen["none"]["reason"] == "no faces found, expected 1"
    assert chosen["one"]["reason"] == "1 face found, expected 2"


def test_of_objects_all_can_be_kept() -> None:
    rows = [{**_row(file, None, style), "face": None, "face_count": None} for file, style in (("a", 0.2), ("b", 0.6))]
    assert [(each["file"], each["kept"]) for each in ranking.choose(ranking.rank(rows, WEIGHTS), 1)] == [("b", True), ("a", False)]


def test_protocol_holds_what_must_be_equal_and_nothing_else() -> None:
    rows = [_row("a", 0.1, 0.2), _row("b", 0.3, 0.2)]
    given: dict[str, Any] = {
        "pack_digest": "p",
        "pictures": ["x", "y"],
        "preprocess": {"min_face": 0.3},
        "weights": WEIGHTS,
        "scorer": "1",
        "postprocessing": {"fidelity": 0.5},
    }
    first = ranking.protocol(rows, **given)
    same = [dict(row, identity=0.9, file="other", steps=50) for row in reversed(rows)] + [_row("base", 0.1, 0.1, kind="base")]
    assert ranking.protocol(same, **{**given, "pictures": ["y", "x"]}) == first
    changed: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([dict(rows[0], seed=2), rows[1]], given),
        ([dict(rows[0], prompt="b"), rows[1]], given),
        (rows[:1], given),
        (rows, {**given, "pack_digest": "q"}),
        (rows, {**given, "pictures": ["x"]}),
        (rows, {**given, "preprocess": {"min_face": 0.5}}),
        (rows, {**given, "weights": Evaluation()}),
        (rows, {**given, "scorer": "2"}),
        (rows, {**given, "postprocessing": None}),
    ]
    assert len({first, *(ranking.protocol(other, **arguments) for other, arguments in changed)}) == 10
