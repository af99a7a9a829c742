"""What the trainings of networks with batch norm share beside :class:`magicapture.world.diffusion.Run`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


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
