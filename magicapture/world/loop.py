"""What the trainings of the small models share beside :class:`magicapture.world.diffusion.Run`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def autocast(device: str) -> torch.autocast:
    """bf16 arithmetic where it is faster: on CUDA, and on CPUs with AMX (three times faster there, slower on others; measured)."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device != "cpu" or torch.cpu._is_amx_tile_supported())


def settle_norms(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Give every batch norm the statistics of these batches under the weights at hand (averaged ones never saw their own).

    ``model`` is left in evaluation mode.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
    model.train()
    with torch.no_grad():
        for batch in batches:
            model(batch)
    return model.eval()
