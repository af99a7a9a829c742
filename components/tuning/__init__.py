"""The tuning component."""

from components.tuning.component import tuning

__all__ = ["tuning"]
