"""What can go wrong with photos: one of them is set aside, or the whole run cannot go on."""

from __future__ import annotations

from typing import Literal

#: What can be wrong with a picture, in a word; the gate's figures are counted by it.
Problem = Literal[
    "unreadable", "no object", "small picture", "no face", "several faces", "small face", "large face", "cut off", "tilted", "turned away",
    "covered", "too dark", "burnt out", "blurred", "duplicate", "other person", "note",
]  # fmt: skip


class SetAside(ValueError):
    """One picture that cannot be used; its message is the reason shown to the person, ``problem`` its kind."""

    def __init__(self, reason: str, problem: Problem = "unreadable") -> None:
        super().__init__(reason)
        self.problem: Problem = problem


class ReferencesError(ValueError):
    """Folders from which no prepared set can be made: names the folder, what was found and what to do."""
