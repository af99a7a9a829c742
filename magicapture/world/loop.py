"""A resumable training: what every role of the pack shares."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from magicapture.world.parallel import average_gradients

Step = Callable[[int, torch.Generator], dict[str, Tensor]]


def autocast(device: str = "cpu") -> torch.autocast:
    """bf16 arithmetic where it is faster: on CUDA, and on CPUs that multiply in it (measured: with AMX three times faster, with
    AVX-512 BF16 1.2 (UNet) to 1.7 times (VAE); on others slower). Weights stay fp32."""
    fast = device != "cpu" or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=fast)


class Run:
    """A resumable optimisation of ``model``: AdamW, averaged weights (EMA), checkpoints written aside, a JSONL log.

    ``warm_up`` steps of linear rise, then constant until ``decay_from`` (share of ``steps``), then cosine to zero.
    ``start`` puts other weights than random ones into ``model``; called where there is no checkpoint yet.
    """

    def __init__(self, model: nn.Module, folder: Path, *, steps: int, rate: float, seed: int, rank: int = 0, processes: int = 1,
                 warm_up: int = 200, decay_from: float = 0.6, average: float = 0.999, weight_decay: float = 0.01,
                 start: Callable[[], object] | None = None) -> None:  # fmt: skip
        self.model, self.folder, self.steps, self.rate, self.seed = model, folder, steps, rate, seed
        self.rank, self.processes, self.warm_up, self.decay_from, self.average = rank, processes, warm_up, decay_from, average
        if start is not None and not (folder / "checkpoint.safetensors").is_file():
            start()
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimiser = torch.optim.AdamW(self.named.values(), rate, weight_decay=weight_decay, betas=(0.9, 0.99), fused=True)
        self.averaged = {name: p.detach().clone() for name, p in self.named.items()}
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self, loss: Step, *, save_every: float = 120.0, log_every: int = 50) -> None:
        """Go on to ``steps``; ``loss(step, generator)`` returns named scalars whose ``total`` is minimised."""
        saved = started = time.time()
        sums: dict[str, float] = {}
        summed = 0
        while self.step < self.steps:
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate * self._schedule()
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) * 64 + self.rank)
            values = loss(self.step, generator)
            values["total"].backward()
            average_gradients(self.named.values(), self.processes)
            nn.utils.clip_grad_norm_(self.named.values(), 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self.step += 1
            decay = min(self.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.averaged.values()), [p.detach() for p in self.named.values()], 1 - decay)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            summed += 1
            if self.rank == 0 and self.step % log_every == 0:
                record = {"step": self.step, "seconds": round(time.time() - started, 1), "lr": self.optimiser.param_groups[0]["lr"]}
                with open(self.folder / "log.jsonl", "a") as log:
                    log.write(json.dumps(record | {name: round(value / summed, 5) for name, value in sums.items()}) + "\n")
            if self.step % log_every == 0:
                sums, summed = {}, 0
            if self.rank == 0 and (time.time() - saved > save_every or self.step == self.steps):
                self.save()
                saved = time.time()

    def _schedule(self) -> float:
        if self.step < self.warm_up:
            return (self.step + 1) / self.warm_up
        late = (self.step / self.steps - self.decay_from) / (1 - self.decay_from)
        return 1.0 if late <= 0 else 0.5 * (1 + math.cos(math.pi * min(late, 1.0)))

    def save(self) -> None:
        """Write weights, averaged weights, optimiser state and step in one file, aside and renamed."""
        state: dict[str, Tensor] = {f"model.{name}": p.detach() for name, p in self.named.items()}
        state |= {f"average.{name}": p for name, p in self.averaged.items()}
        for name, p in self.named.items():
            state |= {f"optimiser.{key}.{name}": value for key, value in self.optimiser.state[p].items()}
        aside = self.folder / ".checkpoint.safetensors"
        save_file({key: value.contiguous() for key, value in state.items()}, aside, metadata={"step": str(self.step)})
        aside.rename(self.folder / "checkpoint.safetensors")

    def _resume(self) -> None:
        file = self.folder / "checkpoint.safetensors"
        if not file.is_file():
            return
        state = load_file(file)
        for name, p in self.named.items():
            p.data.copy_(state[f"model.{name}"])
            self.averaged[name] = torch.empty_like(p.data).copy_(state[f"average.{name}"])
            moments = {key: state[f"optimiser.{key}.{name}"] for key in ("exp_avg", "exp_avg_sq")}
            # In the weight's own memory order: the fused optimiser walks through memory, and channels-last weights are stored otherwise.
            self.optimiser.state[p] = {key: torch.empty_like(p).copy_(value) for key, value in moments.items()}
            self.optimiser.state[p]["step"] = state[f"optimiser.step.{name}"].to(p.device)
        self.step = int(next(iter(state[f"optimiser.step.{name}"] for name in self.named)).item())


def load_average(model: nn.Module, folder: Path) -> nn.Module:
    """Put the averaged weights of a run's checkpoint into ``model``.

    Raises FileNotFoundError, and ValueError when the checkpoint is that of another architecture.
    """
    state = load_file(folder / "checkpoint.safetensors")
    named = {f"average.{name}": p for name, p in model.named_parameters() if p.requires_grad}
    if lost := sorted(name for name in named if name not in state or state[name].shape != named[name].shape):
        raise ValueError(
            f"{folder / 'checkpoint.safetensors'} does not fit {type(model).__name__} ({len(lost)} weights, first {lost[0]}); "
            "the architecture has changed since: remove the folder and train the role anew"
        )
    for name, p in named.items():
        p.data.copy_(state[name])
    return model


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
