"""What a run of `magicapture train` needs, a kind of work at a time: the constants of `train --dry-run` (magicapture/measured.json).

    python -m benchmarks.needs PHOTOS LOOKS --preset mini

Every stage runs twice, with few and with more steps or pictures: the difference is the cost of one, the rest that of opening a stage. On
a CPU the seconds are the process's CPU seconds, which other work on the machine changes less than the wall clock's; on a GPU they are of
the wall clock. Best on a machine that does nothing else: its load is kept beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from magicapture import stages
from magicapture.artifacts import read_manifest, write_json
from magicapture.config import Config, load_config
from magicapture.estimate import MEASURED, estimate
from magicapture.packs import load_pack

FEW, MORE = 3, 9


def main() -> None:
    """Measure one preset on this machine and put it into measured.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("looks", type=Path)
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--out", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    config = load_config(
        arguments.preset, ["training.threads=1", "evaluation.baseline_images=0", "tuning.sample_every=0", "tuning.samples=1"]
    )
    clock = time.monotonic if _device(config) == "cuda" else time.process_time
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(arguments.photos, arguments.looks, Path(folder), config, clock)
    entry = {
        "pack": load_pack(config.pack).name,
        "device": _device(config),
        "machine": machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1),  # of the last 15 minutes: other work makes CPU seconds longer too
        "unit": "seconds of the wall clock" if clock is time.monotonic else f"CPU seconds, {config.training.threads} thread(s)",
        "date": datetime.now(UTC).date().isoformat(),
        "costs": costs,
    }
    kept = json.loads(arguments.out.read_text()) if arguments.out.is_file() else []
    others = [each for each in kept if (each["pack"], each["device"]) != (entry["pack"], entry["device"])]
    write_json(arguments.out, [*others, entry])
    print(json.dumps(entry, indent=2))
    print(f"the preset as it is, one seed: {estimate(load_config(arguments.preset)).seconds or 0:.0f} s")


def measure(photos: Path, looks: Path, folder: Path, config: Config, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each kind of work (``estimate._works`` counts them) and the peak of memory in GB."""

    def timed(work: Callable[..., Path], *arguments: object) -> tuple[Path, float]:
        start = clock()
        made = work(*arguments)
        return made, clock() - start

    def at(*overrides: str) -> Config:
        return load_config(config, overrides)

    prepared, preparing = timed(stages.preprocess, photos, looks, folder / "prepared", config)
    content = read_manifest(prepared, "prepared")["content"]
    pictures = len(content["source"]) + len(content["reference"])
    timed(stages.invert, prepared, folder / "warm", at("inversion.steps=1"), 0, folder / "c")  # latents are cached from here on
    inversion = [timed(stages.invert, prepared, folder / f"tokens{n}", at(f"inversion.steps={n}"), 0, folder / "c")[1] for n in (FEW, MORE)]
    tuning = [
        timed(stages.tune, prepared, folder / f"tokens{FEW}", folder / f"adapter{n}", at(f"tuning.steps={n}"), 0, folder / "c")[1]
        for n in (FEW, MORE)
    ]
    rows = config.training.rows * config.training.accumulation * (MORE - FEW)
    drawn = [timed(stages.generate, folder / f"adapter{FEW}", folder / f"images{n}", config, None, list(range(n)))[1] for n in (FEW, MORE)]
    portraits, finishing = timed(stages.postprocess, folder / f"images{MORE}", folder / "portraits", config)
    _, scoring = timed(stages.evaluate, portraits, prepared, folder / "evaluation", config)
    inversion_row = (inversion[1] - inversion[0]) / (rows * 2)
    opening = inversion[0] - FEW * rows / (MORE - FEW) * 2 * inversion_row
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {
        "open": round(max(opening, 0.0), 3),
        "photo": round(preparing / pictures, 4),
        "inversion_row": round(inversion_row, 5),
        "tuning_row": round((tuning[1] - tuning[0]) / (rows * (2 + config.tuning.composed)), 5),
        "picture_step": round((drawn[1] - drawn[0]) / ((MORE - FEW) * config.generation.steps), 5),
        "finish": round(finishing / MORE, 4),
        "score": round(scoring / MORE, 4),
        "memory_gb": round(peak, 2) if _device(config) == "cpu" else round(_cuda_peak(), 2),
    }


def _device(config: Config) -> str:
    import torch

    return "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"


def _cuda_peak() -> float:
    import torch

    return float(torch.cuda.max_memory_allocated()) / 1e9


def machine() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
