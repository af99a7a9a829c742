"""The training loop of both phases: set up, train, finish; every step is a function of (seed, step).

A phase is described by a :class:`Recipe` (which parameters, rows and losses); the loop itself knows nothing of tokens, LoRA or faces.
"""

from __future__ import annotations

import hashlib
import logging
import math
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from magicapture import adapters
from magicapture.backbones import Backbone
from magicapture.config import Training
from magicapture.progress import progress as progress_bar
from magicapture.training import objective
from magicapture.training.attention import AttentionMaps
from magicapture.training.checkpoints import Checkpoint, CheckpointFolder, optimiser_tensors, restore_optimiser
from magicapture.training.data import TrainingData, draw_batch
from magicapture.training.identity import FaceIdentity
from magicapture.training.structure import Structure

log = logging.getLogger(__name__)


class TrainingError(RuntimeError):
    """Training that cannot go on: names the step, the last good checkpoint, and what to do."""


@dataclass(frozen=True)
class Recipe:
    """What a phase trains, on which rows, with which losses.

    ``groups`` are AdamW parameter groups with final learning rates; ``factor(step)`` scales them all over the steps; ``weights`` are of the
    terms of ``objective.terms`` that do not count once; ``validate(step)`` gives a score (greater is better), ``sample_every`` steps apart
    (0: only at the end); ``after_update`` runs after every update.
    """

    phase: str
    steps: int
    kinds: tuple[str, ...]
    groups: list[dict[str, Any]]
    factor: Callable[[int], float] = lambda step: 1.0
    weights: Mapping[str, float] = field(default_factory=dict)
    attention: AttentionMaps | None = None
    identity: FaceIdentity | None = None
    structure: Structure | None = None
    after_update: Callable[[], None] | None = None
    validate: Callable[[int], float] | None = None
    sample_every: int = 0


@dataclass
class Progress:
    """Where a run stands. ``best`` are the tensors of the best-scored step; the last step's are on the backbone."""

    step: int = 0
    curves: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, float]] = field(default_factory=list)
    best_step: int | None = None
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    step_seconds: float = 0.0  # of them in optimiser updates: neither validation nor checkpoints

    def score(self, step: int, value: float, tensors: dict[str, Tensor]) -> None:
        """Note a validation; the first of equal scores stays best."""
        if not self.scores or value > max(entry["judge"] for entry in self.scores):
            self.best_step, self.best = step, tensors
        self.scores.append({"step": step, "judge": value})


class Trainer:
    """Runs a recipe on a backbone, from its last checkpoint if there is one."""

    def __init__(
        self, backbone: Backbone, data: TrainingData, recipe: Recipe, config: Training, seed: int, checkpoints: CheckpointFolder
    ) -> None:
        self.backbone, self.data, self.recipe, self.config, self.seed, self.checkpoints = backbone, data, recipe, config, seed, checkpoints
        self.parameters = [parameter for group in recipe.groups for parameter in group["params"]]
        self.optimiser = torch.optim.AdamW([dict(group) for group in recipe.groups], fused=True)
        self.rates = [group["lr"] for group in recipe.groups]
        # Backwards, too, the networks work in their precision. A prediction's gradients are about 1e-5 an element, and below 6e-5 fp16
        # loses digits, in the end all: so they pass through it magnified. (The trained parameters, and so their gradients, are fp32.)
        self.scale = 2.0**14 if backbone.dtype == torch.float16 else 1.0

    def run(self, until_step: int | None = None) -> Progress:
        """Train up to ``until_step`` (default: all steps) and return where the run stands, with the last step validated.

        A run whose last checkpoint is of a later step is not turned back: what is returned is of that step.
        Raises TrainingError when a loss or gradient is not finite; checkpoints written so far stay. Ctrl-C (SIGINT) lets the step end,
        writes a checkpoint and raises KeyboardInterrupt; a second one stops at once. Another process that trains the same is waited for.
        """
        with self.checkpoints.held():
            return self._run(until_step)

    def _run(self, until_step: int | None) -> Progress:
        stop = self.recipe.steps if until_step is None else min(until_step, self.recipe.steps)
        progress = self._resume()
        started = time.monotonic() - progress.seconds
        self.backbone.gradient_checkpointing(self.config.gradient_checkpointing)
        bar = progress_bar(total=stop, done=progress.step, what=self.recipe.phase, unit="step")
        device = self.backbone.device
        generators = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])  # of other devices none is drawn from
        with generators, self._training_mode(), stop_asked() as asked, bar:
            while progress.step < stop:
                before = time.monotonic()
                line = self.step(progress.step)
                progress.step_seconds += time.monotonic() - before
                progress.step += 1
                progress.curves.append(line)
                bar.set_postfix(
                    {name: f"{value:.3f}" for name, value in line.items() if isinstance(value, float) and name != "lr"}, refresh=False
                )
                bar.update()
                every = self.recipe.sample_every
                if self.recipe.validate and (progress.step == self.recipe.steps or (every and progress.step % every == 0)):
                    progress.score(progress.step, self.recipe.validate(progress.step), adapters.tensors(self.backbone))
                progress.seconds = time.monotonic() - started
                if progress.step % self.config.checkpoint_every == 0 or progress.step == stop or asked.is_set():
                    self._checkpoint(progress)
                if asked.is_set():
                    raise KeyboardInterrupt
            if self.recipe.validate and (not progress.scores or progress.scores[-1]["step"] != progress.step):
                # Stopped before the end: this score is for the artifact only, so that a continued run is as if it had never stopped.
                progress.score(progress.step, self.recipe.validate(progress.step), adapters.tensors(self.backbone))
            if asked.is_set():
                raise KeyboardInterrupt
        self.backbone.gradient_checkpointing(False)
        return progress

    def step(self, step: int) -> dict[str, Any]:
        """One optimiser update (0-based ``step``) from (seed, step) alone; returns its line of the curves.

        Micro-batches are averaged: the gradient is that of their mean loss, and no learning rate is multiplied by their number.
        """
        seed = _seed(self.recipe.phase, self.seed, step)
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # of adapter dropout
        factor = self.recipe.factor(step)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimiser.zero_grad(set_to_none=True)
        weights = self.weights(step)
        sums: dict[str, float] = {}
        for _ in range(self.config.accumulation):
            batch = draw_batch(
                self.data, self.recipe.kinds, self.config.rows, len(self.backbone.schedule.alphas_cumprod), generator, self.backbone.device
            )
            recipe = self.recipe
            parts = objective.terms(self.backbone, batch, recipe.attention, recipe.identity, self.config.masked, recipe.structure)
            loss = objective.total(parts, weights)
            (loss * self.scale / self.config.accumulation).backward()
            values = torch.stack([loss, *parts.values()]).detach().tolist()  # all losses in one copy to the host
            for name, value in zip(["total", *parts], values, strict=True):
                sums[name] = sums.get(name, 0.0) + value / self.config.accumulation
        if self.scale != 1:
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.div_(self.scale)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_clip))
        if not all(map(math.isfinite, [norm, *sums.values()])):
            raise TrainingError(self._diverged(step + 1, sums, norm))
        self.optimiser.step()
        if self.recipe.after_update:
            self.recipe.after_update()
        return {"phase": self.recipe.phase, "step": step + 1, **sums, "gradient": norm, "lr": self.optimiser.param_groups[0]["lr"]}

    def weights(self, step: int) -> dict[str, float]:
        """Weights of the terms at a 0-based step: lambda_style on what has the reference's look, in the first half (original code)."""
        style = self.config.lambda_style if 2 * step < self.recipe.steps else 1.0
        return {"reference": style, "composed": style, **self.recipe.weights}

    def _resume(self) -> Progress:
        found = self.checkpoints.latest()
        if found is None:
            return Progress()
        log.info("%s: continuing after step %d", self.recipe.phase, found.step)
        adapters.restore(self.backbone, found.tensors["weights"])
        restore_optimiser(self.optimiser, found.tensors["optimiser"])
        return Progress(found.step, best=found.tensors.get("best", {}), **found.notes)

    def _checkpoint(self, progress: Progress) -> None:
        tensors = {"weights": adapters.tensors(self.backbone), "optimiser": optimiser_tensors(self.optimiser)}
        if progress.best:
            tensors["best"] = progress.best
        names = ("curves", "scores", "best_step", "seconds", "step_seconds")
        notes = {name: getattr(progress, name) for name in names}
        self.checkpoints.write(Checkpoint(progress.step, tensors, notes))

    def _diverged(self, step: int, sums: Mapping[str, float], norm: float) -> str:
        last = self.checkpoints.path()
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        terms = ", ".join(f"{name} {value:.4g}" for name, value in sums.items())
        wider = {torch.float16: "bf16 (fp16 overflows above 65504; a GPU without bf16: fp32)", torch.bfloat16: "fp32"}
        precision = f" or use precision: {wider[self.backbone.dtype]}" if self.backbone.dtype in wider else ""
        return (
            f"{self.recipe.phase} step {step}: loss or gradient is not finite ({terms}, gradient norm {norm:.4g}); {kept}. "
            f"Lower {self.recipe.phase}.learning_rate{precision}, and run again"
        )

    @contextmanager
    def _training_mode(self) -> Iterator[None]:
        """Adapter dropout on; everything else in the frozen networks is the same in both modes or stays in evaluation mode."""
        dropouts = [
            module
            for network in (self.backbone.unet, *self.backbone.text_encoders.values())
            for name, module in network.named_modules()
            if "lora_dropout" in name
        ]
        for module in dropouts:
            module.train()
        try:
            yield
        finally:
            for module in dropouts:
                module.eval()


@contextmanager
def stop_asked() -> Iterator[threading.Event]:
    """Inside, the first SIGINT sets the event instead of raising KeyboardInterrupt; the second raises it."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set, and only there does Ctrl-C raise
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        log.info("stopping after this step; again to stop at once")
        asked.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def fixed_threads(count: int) -> Iterator[int]:
    """Torch's CPU threads inside: ``count``, or torch's own choice for 0; sums depend on it, so it is recorded. Yields the number."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def machine(backbone: Backbone) -> dict[str, str]:
    """What bit-exactness hangs on besides threads: processor, device, torch."""
    device = torch.cuda.get_device_name(backbone.device) if backbone.device.type == "cuda" else "cpu"
    return {"processor": platform.machine(), "device": device, "torch": torch.__version__}


def _seed(phase: str, seed: int, step: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{phase}/{seed}/{step}".encode()).digest()[:8], "big") >> 1
