"""How much a generated face is the person's: raw CSIM (paper, "How it is measured") and its normalised form (ours)."""

from __future__ import annotations

import numpy as np


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


def genuine(sources: np.ndarray) -> float | None:
    """Mean cosine between different pictures of one person, (m, D) -> -1..1; None for fewer than two pictures."""
    if len(sources) < 2:
        return None
    table = cosines(sources, sources)
    return float(table[~np.eye(len(table), dtype=bool)].mean())


def normalised(similarity: np.ndarray, genuine: float, stranger: float) -> np.ndarray:
    """(s - stranger) / (genuine - stranger), of any shape: 0 = a matched stranger, 1 = another real picture of the person.

    `genuine` and `stranger` are mean cosines of the same recogniser (design, principle 8). Raises ValueError when the
    recogniser does not tell the person from strangers (genuine <= stranger), where the ratio means nothing.
    """
    if not genuine > stranger:
        raise ValueError(
            f"genuine {genuine:.3f} is not above stranger {stranger:.3f}: this recogniser cannot tell the person from strangers"
        )
    return (np.asarray(similarity, np.float64) - stranger) / (genuine - stranger)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
