"""Write the lock files from what is installed: `make lock` in a venv that holds a working set.

requirements.lock (CPU), requirements-dev.lock (what linting and testing need besides) and images/requirements-gpu.lock are
the closures of pyproject.toml's extras over the installed distributions, as exact pins. They are complete: installed with
``pip install --no-deps``, because insightface asks for opencv-python and for the plain onnxruntime, whose modules the locks
take from opencv-python-headless (no libGL) and, on a GPU, from onnxruntime-gpu.

images/locks holds a complete lock for every image and device (training-gpu.txt), made of the layers that images share
(layers/torch-gpu.txt), so that no pin is written twice and a node that has one image holds most of the next.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
REPLACED = {"opencv-python": "opencv-python-headless"}
# What onnxruntime-gpu loads, and torch too: CUDA 13 and cuDNN 9. The versions are those that torch asks for on Linux, from
# `pip install --dry-run --ignore-installed torch==2.13.0`: none of it is installed on the CPU machine the locks are written on.
CUDA = """nvidia-cublas==13.1.1.3
nvidia-cuda-nvrtc==13.0.88
nvidia-cuda-runtime==13.0.96
nvidia-cudnn-cu13==9.20.0.48
nvidia-cufft==12.0.0.61
nvidia-curand==10.4.0.35
nvidia-nvjitlink==13.5.37""".splitlines()
# What torch alone needs besides.
TORCH_CUDA = """cuda-bindings==13.5.0
cuda-pathfinder==1.9.0
cuda-toolkit==13.0.3.0
nvidia-cuda-cupti==13.0.85
nvidia-cufile==1.15.1.6
nvidia-cusolver==12.0.4.66
nvidia-cusparse==12.6.3.3
nvidia-cusparselt-cu13==0.8.1
nvidia-nccl-cu13==2.29.7
nvidia-nvshmem-cu13==3.4.5
nvidia-nvtx==13.0.85
triton==3.7.1""".splitlines()
# Layer -> what it is for; the base lies under all of them and holds of Kubeflow only the executor, which needs nothing else.
BASE = "base"
LAYERS = {
    "faces": ("insightface", "onnxruntime", "Jinja2"),
    "torch": ("torch", "transformers"),
    "diffusion": ("diffusers", "peft", "accelerate"),
    "tracking": ("mlflow-skinny", "pandas"),
    "data": ("dvc[s3,gs]",),
}
# Image -> its layers on the base; the targets of images/Dockerfile.
IMAGES = {
    "preprocess": ("faces", "data"),
    "training": ("faces", "torch", "diffusion"),
    "generation": ("torch", "diffusion"),
    "postprocessing": ("faces",),
    "evaluation": ("faces", "torch"),
    "registry": ("tracking", "data"),
}
Pins = dict[str, str]


def closure(wanted: Iterable[str]) -> Pins:
    """Name -> version of every distribution that the requirement strings need, theirs included, as installed here.

    Raises SystemExit naming what is not installed.
    """
    pins: Pins = {}
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
    dev = _without(closure(extras["dev"]), cpu)
    gpu = on_gpu(cpu) | _read(CUDA + TORCH_CUDA)
    whole = {
        "requirements.lock": ("Everything MagiCapture needs, on the CPU", cpu),
        "requirements-dev.lock": ("Besides requirements.lock: linting and testing", dev),
        "images/requirements-gpu.lock": ("Everything MagiCapture needs, on an NVIDIA GPU (CUDA 13)", gpu),
    }
    return {name: _text(name, title, pins) for name, (title, pins) in whole.items()} | _image_locks(project["dependencies"])


def on_gpu(pins: Mapping[str, str]) -> Pins:
    """The same packages with the ONNX runtime for CUDA, whose version is the plain one's."""
    return {f"{name}-gpu" if name == "onnxruntime" else name: version for name, version in pins.items()}


def _image_locks(dependencies: Iterable[str]) -> dict[str, str]:
    base = closure(dependencies) | {name: closure([name])[name] for name in ("kfp", "typing-extensions")}
    plain = {name: _without(closure(wanted), base) for name, wanted in LAYERS.items()}
    plain["diffusion"] = _without(plain["diffusion"], plain["torch"])
    layers = {BASE: base, "cuda": _read(CUDA), "diffusion": plain["diffusion"], "tracking": plain["tracking"], "data": plain["data"]}
    # The CPU's torch is the build of that name: the plain version on the common index is CUDA's, and fails without its libraries.
    layers |= {"faces-cpu": plain["faces"], "torch-cpu": plain["torch"] | {"torch": f"{plain['torch']['torch']}+cpu"}}
    layers |= {"faces-gpu": on_gpu(plain["faces"]), "torch-gpu": plain["torch"] | _read(TORCH_CUDA)}
    texts = {f"images/locks/layers/{name}.txt": _text("", "Shared by the images that name it", pins) for name, pins in layers.items()}
    for image, parts in IMAGES.items():
        for device in ("cpu", "gpu"):
            files = [BASE, *(["cuda"] if device == "gpu" else []), *(p if p in layers else f"{p}-{device}" for p in parts)]
            name = f"images/locks/{image}-{device}.txt"
            if device == "cpu" or "tracking" not in parts:  # the registry computes nothing
                texts[name] = _head(name, f"Everything the image {image} holds ({device})") + "".join(f"-r layers/{f}.txt\n" for f in files)
    return texts


def _without(pins: Mapping[str, str], known: Iterable[str]) -> Pins:
    return {name: version for name, version in pins.items() if name not in known}


def _read(lines: Iterable[str]) -> Pins:
    return dict(line.split("==") for line in lines)


def _head(name: str, title: str) -> str:
    return f"# {title}. Written by images/lock.py (`make lock`).\n" + (f"# pip install --no-deps -r {name}\n" if name else "")


def _text(name: str, title: str, pins: Mapping[str, str]) -> str:
    return _head(name, title) + "".join(f"{line}\n" for line in sorted(f"{name}=={version}" for name, version in pins.items()))


if __name__ == "__main__":
    for name, text in locks().items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text)
        print(f"{name}: {text.count('==')} pins")
