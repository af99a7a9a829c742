"""The close component."""

from components.close.component import close

__all__ = ["close"]
