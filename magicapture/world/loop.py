"""What the trainings of the small models share beside :class:`magicapture.world.diffusion.Run`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from magicapture.world.diffusion import Run


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


def start(model: nn.Module, folder: Path, **options: Any) -> Run:
    """A Run in one process whose resumed state lies on the device and in memory as its parameters do.

    The fused optimiser goes through memory by position: channels-last weights beside contiguous moments would be mixed up.
    """
    run = Run(model, folder, rank=0, processes=1, **options)
    for name, p in run.named.items():
        run.averaged[name] = torch.empty_like(p.data).copy_(run.averaged[name])
        for key, value in run.optimiser.state.get(p, {}).items():
            if value.shape == p.shape:
                run.optimiser.state[p][key] = torch.empty_like(p.data).copy_(value)
    return run
