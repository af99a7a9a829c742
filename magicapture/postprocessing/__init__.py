"""Postprocessing: super-resolution, face restoration, paste-back."""

from __future__ import annotations

from magicapture.postprocessing.stage import run

__all__ = ["run"]
