"""The postprocessing component."""

from components.postprocessing.component import postprocessing

__all__ = ["postprocessing"]
