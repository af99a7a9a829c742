"""Means with bootstrap intervals that respect clusters: pictures of one person are not independent of each other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean, its interval (None where fewer than two clusters leave nothing to resample) and the number of values."""

    mean: float
    low: float | None
    high: float | None
    n: int


def interval(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Interval:
    """Mean of `values` (n,) with its percentile bootstrap interval of `level`, resampling whole clusters.

    `clusters` names each value's person or person-look pair; None: every value stands alone. Equal arguments give equal
    intervals. Raises ValueError for no values, values that are not finite, or as many clusters as there are not values.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"expected one or more finite values, got {values!r}")
    if clusters is not None and len(clusters) != len(numbers):
        raise ValueError(f"{len(clusters)} clusters for {len(numbers)} values; expected one for each")
    mean = float(numbers.mean())
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(name, len(order)) for name in (clusters if clusters is not None else range(len(numbers)))])
    count = len(order)
    if count < 2:
        return Interval(mean, None, None, len(numbers))
    sums, sizes = np.bincount(index, numbers, count), np.bincount(index, minlength=count)
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), len(numbers))
