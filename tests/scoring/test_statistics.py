from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicapture.scoring.statistics import interval


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_interval_holds_the_mean_and_is_reproducible(values: list[float]) -> None:
    first = interval(values)
    assert first == interval(values)
    assert first.mean == pytest.approx(np.mean(values))
    assert first.n == len(values)
    if len(values) == 1:
        assert first.low is None and first.high is None
    else:
        assert first.low is not None and first.high is not None
        assert first.low - 1e-9 <= first.mean <= first.high + 1e-9
        assert min(values) - 1e-9 <= first.low and first.high <= max(values) + 1e-9


def test_coverage_is_near_the_level() -> None:
    generator = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        result = interval(generator.normal(size=30), resamples=400, seed=seed)
        assert result.low is not None and result.high is not None
        covered.append(result.low <= 0 <= result.high)
    assert 0.88 <= np.mean(covered) <= 0.99


def test_clusters_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    person = generator.normal(size=10)
    values = (person[:, None] + 0.01 * generator.normal(size=(10, 20))).ravel()
    clusters = np.repeat(np.arange(10), 20).tolist()
    alone, clustered = interval(values), interval(values, clusters)
    assert None not in (*alone, *clustered)
    assert alone.mean == clustered.mean
    assert (clustered.high - clustered.low) > 3 * (alone.high - alone.low)  # type: ignore[operator]


def test_one_cluster_has_no_interval() -> None:
    assert interval([1, 2, 3], ["anna"] * 3) == (2, None, None, 3)


@pytest.mark.parametrize("values, clusters", [([], None), ([1, float("nan")], None), ([1, 2], ["a"])])
def test_bad_values_are_refused(values: list[float], clusters: list[str] | None) -> None:
    with pytest.raises(ValueError):
        interval(values, clusters)
