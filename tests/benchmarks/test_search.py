"""One training against a search: pairs of pictures, clusters of people, ratios of cost."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import search


def _person(seed: int, one: list[float | None], searched: list[float | None], cost: float) -> dict[str, Any]:
    def way(values: list[float | None], factor: float, winner: str) -> dict[str, Any]:
        return {"winner": winner, "cost": {"steps": 100 * factor, "cpu_seconds": 40 * factor}, **dict.fromkeys(search.MEASURES, values)}

    return {"person": seed, "ways": {"one": way(one, 1, "seed-0"), "searched": way(searched, cost, f"seed-{seed % 2}")}}


def test_differences_are_of_the_same_picture_and_intervals_over_people() -> None:
    people = [_person(1, [0.2, 0.4, 0.9], [0.4, 0.6, None], 1.5), _person(2, [0.6, None], [0.6, 0.1], 1.9)]
    summary = search.summarise(people)
    likeness = summary["likeness"]
    assert likeness["one"]["mean"] == pytest.approx(0.4) and likeness["searched"]["mean"] == pytest.approx(1.6 / 3)
    assert likeness["difference"]["mean"] == pytest.approx(0.4 / 3) and likeness["difference"]["n"] == 3
    assert likeness["difference"]["low"] == pytest.approx(0) and likeness["difference"]["high"] == pytest.approx(0.2)  # two people
    assert likeness["gain"] == pytest.approx(1 / 3) and likeness["lost"] == 2
    assert summary["cost"]["steps"]["mean"] == pytest.approx(1.7) and summary["cost"]["cpu_seconds"]["greatest"] == pytest.approx(1.9)
    assert summary["same winner"] == 1


def test_nothing_to_compare_is_no_figure() -> None:
    assert search.summarise([_person(1, [None], [0.5], 1.5)])["likeness"] is None
