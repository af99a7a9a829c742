"""How much a generated face is the person's: raw CSIM (paper, "How it is measured") and its normalised form (ours)."""

from __future__ import annotations

from itertools import permutations

import numpy as np

#: Least distance of genuine and stranger level; below it noise in the levels would decide the ratio (ours).
LEAST_GAP = 0.05


def csim(generated: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Mean cosine of each generated face to every source face: (n, D), (m, D) -> (n,) in -1..1.

    The mean over pairs, not the cosine to the mean embedding: both rank pictures alike, but only the former is on the
    scale of the pairwise `genuine` and stranger levels. Rows need not be unit. Raises ValueError for empty or unlike sets.
    """
    return cosines(generated, sources).mean(1)


def cosines(generated: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Cosine of every generated to every source face: (n, D), (m, D) -> (n, m) in -1..1. Raises ValueError."""
    if generated.ndim != 2 or sources.ndim != 2 or generated.shape[1] != sources.shape[1] or not len(sources):
        raise ValueError(f"expected embeddings (n, D) and (m, D) with m >= 1, got {generated.shape} and {sources.shape}")
    return np.clip(_unit(generated) @ _unit(sources).T, -1, 1)


def assigned(table: np.ndarray) -> np.ndarray:
    """Cosines (k faces, k people) -> (k,) int: whose face is which, so that the cosines' sum is greatest. Raises ValueError.

    All orders are tried: a picture shows a handful of people.
    """
    count = len(table)
    if table.shape != (count, count) or not 1 <= count <= 6:
        raise ValueError(f"expected as many faces as people, 1 to 6 of them, got a table of {table.shape}")
    orders = np.array(list(permutations(range(count))))
    return orders[table[orders, np.arange(count)].sum(1).argmax()]


def genuine(sources: np.ndarray) -> float | None:
    """Mean cosine between different pictures of one person, (m, D) -> -1..1; None for fewer than two pictures."""
    if len(sources) < 2:
        return None
    table = cosines(sources, sources)
    return float(table[~np.eye(len(table), dtype=bool)].mean())


def separable(genuine: float | None, stranger: float | None) -> bool:
    """Whether both levels are known and far enough apart (LEAST_GAP) for `normalised` to mean anything."""
    return genuine is not None and stranger is not None and genuine - stranger >= LEAST_GAP


def normalised(similarity: np.ndarray, genuine: float, stranger: float) -> np.ndarray:
    """(s - stranger) / (genuine - stranger), of any shape: 0 = a matched stranger, 1 = another real picture of the person.

    `genuine` and `stranger` are mean cosines of the same recogniser (design, principle 8). Raises ValueError when they are
    not `separable`: a recogniser that cannot tell the person from strangers gives a ratio without meaning.
    """
    if not separable(genuine, stranger):
        raise ValueError(f"genuine {genuine:.3f} is not {LEAST_GAP} above stranger {stranger:.3f}: likeness cannot be normalised")
    return (np.asarray(similarity, np.float64) - stranger) / (genuine - stranger)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
