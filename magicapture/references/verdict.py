"""What is said of a picture: use it, use it with a warning, or set it aside, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from magicapture.faces.prepared import Picture, SetName
from magicapture.references.errors import Problem

Word = Literal["use", "warn", "set aside"]


@dataclass(frozen=True)
class Finding:
    """What is wrong with a picture: ``severe`` sets it aside, anything else warns; ``reason`` says what to do."""

    problem: Problem
    severe: bool
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Of one picture of a set: what was found (the severe first, nothing: use it) and measured.

    For the sheet ``picture`` as prepared, where it came to that, and ``thumb`` (h, w, 3) uint8 with the boxes of all faces, where it could
    be decoded.
    """

    set: SetName
    name: str
    findings: tuple[Finding, ...] = ()
    measures: dict[str, float] = field(default_factory=dict)
    picture: Picture | None = None
    thumb: np.ndarray | None = field(default=None, repr=False)

    @property
    def word(self) -> Word:
        """The verdict."""
        return "set aside" if self.severe else "warn" if self.findings else "use"

    @property
    def severe(self) -> tuple[Finding, ...]:
        """What sets it aside."""
        return tuple(finding for finding in self.findings if finding.severe)

    @property
    def reason(self) -> str:
        """Why it is set aside, or what the warnings are; "" for a picture without fault."""
        return "; ".join(finding.reason for finding in self.severe or self.findings)

    def to_json(self) -> dict[str, Any]:
        """{name, verdict, problems, reason, measures}."""
        problems = [finding.problem for finding in self.severe or self.findings]
        measures = {name: round(value, 4) for name, value in self.measures.items()}
        return {"name": self.name, "verdict": self.word, "problems": problems, "reason": self.reason, "measures": measures}
