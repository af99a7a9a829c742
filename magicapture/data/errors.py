"""What can go wrong with versioned data."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be read or added: names what was given, what was expected and what to do."""
