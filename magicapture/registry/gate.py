"""Choosing among candidates and deciding whether the best becomes champion. Pure functions; the judge decides, never the referee."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from magicapture.artifacts import ArtifactError, read_manifest
from magicapture.config import Promotion


@dataclass(frozen=True)
class Scores:
    """The judge's view of a model, from one evaluation.

    ``selection`` and ``identity`` are means over the better-ranked half of the portraits (a portrait without a face counts
    0), comparable only within one ``protocol`` (hash of what was measured and how). ``lead`` is by how much the mean
    selection score of all portraits exceeds that of the untuned base, None when the base was not measured. ``faces``: portraits in which
    one was found, None for objects, which have no identity (0).
    """

    protocol: str
    selection: float
    identity: float
    lead: float | None
    faces: int | None

    def tags(self) -> dict[str, str]:
        """As the tags of a model version; :meth:`from_tags` reads them back exactly."""
        tags = {"protocol": self.protocol} | ({} if self.faces is None else {"faces": str(self.faces)})
        numbers = {"score.selection": self.selection, "score.identity": self.identity, "score.lead": self.lead}
        return tags | {name: repr(value) for name, value in numbers.items() if value is not None}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Scores:
        """Read from the tags of a model version."""
        lead = float(tags["score.lead"]) if "score.lead" in tags else None
        faces = int(tags["faces"]) if "faces" in tags else None
        return cls(tags["protocol"], float(tags["score.selection"]), float(tags["score.identity"]), lead, faces)


def read_scores(folder: str | Path) -> Scores:
    """From an evaluation artifact. Raises ArtifactError when it holds no portraits."""
    content = read_manifest(folder, "evaluation")["content"]
    sets = json.loads((Path(folder) / "scores.json").read_text())["sets"]
    if "portrait" not in sets:
        raise ArtifactError(f"{folder}: scores.json has no set 'portrait'; evaluate portraits of the tuned model")
    ours, base = sets["portrait"]["selection"], sets.get("base", {}).get("selection")
    lead = ours["mean"] - base["mean"] if ours and base else None
    return Scores(content["protocol"], content["selection"] or 0.0, content["identity"] or 0.0, lead, sets["portrait"]["faces"])


def best_of(scores: Sequence[Scores]) -> int:
    """Index of the greatest selection score (the first of equals). Raises ArtifactError when protocols differ."""
    protocols = sorted({score.protocol for score in scores})
    if len(protocols) > 1:
        named = ", ".join(protocols)
        raise ArtifactError(f"candidates were evaluated under different protocols ({named}); evaluate them with one configuration")
    return max(range(len(scores)), key=lambda index: scores[index].selection)


def verdict(candidate: Scores, champion: Scores | None, knobs: Promotion) -> tuple[bool, str]:
    """Whether the candidate becomes champion, and why, in a sentence.

    Rules, in order: (1) portraits without a single face, or with an identity below ``min_identity``, never become
    champion; (2) the first version does; (3) under the champion's protocol it must exceed the champion's selection score
    by more than ``min_gain``; (4) under another protocol the two numbers cannot be compared, and the champion's portraits
    are not scored again here: the protocol in force decides, so the candidate becomes champion if it beats the untuned
    base measured beside it. The alias ``previous`` keeps the old champion one command away.
    """
    if candidate.faces == 0:
        return False, "no face was found in any portrait"
    if candidate.faces is not None and candidate.identity < knobs.min_identity:
        return False, f"identity {candidate.identity:.3f} is below promotion.min_identity {knobs.min_identity:.3f}"
    if champion is None:
        return True, f"first champion: selection {candidate.selection:.4f}, identity {candidate.identity:.3f}"
    if candidate.protocol == champion.protocol:
        gain = candidate.selection - champion.selection
        compared = f"selection {candidate.selection:.4f} against the champion's {champion.selection:.4f}"
        if gain > knobs.min_gain:
            return True, f"{compared}: gain {gain:+.4f} exceeds promotion.min_gain {knobs.min_gain:.4f}"
        return False, f"{compared}: gain {gain:+.4f} does not exceed promotion.min_gain {knobs.min_gain:.4f}"
    differs = f"protocol {candidate.protocol} differs from the champion's {champion.protocol}, so their scores cannot be compared"
    if candidate.lead is None:
        return False, f"{differs}, and no untuned base was measured to compare with instead (evaluation.baseline_images)"
    ruling = f"{differs}; the protocol in force decides: lead over the untuned base {candidate.lead:+.4f}"
    return candidate.lead > 0, ruling
