"""``python -m magicapture.world.train --role ROLE --work FOLDER``: trains the mini pack, role by role.

Every training renders what it needs, goes on from its last checkpoint, logs to ``FOLDER/<role>/log.jsonl`` (and to MLflow, when
it is done) and ends by writing its files below ``FOLDER/pack``. ``--role pack`` measures them and makes the folder the embedded pack.
``--role all`` leaves out ``decoder``, which trains the autoencoder's decoder further without touching its latents.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import platform
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SMALL = ("recogniser", "judge", "referee", "detector", "parser", "clip", "aesthetic", "upscaler", "restorer", "structure")
ORDER = ("vae", "unet", *SMALL, "pack")
_TRAINERS = {
    "vae": "autoencoder.train_vae",
    "decoder": "autoencoder.train_decoder",
    "unet": "diffusion.train_unet",
    "recogniser": "recognition.train_recogniser",
    "judge": "recognition.train_judge",
    "referee": "recognition.train_referee",
    "detector": "detection.train_detector",
    "parser": "parsing.train_parser",
    "clip": "clip_training.train_clip",
    "aesthetic": "clip_training.train_aesthetic",
    "upscaler": "restoration.train_upscaler",
    "restorer": "restoration.train_restorer",
    "structure": "structure_training.train_structure",
    "pack": "card.embed",
}


def trainer(role: str) -> Callable[..., None]:
    """The function that trains ``role``: (work, *, steps, seed, device, processes), steps left out: its own number."""
    module, name = _TRAINERS[role].split(".")
    return getattr(importlib.import_module(f"magicapture.world.{module}"), name)


def note_segment(folder: Path, seed: int, device: str, pack: str | None = None) -> None:
    """One line for the model card: on which machine this run goes on from which step."""
    log, cpu = folder / "log.jsonl", Path("/proc/cpuinfo")
    start = json.loads(log.read_text().splitlines()[-1])["step"] if log.is_file() else 0
    models = re.findall(r"model name\s*: (.*)", cpu.read_text()) if cpu.is_file() else []
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "segments.jsonl", "a") as file:
        machine = f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"
        segment = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "from": start,
            "seed": seed,
            "device": device,
            "machine": machine,
        }
        if pack is not None and not log.is_file():
            segment["note"] = f"started from {pack}"
        file.write(json.dumps(segment) + "\n")


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m magicapture.world.train", description=__doc__)
    parser.add_argument("--role", required=True, choices=("all", *ORDER, "decoder"))
    parser.add_argument("--work", required=True, type=Path, help="folder of pictures, checkpoints, logs and the pack being made")
    parser.add_argument("--steps", type=int, help="optimiser updates in all (default: the role's own number)")
    parser.add_argument("--rate", type=float, help="highest learning rate (default: the role's own; lower where trained weights go on)")
    parser.add_argument("--resolution", type=int, choices=(64, 128), default=64, help="of vae, decoder and unet; a work folder each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (bf16 there)")
    parser.add_argument("--processes", type=int, default=1, help="for rendering, and for the diffusion model's data-parallel training")
    parser.add_argument("--threads", type=int, default=1, help="of torch, per process")
    parser.add_argument("--from-pack", help="start from this pack's weights where --work has no checkpoint")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import cv2
    import torch

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    pack = None
    if options.from_pack:
        from magicapture.packs import load_pack
        from magicapture.world.warm import continue_from

        pack = load_pack(options.from_pack)
        continue_from(pack, options.work)
    for role in ORDER if options.role == "all" else (options.role,):
        logging.info("%s", role)
        chosen: dict[str, Any] = {"seed": options.seed, "device": options.device, "processes": options.processes}
        chosen |= {name: getattr(options, name) for name in ("steps", "rate") if getattr(options, name) is not None}
        chosen |= {"pack": pack} if role in SMALL else {"resolution": options.resolution}
        if role == "pack":
            trainer(role)(options.work)
            continue
        origin = f"pack {pack.name} {pack.version}" if pack else None
        note_segment(options.work / role, options.seed, options.device, origin)
        trainer(role)(options.work, **chosen)
        ship(options.work / role)


def ship(folder: Path) -> None:
    """Send a role's log to MLflow (MLFLOW_TRACKING_URI, or mlflow.db in the working directory); where that fails it stays on disk."""
    from magicapture.registry import TrackingDown, ship_training

    try:
        ship_training(folder)
    except TrackingDown as error:
        logging.warning("%s. The log stays in %s.", error, folder / "log.jsonl")


if __name__ == "__main__":
    main()
