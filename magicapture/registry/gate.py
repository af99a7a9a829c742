"""Choosing among candidates and deciding whether the best becomes champion. Pure functions; the judge decides, never the referee."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from magicapture.artifacts import ArtifactError, read_manifest
from magicapture.config import Policy

MEASURES = ("selection", "identity", "style", "aesthetic")
RESAMPLES = 4000
# Up to this many pairs every pattern of signs is tried (2^12 of them) instead of RESAMPLES drawn ones.
EXACT_PAIRS = 12
# The rounding of equal numbers is no spread.
FLAT = 1e-12


@dataclass(frozen=True)
class Scores:
    """The judge's view of a model: ``portraits`` maps (prompt, seed) to the MEASURES of that portrait, in their order.

    A portrait without a face has selection and identity 0. Of objects, identity is the structure score. Comparable only within
    one ``protocol`` (hash of what was measured and how). ``faces``: portraits in which one was found, None for objects.
    """

    protocol: str
    faces: int | None
    portraits: Mapping[tuple[str, int], tuple[float, float, float, float]] = field(repr=False)

    @property
    def means(self) -> dict[str, float]:
        """Measure -> mean over all portraits."""
        return dict(zip(MEASURES, np.mean(list(self.portraits.values()), axis=0).tolist(), strict=True))

    def tags(self) -> dict[str, str]:
        """As tags of a model version."""
        tags = {"protocol": self.protocol} | ({} if self.faces is None else {"faces": str(self.faces)})
        return tags | {f"score.{name}": f"{value:.5f}" for name, value in self.means.items()}


class Verdict(NamedTuple):
    """What becomes of a version and why, in a sentence; ``numbers``: what was compared (gain, p, means of the differences)."""

    outcome: Literal["champion", "challenger", "rejected", "rolled back"]
    reason: str
    numbers: dict[str, float] = {}  # noqa: RUF012  (never changed)


def read_scores(file: str | Path) -> Scores:
    """From an evaluation artifact, or from its scores.json. Raises ArtifactError when it holds no portraits."""
    path = Path(file)
    if path.is_dir():
        read_manifest(path, "evaluation")
        path = path / "scores.json"
    data = json.loads(path.read_text())
    rows = [row for row in data["items"] if row["kind"] == "portrait"]
    if not rows:
        raise ArtifactError(f"{file}: scores.json has no portraits; evaluate portraits of the tuned model")
    faces = None if all(row["face"] is None for row in rows) else sum(bool(row["face"]) for row in rows)
    return Scores(data["protocol"], faces, {(str(row["prompt"]), int(row["seed"])): _measures(row) for row in rows})


def _measures(row: Mapping[str, Any]) -> tuple[float, float, float, float]:
    likeness = row.get("structure") if row["face"] is None else row["identity"]
    return row["selection"] or 0.0, likeness or 0.0, row["style"], row["aesthetic"]


def best_of(scores: Sequence[Scores], selections: Sequence[float | None]) -> int:
    """Index of the greatest selection score of an evaluation (the first of equals). Raises ArtifactError when protocols differ."""
    protocols = sorted({score.protocol for score in scores})
    if len(protocols) > 1:
        named = ", ".join(protocols)
        raise ArtifactError(f"candidates were evaluated under different protocols ({named}); evaluate them with one configuration")
    return max(range(len(scores)), key=lambda index: selections[index] or 0.0)


def verdict(candidate: Scores, champion: Scores | None, policy: Policy, candidates: int = 1) -> Verdict:
    """Champion, challenger (fit, but not shown to be better) or rejected (below a floor), by these rules in order.

    (1) Some portrait has a face and every mean reaches its floor, else rejected; (2) the first fit version is champion; (3) likeness,
    style and aesthetic are within their tolerances of the champion's; (4) the mean of the paired differences in selection exceeds the
    margin at the policy's level (:func:`p_value`). The level is divided by ``candidates``, the number the best was picked from by the
    very scores that are compared here (Bonferroni). Raises ArtifactError where the two were not drawn from the same prompts and seeds.
    """
    means = candidate.means
    if candidate.faces == 0:
        return Verdict("rejected", "no face was found in any portrait")
    low = [
        f"{name} {means[name]:.3f} below policy.min_{name} {floor:.3f}"
        for name in MEASURES[1:]
        if means[name] < (floor := getattr(policy, f"min_{name}")) and not (name == "identity" and _unmeasured(candidate))
    ]
    if low:
        return Verdict("rejected", "; ".join(low))
    if champion is None:
        return Verdict("champion", f"first champion: {', '.join(f'{name} {value:.3f}' for name, value in means.items())}")
    if candidate.protocol != champion.protocol or set(candidate.portraits) != set(champion.portraits):
        raise ArtifactError(
            f"protocols {candidate.protocol} and {champion.protocol}: expected scores of the same prompts and seeds, measured alike; "
            "score the champion again"
        )
    pairs = np.array([np.subtract(row, champion.portraits[key]) for key, row in candidate.portraits.items()])
    change = dict(zip(MEASURES, pairs.mean(axis=0).tolist(), strict=True))
    numbers = {f"gain.{name}": value for name, value in change.items()}
    worse = [
        f"{name} {change[name]:+.3f}, beyond policy.tolerance_{name} {allowed:.3f}"
        for name in MEASURES[1:]
        if change[name] < -(allowed := getattr(policy, f"tolerance_{name}"))
    ]
    if worse:
        return Verdict("challenger", f"against the champion {'; '.join(worse)}", numbers)
    p, level = p_value(pairs[:, 0], policy.margin), policy.false_promotion / candidates
    shared = f" (policy.false_promotion {policy.false_promotion:g} among {candidates} candidates)" if candidates > 1 else ""
    told = f"selection {change['selection']:+.4f} against the champion's on {len(pairs)} pairs"
    beyond = f"exceeds policy.margin {policy.margin:.4f}"
    numbers["p"] = p
    if p <= level:
        return Verdict("champion", f"{told}, which {beyond} (p = {p:.4f}, at most {level:g}{shared})", numbers)
    few = f"; {len(pairs)} portraits can never tell at this level: more generation.seeds" if 2.0 ** -len(pairs) > level else ""
    return Verdict("challenger", f"{told}; that it {beyond} is not shown (p = {p:.4f}, above {level:g}{shared}){few}", numbers)


def _unmeasured(scores: Scores) -> bool:
    """Objects of a pack without the role structure: likeness is 0 throughout and says nothing."""
    return scores.faces is None and not any(row[1] for row in scores.portraits.values())


def p_value(differences: Sequence[float] | np.ndarray, margin: float = 0.0, seed: int = 0) -> float:
    """How probable so great a mean of paired ``differences`` (n,) is where the true one is ``margin``: 1 where nothing can be told.

    The greater p of two paired bootstraps of Student's t. The wild bootstrap with signs (Liu 1988) imposes the margin and is exact for
    any n where differences are symmetric about it, as they are between two equally good models; resampling whole pairs about their own
    mean (Efron and Tibshirani 1993, 16.4) also sees skew. The percentile bootstrap of the mean is left out: at n = 8 and a level of
    0.05 it promotes 0.08 of equals. Equal arguments give equal values.
    """
    excess = np.asarray(differences, np.float64) - margin
    count = len(excess)
    if count < 2 or not np.isfinite(excess).all():
        return 1.0
    if np.ptp(excess) < FLAT:  # one difference seen `count` times: only its sign is evidence
        return float(2.0**-count) if excess[0] > 0 else 1.0
    random = np.random.default_rng(seed)
    if count <= EXACT_PAIRS:
        signs = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = np.vstack([np.ones(count), random.choice([-1.0, 1.0], (RESAMPLES, count))])
    seen = _student(excess[None])[0] - 1e-9
    wild = float(np.mean(_student(signs * excess) >= seen))
    drawn = (excess - excess.mean())[random.integers(0, count, (RESAMPLES, count))]
    return max(wild, (1 + int((_student(drawn) >= seen).sum())) / (RESAMPLES + 1))


def _student(rows: np.ndarray) -> np.ndarray:
    """Student's t of each row; of rows without spread, infinite with the sign of the mean."""
    means, spread = rows.mean(axis=1), rows.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread < FLAT, np.copysign(np.inf, means), means * np.sqrt(rows.shape[1]) / spread)
