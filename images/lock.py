"""Write the lock files from what is installed: `make lock` in a venv that holds a working set.

requirements.lock (CPU), requirements-dev.lock (what linting and testing need besides) and images/requirements-gpu.lock are
the closures of pyproject.toml's extras over the installed distributions, as exact pins. They are complete: installed with
``pip install --no-deps``, because insightface asks for opencv-python and for the plain onnxruntime, whose modules the locks
take from opencv-python-headless (no libGL) and, on a GPU, from onnxruntime-gpu.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
REPLACED = {"opencv-python": "opencv-python-headless"}
# What the CUDA build of torch asks for on Linux: not installed on the CPU machine the locks are written on.
# From `pip install --dry-run --ignore-installed torch==2.13.0`; the same CUDA 13 and cuDNN 9 serve onnxruntime-gpu.
CUDA = """cuda-bindings==13.5.0
cuda-pathfinder==1.9.0
cuda-toolkit==13.0.3.0
nvidia-cublas==13.1.1.3
nvidia-cuda-cupti==13.0.85
nvidia-cuda-nvrtc==13.0.88
nvidia-cuda-runtime==13.0.96
nvidia-cudnn-cu13==9.20.0.48
nvidia-cufft==12.0.0.61
nvidia-cufile==1.15.1.6
nvidia-curand==10.4.0.35
nvidia-cusolver==12.0.4.66
nvidia-cusparse==12.6.3.3
nvidia-cusparselt-cu13==0.8.1
nvidia-nccl-cu13==2.29.7
nvidia-nvjitlink==13.5.37
nvidia-nvshmem-cu13==3.4.5
nvidia-nvtx==13.0.85
triton==3.7.1""".splitlines()


def closure(wanted: Iterable[str]) -> dict[str, str]:
    """Name -> version of every distribution that the requirement strings need, theirs included, as installed here.

    Raises SystemExit naming what is not installed.
    """
    pins: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        asked = canonicalize_name(requirement.name)
        name = REPLACED.get(asked, asked)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{requirement} is not installed in {sys.prefix}: install it, then lock again") from None
        # The lock names the public version: 2.13.0 is satisfied by the local build 2.13.0+cpu.
        pins[found.metadata["Name"].lower().replace("_", "-")] = found.version.partition("+")[0]
        for text in found.requires or []:
            child = Requirement(text)
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
                waiting.append(child)
    return pins


def locks() -> dict[str, str]:
    """Path below the repository -> text of each lock file."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    build: list[str] = settings["build-system"]["requires"]
    extras = project["optional-dependencies"]
    stages = [text for name, texts in extras.items() if name not in ("all", "dev") for text in texts]
    cpu = closure([*project["dependencies"], *stages, *build])
    dev = {name: version for name, version in closure(extras["dev"]).items() if name not in cpu}
    gpu = {**cpu, "onnxruntime-gpu": cpu["onnxruntime"]}
    del gpu["onnxruntime"]
    return {
        name: f"# {title}. Written by images/lock.py (`make lock`).\n# pip install --no-deps -r {name}\n" + "\n".join(sorted(pins)) + "\n"
        for name, title, pins in (
            ("requirements.lock", "Everything MagiCapture needs, on the CPU", _pins(cpu)),
            ("requirements-dev.lock", "Besides requirements.lock: linting and testing", _pins(dev)),
            ("images/requirements-gpu.lock", "Everything MagiCapture needs, on an NVIDIA GPU (CUDA 13)", _pins(gpu) + CUDA),
        )
    }


def _pins(versions: dict[str, str]) -> list[str]:
    return [f"{name}=={version}" for name, version in versions.items()]


if __name__ == "__main__":
    for name, text in locks().items():
        (ROOT / name).write_text(text)
        print(f"{name}: {text.count('==')} pins")
