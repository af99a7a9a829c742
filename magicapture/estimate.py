"""What a run of ``train`` would do and need, before it does it: stages, steps, pictures, files, time and memory.

Time and memory come from ``measured.json``, which ``python -m benchmarks.needs`` writes: seconds of each kind of work by pack and device,
on the machine that it names. A run's are those times its counts; nothing is estimated where nothing was measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from magicapture.config import Config
from magicapture.data import is_address
from magicapture.packs import PackError, load_pack
from magicapture.search import planned

MEASURED = Path(__file__).parent / "measured.json"


@dataclass(frozen=True)
class Work:
    """One stage: files below the run's folder, ``counts`` of each kind of work in ``measured.json``, seconds (None: not measured)."""

    stage: str
    does: str
    files: str
    counts: dict[str, float] = field(repr=False)
    seconds: float | None = None


@dataclass(frozen=True)
class Estimate:
    """All stages of a run (those of a seed count once a seed), and what they need together."""

    stages: list[Work]
    seconds: float | None
    memory: float | None  # GB
    how: str  # how it was estimated, or why not
    unit: str  # of the seconds
    times: float = 1.0  # training steps, of a search as multiples of those of one run


def estimate(config: Config, pictures: int = 10, concepts: int = 1) -> Estimate:
    """Of a run: ``pictures`` photos and looks together, ``concepts`` pairs of person and look; of a search all that it plans."""
    costs, unit, how = _costs(config)
    works = _works(config, pictures, concepts)
    if costs is None:
        return Estimate(works, None, None, how, unit, _times(config))
    works = [replace(work, seconds=sum(costs[kind] * count for kind, count in work.counts.items())) for work in works]
    return Estimate(works, sum(work.seconds or 0.0 for work in works), costs["memory_gb"], how, unit, _times(config))


def obstacles(config: Config, photos: str, looks: str, out: Path) -> list[str]:
    """What would stop a run before its first step, as far as a look at files tells; empty: nothing.

    Folders without pictures, or that cannot be a run's together; weights that are not there; no CUDA device where one is asked for; an
    ``out`` that cannot be written to. Nothing is fetched or hashed for it. Raises PackError for a pack that is none.
    """
    from magicapture.references.decode import check_folders, scan_concepts
    from magicapture.references.errors import ReferencesError

    found = []
    folders = {what: Path(place) for what, place in (("photos", photos), ("looks", looks)) if not is_address(place)}
    checks: list[Callable[[], object]] = [partial(scan_concepts, folder, what) for what, folder in folders.items()]
    if len(folders) == 2:
        checks.append(partial(check_folders, folders["photos"], folders["looks"], out / "prepared"))
    pack = load_pack(config.pack)
    if _uses_identity(config):
        checks.append(partial(pack.path, f"{config.tuning.recogniser}_torch"))
    for check in checks:
        try:
            check()
        except (ReferencesError, PackError) as error:
            found.append(str(error))
    missing: dict[str, list[str]] = {}
    for role in sorted(_roles(config) & set(pack.missing())):
        missing.setdefault(pack.remedy(role), []).append(role)
    found += [f"pack {pack.name!r}: no {', '.join(roles)}; {remedy}" for remedy, roles in missing.items()]
    if config.device == "cuda":
        from magicapture.backbones import BackboneError, resolve_device
        from magicapture.faces.runtime import DeviceError, providers

        for runs in (resolve_device, providers):  # torch and, for the face networks, onnxruntime
            try:
                runs("cuda")
            except (BackboneError, DeviceError) as error:
                found.append(str(error))
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        found.append(f"out ({out}): {place} is no folder that can be written to; give another")
    return found


def _roles(config: Config) -> set[str]:
    """The pack's roles that a run reads, but for the network of the identity loss."""
    tuning, finishing = config.tuning, config.postprocessing
    of_things = tuning.composed and bool(tuning.lambda_structure or tuning.lambda_contrast or tuning.lambda_appearance)
    used = {"upscaler": finishing.upscale, "restorer": finishing.restore, "structure": of_things}
    faces = () if config.preprocess.region == "object" else ("detector", "parser", "recogniser", "judge", "referee")
    return {"diffusion", "clip", "aesthetic", *faces, *(role for role, wanted in used.items() if wanted)}


def _uses_identity(config: Config) -> bool:
    return config.tuning.lambda_identity > 0 and config.tuning.composed


def _works(config: Config, pictures: int, concepts: int) -> list[Work]:
    """Every stage, its seconds left open."""
    generation, trained = config.generation, planned(config)
    inversions = {candidate.tokens: candidate.config for candidate, _ in trained}.values()
    portraits = len(generation.prompts) * len(generation.seeds) * concepts
    baselines = 2 * max(config.evaluation.baseline_images, concepts) if config.evaluation.baseline_images else 0
    drawn = portraits + baselines
    finished = drawn if config.postprocessing.upscale or config.postprocessing.restore else 0
    samples = sum(_checks(candidate.config, steps) * max(candidate.config.tuning.samples, concepts) for candidate, steps in trained)
    classes = sum(candidate.config.tuning.class_images for candidate, _ in trained if candidate.config.tuning.lambda_prior)
    together = f", {len(trained)} candidates together" if len(trained) > 1 else ""
    inverted, tuned = sum(each.inversion.steps for each in inversions), sum(steps for _, steps in trained)
    return [
        Work("preprocess", f"{pictures} pictures", "prepared/", {"open": 1, "photo": pictures}),
        Work(
            "inversion", f"{inverted} steps of {2 * _updates(config)} rows", "seed-N/tokens/",
            {"open": len(inversions), "inversion_row": sum(each.inversion.steps * _updates(each) * 2 for each in inversions)},
        ),
        Work(
            "tuning", f"{tuned} steps of {_kinds(config) * _updates(config)} rows, {samples} samples for the judge{together}",
            "seed-N/adapter/",
            {
                "open": len(trained),
                "tuning_row": sum(steps * _updates(each.config) * _kinds(each.config) for each, steps in trained),
                "picture_step": (samples + classes) * generation.steps,
            },
        ),
        Work(
            "generation", f"{portraits} portraits and {baselines} of the untuned model, {generation.steps} steps each", "seed-N/images/",
            {"open": 1, "picture_step": drawn * generation.steps},
        ),
        Work("postprocessing", f"{finished} pictures", "seed-N/portraits/", {"finish": finished}),
        Work("evaluation", f"{drawn} pictures scored", "seed-N/evaluation/report.html", {"open": 1, "score": drawn}),
    ]  # fmt: skip


def _times(config: Config) -> float:
    trained = planned(config)
    inversions = {candidate.tokens: candidate.config.inversion.steps for candidate, _ in trained}
    one = trained[0][0].config
    steps = sum(inversions.values()) + sum(steps for _, steps in trained)
    return steps / max(1, one.inversion.steps + one.tuning.steps)


def _updates(config: Config) -> int:
    return config.training.rows * config.training.accumulation


def _kinds(config: Config) -> int:
    """Of rows in a step of tuning."""
    return 2 + config.tuning.composed + bool(config.tuning.lambda_prior)


def _checks(config: Config, steps: int) -> int:
    every = config.tuning.sample_every
    return -(-steps // every) if every else 1


def _costs(config: Config) -> tuple[dict[str, float] | None, str, str]:
    """Seconds of each kind of work, their unit, and how they were measured."""
    pack = load_pack(config.pack)
    measured = json.loads(MEASURED.read_text())
    entry = next((entry for entry in measured if entry["pack"] == pack.name and config.device in (entry["device"], "auto")), None)
    if entry is None:
        known = ", ".join(f"{each['pack']} on {each['device']}" for each in measured)
        return None, "", (f"pack {pack.name} on {config.device}: not measured (measured: {known}); python -m benchmarks.needs does")
    how = f"{entry['unit']} of {entry['machine']}, measured {entry['date']} with pack {entry['pack']}, times this run's counts"
    if entry["load"] > entry["cores"]:
        how += f"; that machine was busy (load {entry['load']:g} on {entry['cores']} cores), an idle one is faster"
    return entry["costs"], entry["unit"], how
