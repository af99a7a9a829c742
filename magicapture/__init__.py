"""MagiCapture: personalised portraits. ``from magicapture import MagiCapture`` is the library's front door (``magicapture.api``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magicapture.api import MagiCapture as MagiCapture


def __getattr__(name: str) -> Any:
    """``MagiCapture``, imported when it is asked for: ``import magicapture`` loads nothing."""
    if name == "MagiCapture":
        from magicapture.api import MagiCapture

        return MagiCapture
    raise AttributeError(f"module 'magicapture' has no attribute {name!r}")
