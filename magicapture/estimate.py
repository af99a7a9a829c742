"""What a run of ``train`` would do and need, before it does it: stages, steps, pictures, files, time and memory.

Time and memory come from ``measured.json``, which ``python -m benchmarks.needs`` writes: seconds of each kind of work by pack and device,
on the machine that it names. A run's are those times its counts; nothing is estimated where nothing was measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from magicapture.config import Config

MEASURED = Path(__file__).parent / "measured.json"


@dataclass(frozen=True)
class Work:
    """One stage: ``counts`` of each kind of work in :class:`Costs`, files below the run's folder, seconds or None where not measured."""

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


def estimate(config: Config, seeds: int = 1, pictures: int = 10, concepts: int = 1) -> Estimate:
    """Of a run: ``seeds`` trainings, ``pictures`` photos and looks together, ``concepts`` pairs of person and look."""
    costs, how = _costs(config)
    works = [
        Work(stage, does, files, counts, None if costs is None else sum(costs[kind] * count for kind, count in counts.items()))
        for stage, does, files, counts in _works(config, seeds, pictures, concepts)
    ]
    seconds = None if costs is None else sum(work.seconds or 0.0 for work in works)
    return Estimate(works, seconds, None if costs is None else costs["memory_gb"], how)


def _works(config: Config, seeds: int, pictures: int, concepts: int) -> list[tuple[str, str, str, dict[str, float]]]:
    """Stage, what it does, what it writes, counts by kind of work."""
    training, tuning, generation = config.training, config.tuning, config.generation
    updates = training.rows * training.accumulation
    kinds = 2 + tuning.composed + bool(tuning.lambda_prior)
    checks = -(-tuning.steps // tuning.sample_every) if tuning.sample_every else 1
    samples = checks * max(tuning.samples, concepts)
    portraits = len(generation.prompts) * len(generation.seeds) * concepts
    baselines = 2 * max(config.evaluation.baseline_images, concepts) if config.evaluation.baseline_images else 0
    drawn = portraits + baselines
    finished = drawn if config.postprocessing.upscale or config.postprocessing.restore else 0
    each = "seed-N/" if seeds else ""
    work: list[tuple[str, str, str, dict[str, float]]] = [
        ("preprocess", f"{pictures} pictures", "prepared/", {"open": 1, "photo": pictures}),
        (
            "inversion", f"{config.inversion.steps} steps of {2 * updates} rows", f"{each}tokens/",
            {"open": seeds, "inversion_row": seeds * config.inversion.steps * updates * 2},
        ),
        (
            "tuning", f"{tuning.steps} steps of {kinds * updates} rows, {samples} samples for the judge", f"{each}adapter/",
            {
                "open": seeds,
                "tuning_row": seeds * tuning.steps * updates * kinds,
                "picture_step": seeds * (samples * generation.steps + bool(tuning.lambda_prior) * tuning.class_images * generation.steps),
            },
        ),
        (
            "generation", f"{portraits} portraits and {baselines} of the untuned model, {generation.steps} steps each", f"{each}images/",
            {"open": seeds, "picture_step": seeds * drawn * generation.steps},
        ),
        ("postprocessing", f"{finished} pictures", f"{each}portraits/", {"finish": seeds * finished}),
        ("evaluation", f"{drawn} pictures scored", f"{each}evaluation/report.html", {"open": seeds, "score": seeds * drawn}),
    ]  # fmt: skip
    return work


def _costs(config: Config) -> tuple[dict[str, float] | None, str]:
    """Seconds of each kind of work, and how they were measured."""
    from magicapture.packs import load_pack

    pack = load_pack(config.pack)
    measured = json.loads(MEASURED.read_text())
    entry = next((entry for entry in measured if entry["pack"] == pack.name and config.device in (entry["device"], "auto")), None)
    if entry is None:
        known = ", ".join(f"{each['pack']} on {each['device']}" for each in measured)
        return (None, f"pack {pack.name} on {config.device}: not measured (measured: {known}); python -m benchmarks.needs does")
    how = f"{entry['unit']} of {entry['machine']}, measured {entry['date']} with pack {entry['pack']}, times this run's counts"
    if entry["load"] > entry["cores"]:
        how += f"; that machine was busy (load {entry['load']:g} on {entry['cores']} cores), an idle one is faster"
    return entry["costs"], how
