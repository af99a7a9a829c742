"""What is installed here, and what is missing for which work: the findings of ``magicapture doctor``."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from magicapture.packs import PackError, load_pack, pack_names

LOCK = "pip install --no-deps -r requirements.lock (GPU: images/requirements-gpu.lock)"
RESTORE = "git checkout -- magicapture/packs"
# Distribution -> what needs it. The CPU stages of a cluster run without some: nothing here is needed everywhere.
PACKAGES = {
    "torch": "training, generation, evaluation",
    "diffusers": "training, generation",
    "transformers": "training, generation, evaluation",
    "peft": "training, generation",
    "insightface": "faces",
    "mlflow": "the model registry",
    "kfp": "the pipeline",
    "dvc": "data versions",
}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked for, whether it is all right, what was found, and what to do (empty when nothing).

    ``needed`` tells what the main job cannot do without from what merely adds something.
    """

    what: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def examine() -> list[Finding]:
    """Everything, in the order a person would put it right. Imports torch and onnxruntime; seconds."""
    looks: tuple[Callable[[], list[Finding]], ...] = (_machine, _packages, _runtimes, _packs, _tools, _data)
    return [finding for look in looks for finding in look()]


def _machine() -> list[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = f"Python {platform.python_version()} in {sys.prefix}; {os.cpu_count()} cores, {memory:.0f} GiB"
    remedy = "" if memory > 5.5 else "the main job wants 6 GiB of memory"
    return [Finding("machine", not remedy, found, remedy, needed=False), _installed("magicapture", "pip install --no-deps -e .", "")]


def _packages() -> list[Finding]:
    return [_installed(name, LOCK, work) for name, work in PACKAGES.items()]


def _installed(name: str, remedy: str, work: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, f"not installed{f'; needed for {work}' if work else ''}", remedy)


def _runtimes() -> list[Finding]:
    card = shutil.which("nvidia-smi") is not None
    return [_torch(card), _onnxruntime(card), _opencv()]


def _torch(card: bool) -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("device", False, f"torch does not load: {error}", f"pip install torch==2.13.0, then {LOCK}")
    if torch.cuda.is_available():
        return Finding("device", True, f"cuda ({torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda})")
    remedy = "this torch is a CPU build, or the driver is too old: install images/requirements-gpu.lock" if card else ""
    return Finding("device", not card, f"cpu, {torch.get_num_threads()} threads", remedy, needed=False)


def _onnxruntime(card: bool) -> Finding:
    names = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name, "", "").ok]
    try:
        import onnxruntime
    except ImportError:
        return Finding("onnxruntime", False, "not installed; needed for faces and post-processing", LOCK)
    providers = onnxruntime.get_available_providers()
    found = f"{', '.join(names)} {onnxruntime.__version__}: {', '.join(providers)}"
    if len(names) > 1:
        remedy = "the two overwrite each other: pip uninstall onnxruntime onnxruntime-gpu, then install one lock again"
        return Finding("onnxruntime", False, found, remedy)
    if card and "CUDAExecutionProvider" not in providers:
        return Finding("onnxruntime", False, found, "faces run on the CPU: install images/requirements-gpu.lock", needed=False)
    return Finding("onnxruntime", True, found)


def _opencv() -> Finding:
    try:
        import cv2
    except ImportError as error:
        return Finding("opencv", False, f"cv2 does not load: {error}", f"pip uninstall opencv-python opencv-python-headless, then {LOCK}")
    return Finding("opencv", True, str(cv2.__version__))


def _packs() -> list[Finding]:
    findings = []
    for name in pack_names():
        try:
            pack = load_pack(name)
            if not pack.embedded and len(pack.missing()) == len(pack.roles):
                findings.append(Finding(f"pack {name}", False, "not fetched", f"magicapture packs fetch {name}", needed=False))
                continue
            bad = {role: state for role, state in pack.verify().items() if state != "ok"}
            found = "; ".join(f"{role}: {state}" for role, state in bad.items()) or f"{pack.version}, {len(pack.roles)} roles, sha256 ok"
            remedy = "; ".join(dict.fromkeys(pack.remedy(role) for role in bad))
        except PackError as error:
            bad, found, remedy = {"pack.yaml": ""}, str(error), RESTORE
        findings.append(Finding(f"pack {name}", not bad, found, remedy, name == "mini"))
    if "mini" not in pack_names():
        findings.append(Finding("pack mini", False, "missing", RESTORE))
    return findings


def _tools() -> list[Finding]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
    return [
        _tool("git", "git", "apt-get install git"),
        Finding(
            "chromium", bool(chromium), _answer(chromium) if chromium else "missing; only the report's tests open it",
            "" if chromium else "apt-get install chromium", needed=False,
        ),
    ]  # fmt: skip


def _tool(what: str, command: str, remedy: str) -> Finding:
    path = shutil.which(command)
    return Finding(what, True, _answer(path)) if path else Finding(what, False, "missing; data and code versions are unknown", remedy)


def _answer(path: str) -> str:
    result = subprocess.run((path, "--version"), capture_output=True, text=True, timeout=30, check=False)
    lines = (result.stdout or result.stderr).strip().splitlines()
    return lines[-1] if lines else path


def _data() -> list[Finding]:
    """Only in a checkout: the tracked data's folder."""
    if not Path("data.dvc").is_file():
        return []
    count = sum(1 for path in Path("data").rglob("*.jpg"))
    return [Finding("data", count > 0, f"{count} pictures" if count else "data/ is not there", "" if count else "dvc pull", needed=False)]
