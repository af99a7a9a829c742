"""Opening and closing a pipeline run: configuration, lineage and the MLflow parent run; both ends are never cached."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from magicapture.artifacts import SUBJECTS, lineage_key, writing
from magicapture.config import Config, ConfigError, Search, load_config
from magicapture.mappings import flatten
from magicapture.registry.lineage import run_lineage, stage_config
from magicapture.registry.tracking import Tracker, TrackingDown

JOB_TAG = "pipeline.job"
URL_TAG = "pipeline.url"
STATUSES = {"SUCCEEDED": "FINISHED", "FAILED": "FAILED", "CANCELLED": "KILLED"}

logger = logging.getLogger(__name__)


class Plan(NamedTuple):
    """What the stages of a run are given; nothing in it changes while data, knobs and code stay the same.

    ``data`` and ``code`` (source and pack) are hashes that make an edit visible to the cache; the others are the knobs of
    each stage as JSON. ``evaluation`` holds all knobs and serves promotion too.
    """

    data: str
    code: str
    preprocess: str
    inversion: str
    tuning: str
    generation: str
    postprocessing: str
    evaluation: str


def resolve(
    photos: str | Path,
    looks: str | Path,
    config: str,
    overrides: Sequence[str],
    seeds: Sequence[str],
    job: str,
    out: str | Path,
    url: str = "",
) -> Plan:
    """Validate the knobs, name data and code, open the MLflow parent run, and write ``out`` as a ``run/1`` artifact.

    ``config`` is a preset name, a path, or the YAML itself; ``job`` is a unique id of this pipeline run, by which
    :func:`close` finds the parent run, and ``url`` the page where a person looks at it ("" where there is none). The artifact
    holds {job, run (MLflow id, null when tracking is down), reason, tags}. Raises ConfigError or ArtifactError; a tracking
    server that is down is recorded and stops nothing.
    """
    knobs = read_config(config, overrides)
    numbers = read_seeds(seeds)
    tags = run_lineage(photos, looks, knobs, numbers)
    run, reason = None, None
    try:
        tracker = Tracker.connect()
        with tracker.guarded():
            link = {URL_TAG: url, "mlflow.note.content": f"[The pipeline run {job}]({url})"} if url else {}
            run = tracker.open_run(f"{knobs.promotion.subject} {tags['lineage'][:8]}", tags | {JOB_TAG: job} | link)
            tracker.log_params(run, {name: str(value) for name, value in flatten(knobs.model_dump(mode="json")).items()})
    except TrackingDown as error:
        reason = str(error)
        logger.warning("%s. The run goes on; its metrics stay on disk and are sent at promotion or by `magicapture track`.", reason)
    whose: dict[str, list[str]] = {name: [] for name in json.loads(tags[SUBJECTS])}
    with writing(out, "run/1", lineage=tags["lineage"], config=knobs.model_dump(mode="json"), subjects=whose) as draft:
        draft.content = {"job": job, "run": run, "reason": reason, "tags": tags}
    return Plan(
        data=tags["data.hash"],
        code=lineage_key(tags["code.hash"], tags["pack.digest"]),
        **{stage: stage_config(knobs, stage) for stage in Plan._fields[2:]},
    )


def close(job: str, state: str) -> None:
    """End the parent run of a pipeline run with the pipeline's final state (SUCCEEDED, FAILED or CANCELLED), and children that were cut
    short; those that ended keep their own."""
    try:
        tracker = Tracker.connect()
        with tracker.guarded():
            for run in {*tracker.find_runs(JOB_TAG, job, parents=True), *tracker.find_runs(JOB_TAG, job, running=True)}:
                tracker.close_run(run, STATUSES.get(state, "FAILED"))
    except TrackingDown as error:
        logger.warning("%s. The parent run could not be closed.", error)


def read_config(config: str, overrides: Sequence[str]) -> Config:
    """Knobs from a preset name, a path, or YAML text (anything with a colon and a line of its own).

    Raises ConfigError, also for a search, which the pipeline would not make.
    """
    try:
        data = yaml.safe_load(config) if ":" in config else None
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the configuration is not valid YAML: {' '.join(str(error).split())}; expected the name of a preset, a file, or YAML"
        ) from None
    knobs = load_config(data if isinstance(data, dict) else config, overrides)
    if knobs.search != Search():
        raise ConfigError(
            "the pipeline makes no search: it trains each of its seeds to the end and promotes the best; leave the section search out and "
            "name the seeds to it, or search on one machine with `magicapture train`"
        )
    return knobs


def read_seeds(seeds: Sequence[str]) -> list[int]:
    """Distinct integers from their texts. Raises ConfigError naming what is wrong."""
    try:
        numbers = [int(seed) for seed in seeds]
    except (TypeError, ValueError):
        raise ConfigError(f"seeds {list(seeds)!r}: expected whole numbers, for example 0,1") from None
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise ConfigError(f"seeds {list(seeds)!r}: expected at least one number >= 0, each once")
    return numbers
