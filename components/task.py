"""Around the body of a component: what it uses of the machine, and why it failed where Kubernetes looks for it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from magicapture.artifacts import USAGE, write_text

PERIOD = 1.0  # seconds between two samples at first
POINTS = 120  # greatest number of samples that are kept; with more, every other one goes and the period doubles
# Kubernetes shows what a container writes there as the reason of its failure, and so do Argo's and Kubeflow's pages.
TERMINATION_LOG = "/dev/termination-log"
REASON_LENGTH = 2000  # Kubernetes cuts at 4096 bytes


@dataclass
class Usage:
    """What a task used. ``points`` are samples named as MLflow names its system metrics, at ``step`` seconds after the start.

    Memory is resident memory of this process in MB, CPU is in percent of one core (this process and its children); a GPU's figures are
    the whole card's.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_mb: float = 0.0
    gpu_memory_mb: float | None = None
    points: list[dict[str, float]] = field(default_factory=list)

    def numbers(self) -> dict[str, float]:
        """Totals, by name, for a metrics artifact."""
        named = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "memory_mb": self.memory_mb, "gpu_memory_mb": self.gpu_memory_mb}
        return {name: round(value, 2) for name, value in named.items() if value is not None}

    def save(self, artifact: str) -> None:
        """Leave the samples in the artifact that the task wrote, where promotion finds them for MLflow.

        Not in its metadata, which travels on the command lines of all tasks that read it.
        """
        write_text(Path(artifact, USAGE), "".join(json.dumps(point) + "\n" for point in self.points))


@contextmanager
def watched(stage: str) -> Iterator[Usage]:
    """Sample the machine while the block runs, say at its end how long it took, and leave its error in the termination log.

    The yielded usage is complete when the block has ended.
    """
    usage, sampler = Usage(), _Sampler()
    sampler.start()
    try:
        yield usage
    except Exception as error:
        explain(f"{stage}: {type(error).__name__}: {error}")
        raise
    finally:
        sampler.finish(usage)
        card = "" if usage.gpu_memory_mb is None else f", GPU {usage.gpu_memory_mb / 1000:.1f} GB"
        print(f"{stage}: {usage.seconds:.1f} s, CPU {usage.cpu_seconds:.1f} s, memory {usage.memory_mb / 1000:.1f} GB{card}", flush=True)


def explain(reason: str) -> None:
    """Write why the task failed to the termination log (MAGICAPTURE_TERMINATION_LOG in its place), where there is one."""
    path = Path(os.environ.get("MAGICAPTURE_TERMINATION_LOG") or TERMINATION_LOG)
    if path.is_file():
        try:
            with open(path, "a") as log:
                log.write(reason[:REASON_LENGTH] + "\n")
        except OSError as error:
            print(f"{path}: {error}", file=sys.stderr)


class _Sampler(threading.Thread):
    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over, self.began, self.period = threading.Event(), time.monotonic(), PERIOD
        self.cpu_began = self.cpu_last = _cpu_seconds()
        self.last = self.began
        self.points: list[dict[str, float]] = []
        self.nvidia = shutil.which("nvidia-smi")

    def run(self) -> None:
        while not self.over.wait(self.period):
            self.sample()

    def sample(self) -> None:
        now, cpu = time.monotonic(), _cpu_seconds()
        busy = 100 * (cpu - self.cpu_last) / max(now - self.last, 0.01)
        point = {"step": round(now - self.began), "system/cpu_utilization_percentage": round(busy, 1)}
        point["system/memory_usage_megabytes"] = round(_resident() / 1e6, 1)
        self.points.append(point | self.cards())
        self.last, self.cpu_last = now, cpu
        if len(self.points) > POINTS:
            del self.points[1::2]
            self.period *= 2

    def cards(self) -> dict[str, float]:
        """Utilisation in percent and memory in MB of every GPU, as the driver's own tool tells."""
        if self.nvidia is None:
            return {}
        command = [self.nvidia, "--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
            figures = {}
            for line in answer.splitlines():
                index, busy, mebibytes = (int(value) for value in line.split(","))
                figures[f"system/gpu_{index}_utilization_percentage"] = float(busy)
                figures[f"system/gpu_{index}_memory_usage_megabytes"] = round(mebibytes * 1.048576, 1)
        except (OSError, subprocess.SubprocessError, ValueError):
            self.nvidia = None  # no card, or one that does not tell: not asked again
            return {}
        return figures

    def finish(self, usage: Usage) -> None:
        self.over.set()
        self.join()
        self.sample()
        usage.points = self.points
        usage.seconds, usage.cpu_seconds = time.monotonic() - self.began, _cpu_seconds() - self.cpu_began
        usage.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        cards = [value for point in self.points for name, value in point.items() if name.startswith("system/gpu_") and "memory" in name]
        usage.gpu_memory_mb = max(cards, default=None)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
