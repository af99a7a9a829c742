"""A folder of pictures judged as preprocessing would judge it, without preparing anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magicapture.config import Config
from magicapture.data import folder_name, local, name_subjects, photo_hashes
from magicapture.faces.prepared import SetName
from magicapture.references.decode import scan_concepts
from magicapture.references.prepare import WHAT, Preparer
from magicapture.references.sheet import render
from magicapture.references.verdict import Verdict


@dataclass(frozen=True)
class Checked:
    """Verdict on every picture, in the order of their names; ``warnings`` and ``advice`` on the set, in sentences.

    ``enough``: whether preprocessing would go on, which needs ``preprocess.min_pictures`` of every sub-folder. ``subjects``: whose photos
    they are, as training would record it; of looks nobody's.
    """

    set: SetName
    verdicts: list[Verdict]
    warnings: list[str]
    advice: list[str]
    enough: bool
    subjects: dict[str, list[str]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """{use, warn, set aside}."""
        return {"use": 0, "warn": 0, "set aside": 0} | Counter(verdict.word for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """For programs: {set "photos" or "looks", counts, enough, pictures [Verdict.to_json], warnings, advice}."""
        return {
            "set": WHAT[self.set],
            "counts": self.counts,
            "enough": self.enough,
            "pictures": [verdict.to_json() for verdict in self.verdicts],
            "warnings": self.warnings,
            "advice": self.advice,
        }

    def sheet(self) -> str:
        """The HTML page: every picture with box, key points, mask, verdict and reason."""
        return render(self.verdicts, self.warnings, self.advice, f"Checked {WHAT[self.set]}", self.subjects)


def check(folder: str | Path, config: Config, name: SetName = "source") -> Checked:
    """Judge a folder (or an address of versioned data) of photos of a person, or of images of a look (``name`` "reference").

    With sub-folders each is judged by itself. Raises ReferencesError for a folder without files, PackError for a pack that cannot be used.
    """
    preparer = Preparer(config)
    advice, enough = [], True
    hashes: dict[str, list[str]] = {}
    with local(folder) as here:
        for concept, paths in scan_concepts(here, WHAT[name]).items():
            hashes |= {concept: photo_hashes(paths)} if name == "source" else {}
            usable = preparer.judge(name, paths, concept)
            enough &= len(usable) >= config.preprocess.min_pictures
            advice += [f"{concept}: {sentence}" if concept else sentence for sentence in preparer.advice(name, usable)]
    of_pictures = {f"{v.name} {finding.reason}" for v in preparer.verdicts for finding in v.findings}
    warnings = [text for text in preparer.warnings if text not in of_pictures]
    subjects = name_subjects(hashes, folder_name(folder), config.promotion.subject)
    return Checked(name, preparer.verdicts, warnings, advice, enough, subjects)
