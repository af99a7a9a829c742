"""What can go wrong with photos: one of them is set aside, or the whole run cannot go on."""

from __future__ import annotations


class SetAside(ValueError):
    """One picture that cannot be used; its message is the reason shown to the person."""


class ReferencesError(ValueError):
    """Folders from which no prepared set can be made: names the folder, what was found and what to do."""
