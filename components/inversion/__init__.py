"""The inversion component."""

from components.inversion.component import inversion

__all__ = ["inversion"]
