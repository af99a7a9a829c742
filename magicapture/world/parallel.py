"""Data-parallel training on the cores of one machine: a few single-threaded processes with averaged gradients.

Two threads of one process stall each other on small networks; two processes use both cores (measured, see the model card).
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def launch(worker: Callable[..., None], processes: int, device: str, *arguments: Any) -> None:
    """Call ``worker(rank, processes, device, *arguments)`` in each of ``processes`` processes; in this one when there is one, or when
    ``device`` is not "cpu": one process keeps an accelerator busy."""
    if processes == 1 or device != "cpu":
        worker(0, 1, device, *arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_start, (processes, str(Path(folder) / "store"), worker, (device, *arguments)), nprocs=processes)


def _start(rank: int, processes: int, store: str, worker: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    # A killed parent cannot stop its workers; they would go on and write beside the run that takes its place.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
    try:
        worker(rank, processes, *arguments)
    finally:
        dist.destroy_process_group()


def _end_with(parent: multiprocessing.process.BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)


def average_gradients(parameters: Iterable[torch.nn.Parameter], processes: int) -> None:
    """Replace every gradient by its mean over the processes, in one message."""
    if processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= processes
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
