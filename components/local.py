"""Running the pipeline on this machine: kfp.local, its cache, and the results where a person looks for them."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from kfp import local
from kfp.dsl.base_component import BaseComponent

from components.values import NEEDS
from magicapture.artifacts import ArtifactError, check_out, read_manifest, subjects_of, writing
from magicapture.config import Config
from magicapture.data import is_address
from magicapture.data.address import shown
from magicapture.registry.runs import read_config, read_seeds
from magicapture.registry.tracking import tracking_uri

REPOSITORY = Path(__file__).parent.parent


def run_here(
    build: Callable[[None, int], BaseComponent],
    photos: str,
    looks: str,
    preset: str,
    overrides: Sequence[str],
    seeds: Sequence[str],
    out: Path,
    always: bool = False,
) -> Path:
    """Run the pipeline that ``build(None, parallelism)`` makes and publish the best seed's results under ``out``.

    Beside ``out`` lie ``stages`` (every artifact), ``cache`` and ``checkpoints``: they make a second run short, and a
    killed one go on where it was. Where nothing changed since the champion was made, and unless ``always``, the results of
    the run that made it are published; where that run is not at hand, the stages run all the same. Returns ``out``. Raises
    ConfigError, and ArtifactError for an ``out`` that is something else, before anything starts, RuntimeError when a stage
    fails (its own error is printed above).
    """
    began = time.monotonic()
    config = read_config(preset, overrides)
    numbers = read_seeds(seeds)
    out = out.resolve()
    check_out(out, "results")
    stages = out.parent / "stages" / f"{datetime.now():%Y%m%d-%H%M%S-%f}"  # two runs may begin in one second
    stages.mkdir(parents=True)
    # The stages run as processes of their own: they need the checkout on their path, one agreed tracking store, and a place to say
    # why they failed, which the closing task tells.
    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    os.environ["MAGICAPTURE_TERMINATION_LOG"] = str(stages / "failed.txt")
    (stages / "failed.txt").touch()
    parallel = parallel_seeds(config, len(numbers))
    # Seeds side by side share the cores: more threads than cores would spin against each other (minutes instead of seconds).
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // parallel)))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(stages), enable_caching=True, cache_root=str(out.parent / "cache"))

    def once(always: bool) -> None:
        spoken = builtins.print
        with warnings.catch_warnings(), Quiet(sys.stdout):
            warnings.simplefilter("ignore", RuntimeWarning)  # "image without 'python' in its name": subprocesses use no image
            build(None, parallel)(
                photos=photos if is_address(photos) else str(Path(photos).resolve()),
                looks=looks if is_address(looks) else str(Path(looks).resolve()),
                config=config.to_yaml(),
                seeds=[str(seed) for seed in numbers],
                checkpoints=str(out.parent / "checkpoints"),
                always=always,
            )
        builtins.print = spoken  # kfp.local indents print while a stage runs, and leaves it so where two seeds overlap

    once(always)
    lineage = read_manifest(next(stages.glob("*/resolve/run")), "run")["lineage"]
    promoted = find_promotion(stages.parent, lineage)
    if promoted is None:
        print("nothing changed, but the run that made the champion is not here: the stages run again")
        once(True)
        promoted = find_promotion(stages.parent, lineage)
    assert promoted is not None, "a run that succeeds with always=True has promoted"
    publish(promoted, out)
    print(_summary(out, stages, time.monotonic() - began))
    return out


def find_promotion(stages: Path, lineage: str) -> Path | None:
    """The newest promotion artifact of a lineage among the runs below ``stages``; one that cannot be read is said, and passed over."""
    for folder in sorted(stages.glob("*/*/promotion/promotion"), reverse=True):
        try:
            if read_manifest(folder, "promotion").get("lineage") == lineage:
                return folder
        except ArtifactError as error:
            print(f"an older run is passed over: {error}", file=sys.stderr)
    return None


def parallel_seeds(config: Config, seeds: int) -> int:
    """How many of the seeds train side by side: as many as there are cores for their threads (kfp.local stops at 2)."""
    return max(1, min(2, seeds, (os.cpu_count() or 1) // max(1, config.training.threads)))


def publish(promotion: Path, out: Path) -> None:
    """Write ``out`` as a results/1 artifact: report.html, portraits/NN-....png in rank order, the promotion's verdict."""
    manifest = read_manifest(promotion, "promotion")
    content = manifest["content"]
    best = content["candidates"][content["best"]]
    evaluation = Path(best["folders"]["evaluation"])
    items = [item for item in json.loads((evaluation / "scores.json").read_text())["items"] if item["kind"] == "portrait"]
    with writing(out, "results/1", lineage=content["lineage"], subjects=subjects_of(manifest)) as draft:
        shutil.copyfile(evaluation / "report.html", draft.path / "report.html")
        (draft.path / "portraits").mkdir()
        for place, item in enumerate(sorted(items, key=lambda item: item["rank"]), 1):
            shutil.copyfile(evaluation / item["file"], draft.path / "portraits" / f"{place:02d}.png")
        draft.content = {name: content[name] for name in ("model", "version", "champion", "reason", "previous", "run")}
        draft.content |= {"promotion": str(promotion), "seed": best["seed"], "portraits": len(items), "folders": best["folders"]}


def _summary(out: Path, stages: Path, seconds: float) -> str:
    content = read_manifest(out, "results")["content"]
    version = f"{content['model']} version {content['version']}" if content["version"] else f"{content['model']}: not registered"
    ran = {path.parent.name for path in stages.rglob("executor_output.json")}
    skipped = [name for name in NEEDS if name not in ran]
    why = "from the cache" if "promotion" in ran else "nothing changed, not run"
    crown = "champion" if content["champion"] else "not champion"
    return "\n".join(
        [
            "",
            f"report      {out / 'report.html'}",
            f"portraits   {out / 'portraits'} ({content['portraits']}, best first; seed {content['seed']})",
            f"model       {version}, {crown}: {content['reason']}",
            f"tracking    {shown(tracking_uri())}",
            *([] if content["version"] else [f"send later  magicapture track {content['promotion']}"]),
            f"took        {seconds:.0f} s" + (f"; {why}: {', '.join(skipped)}" if skipped else ""),
        ]
    )


@dataclass
class _Echo:
    """How far a thread's output is into what kfp echoes: the line that is not whole yet, the depth of braces in inputs, outputs."""

    rest: str = ""
    depth: int | None = None
    outputs: bool = False


class Quiet:
    """A standard output that leaves out what kfp says about itself: its executor's log lines, echoed inputs and outputs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.threads = threading.local()  # seeds run in threads, and each prints its stage's lines

    def __enter__(self) -> Quiet:
        sys.stdout = self  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout = self.stream

    def write(self, text: str) -> int:
        """Pass whole lines on, except kfp's echoes."""
        echo: _Echo = self.threads.__dict__.setdefault("echo", _Echo())
        *lines, echo.rest = (echo.rest + text).split("\n")
        for line in lines:
            bare = line.strip()
            echo.outputs = echo.outputs and line.startswith("    ")
            if echo.outputs:
                continue
            if echo.depth is not None:  # within the echoed inputs; braces tell their end, indentation does not
                echo.depth = (echo.depth + bare.count("{") - bare.count("}")) or None
            elif bare.startswith("[KFP Executor"):
                echo.depth = 0 if bare.endswith("Got executor_input:") else None
            elif bare.endswith(" outputs:"):
                echo.outputs = True
            elif bare and not bare.endswith("Streamed logs:"):
                self.stream.write(line + "\n")
        self.stream.flush()
        return len(text)

    def flush(self) -> None:
        """Write through."""
        self.stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)
