"""The resolve component."""

from components.resolve.component import resolve

__all__ = ["resolve"]
