"""Which device to run on; without diffusers, for those who need no backbone."""

from __future__ import annotations

import torch

from magicapture.backbones.errors import BackboneError


def resolve_device(name: str = "auto") -> torch.device:
    """Device of a name: auto, cpu or cuda. Raises BackboneError when CUDA is asked for and absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackboneError(
            f"device {name!r}: torch {torch.__version__} sees no CUDA device; install its lock file and driver, or use device: cpu"
        )
    return device
