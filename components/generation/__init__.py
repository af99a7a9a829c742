"""The generation component."""

from components.generation.component import generation

__all__ = ["generation"]
