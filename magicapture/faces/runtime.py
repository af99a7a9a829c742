"""ONNX Runtime sessions: on the device that was asked for, and never silently on another."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import onnxruntime

from magicapture.packs import PackError

logger = logging.getLogger(__name__)

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
SMALL = 16 << 20  # bytes


class DeviceError(RuntimeError):
    """The device that was asked for is not to be had: says why, and what to do."""


def options(path: Path) -> onnxruntime.SessionOptions:
    """Session options of a network's file, with as many intra-op threads as :func:`threads_for` it."""
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads_for(path)
    chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 3
    return chosen


def providers(device: str = "cpu") -> list[str]:
    """Execution providers for "cpu", "cuda" or "auto" (CUDA where this onnxruntime has it). Raises DeviceError."""
    if device == "cpu":
        return [CPU]
    if CUDA in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls()
        return [CUDA, CPU]
    if device == "cuda":
        raise DeviceError("device: cuda was asked for, but this onnxruntime has no CUDA; install the GPU lock file, or set device: cpu")
    return [CPU]


def threads_for(path: Path) -> int:
    """One for a small network, which is faster so; for a large one as many as this process is meant to use (OMP_NUM_THREADS, else all)."""
    if not path.is_file() or path.stat().st_size < SMALL:
        return 1
    told = re.match(r"\d+", os.environ.get("OMP_NUM_THREADS", ""))
    return int(told[0]) if told else os.cpu_count() or 1


def session(path: str | Path, device: str = "cpu") -> onnxruntime.InferenceSession:
    """Load an ONNX file. Raises PackError for a file that is no model, DeviceError when ``device`` "cuda" was not obtained."""
    wanted = providers(device)
    try:
        made = onnxruntime.InferenceSession(str(path), sess_options=options(Path(path)), providers=wanted)
    except Exception as error:  # onnxruntime's own exception classes share no public base
        raise PackError(f"{path} is not a usable ONNX model ({error}); restore the file, then `magicapture packs verify`") from error
    check(made, device)
    return made


def check(made: onnxruntime.InferenceSession, device: str) -> None:
    """Raise DeviceError when CUDA was asked for and the session runs without it (onnxruntime falls back without an exception)."""
    running = made.get_providers()
    if CUDA in running or device == "cpu":
        return
    if device == "cuda":
        raise DeviceError(
            f"device: cuda was asked for, but onnxruntime runs on {running}: its CUDA or cuDNN libraries do not load; "
            "`magicapture doctor` says which, or set device: cpu"
        )
    if CUDA in onnxruntime.get_available_providers():
        logger.warning("onnxruntime fell back to %s: its CUDA or cuDNN libraries do not load", running)
