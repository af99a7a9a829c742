"""Checkpoints: complete or absent, so that a run killed at any moment goes on from the last one and ends with the same weights.

Each is a folder ``step-000050`` of safetensors files and a ``state.json`` that names the sha256 of each; it is written aside and renamed.
The last two are kept; a damaged newest one falls back to the one before.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import magicapture
from magicapture.artifacts import is_at, sha256_file, sync, write_json

log = logging.getLogger(__name__)

KEPT = 2
_STATE = "state.json"
_CODE = ("training", "adapters", "backbones", "faces", "scoring")


@dataclass
class Checkpoint:
    """What a run needs to go on after ``step`` updates: named groups of tensors, and JSON-able notes."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    notes: dict[str, Any] = field(default_factory=dict)


class CheckpointFolder:
    """The checkpoints of one run (one lineage key)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder to this process (flock, given back when it ends), after waiting for another that trains the very same run.

        That one's checkpoints are then there to go on from. A file system without such locks is said, and trained on all the same.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ".lock"
        while True:
            with open(path, "wb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    log.warning("%s: another process trains this very run; waiting until it ends, to go on from there", self.folder)
                    fcntl.flock(file, fcntl.LOCK_EX)
                except OSError as error:
                    log.warning("%s cannot be locked (%s): see that no two processes train the same run in it", self.folder, error.strerror)
                if not is_at(path, file.fileno()):
                    continue  # who held it took it away: whoever comes now opens another
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return

    def write(self, checkpoint: Checkpoint) -> Path:
        """Write atomically, then drop all but the last two. Of one that cannot be written nothing is left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"step-{checkpoint.step:06d}"
        aside = Path(tempfile.mkdtemp(dir=self.folder, prefix=".writing-"))
        files = {}
        try:
            for name, tensors in checkpoint.tensors.items():
                path = aside / f"{name}.safetensors"
                _save(path, {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
                files[name] = sha256_file(path)
            write_json(aside / _STATE, {"step": checkpoint.step, "files": files, "notes": checkpoint.notes})
            if target.exists():
                shutil.rmtree(target)
            os.rename(aside, target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        for old in self._folders()[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def latest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint, or None; what a killed writer left is cleared away."""
        for left in self.folder.glob(".writing-*"):
            shutil.rmtree(left, ignore_errors=True)
        for folder in self._folders():
            try:
                return _read(folder)
            except (OSError, ValueError, KeyError) as error:
                log.warning("checkpoint %s is damaged (%s): falling back to the one before", folder, error)
        return None

    def path(self) -> Path | None:
        """Folder of the newest checkpoint, or None."""
        return next(iter(self._folders()), None)

    def _folders(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("step-*"), reverse=True)


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    """Straight from the tensors: as bytes in between, a whole model's and its optimiser's would fill the memory once more."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))  # a full disk, say: the library tells it in words alone
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
    sync(path)


def _read(folder: Path) -> Checkpoint:
    state = json.loads((folder / _STATE).read_text())
    tensors = {}
    for name, digest in state["files"].items():
        path = folder / f"{name}.safetensors"
        if sha256_file(path) != digest:
            raise ValueError(f"{path.name} differs from its recorded sha256")
        tensors[name] = load_file(path)
    return Checkpoint(state["step"], tensors, state["notes"])


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors ("<index of the parameter>.<name>"); scalars are tensors already in torch's Adam."""
    states = optimiser.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(value) for index, state in states.items() for name, value in state.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put :func:`optimiser_tensors` back into an optimiser over the same parameters in the same order."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


@cache
def code_hash() -> str:
    """16 hex digits over the source of everything that decides a training step or which is best: another code, another lineage."""
    root = Path(magicapture.__file__).parent
    digest = hashlib.sha256()
    for room in _CODE:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
