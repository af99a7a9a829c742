"""References: photos and looks in, a prepared set out (safe decode, quality gate, one person, masks, embeddings)."""

from __future__ import annotations

from magicapture.references.errors import ReferencesError
from magicapture.references.prepare import run

__all__ = ["ReferencesError", "run"]
