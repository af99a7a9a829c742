"""Promotion: ship every stage to MLflow, register the best candidate, move the champion's alias or say why not.

When the tracking server is down nothing is lost: the artifacts are copied into the promotion artifact's ``outbox`` and
:func:`track` sends them later. In a cluster the task fails instead: it is tried again, and its inputs are kept by Kubeflow.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicapture.artifacts import MANIFEST, SUBJECTS, ArtifactError, kind_of, lineage_key, read_manifest, subjects_of, writing
from magicapture.config import Config, load_config
from magicapture.registry.contents import STAGES, StageRecord, read_stage
from magicapture.registry.decision import CANDIDATES, ScoreAgain, decide
from magicapture.registry.gate import Scores, best_of, read_scores
from magicapture.registry.lease import in_cluster
from magicapture.registry.lineage import code_lineage, subjects_tag
from magicapture.registry.lock import model_lock
from magicapture.registry.models import WEIGHTS, find_version, model_name, register
from magicapture.registry.runs import JOB_TAG
from magicapture.registry.tracking import Tracker, TrackingDown

OUTBOX = "outbox"
HOLDER_TAG = "promotion.of"  # of the run that holds a version: its parent and the hash of its weights
TAG_LENGTH = 8000  # MLflow's limit for a run's tag
Given = str | Path | Mapping[str, str | Path]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """What one training seed came to: folder of each artifact kind, and its scores. ``half``: selection and identity of the better half
    of its portraits, by which the best is chosen."""

    seed: str
    folders: dict[str, Path]
    scores: Scores
    half: dict[str, float]


@dataclass(frozen=True)
class Batch:
    """All that a pipeline run leaves to promotion, read and checked before anything is sent; ``best``: index of the one to register."""

    candidates: list[Candidate]
    best: int
    stages: list[StageRecord]
    tags: dict[str, str]
    run: str | None
    subjects: dict[str, list[str]]


def promote(
    candidates: Sequence[Given],
    out: str | Path,
    config: Config | str | Path,
    run: str | Path | None = None,
    score_again: ScoreAgain | None = None,
) -> Path:
    """Register the best of the candidates and decide on the champion; writes a ``promotion/1`` artifact.

    A candidate maps artifact kinds to folders: ``adapter`` and ``evaluation`` are needed; ``prepared``, ``tokens``,
    ``images`` and ``portraits`` are logged too where given. An evaluation's folder alone stands for it and the artifacts
    beside it. ``run`` is the ``run/1`` artifact of the pipeline run;
    without it a parent run is opened here. The same lineage with the same weights promoted twice is one version; weights trained anew,
    whose scores say nothing of the old ones, are another. ``score_again`` draws and scores a champion whose scores are of another
    protocol.
    Content: {model, version (null when tracking is down), champion, outcome, reason, previous, lineage, run, best (index),
    candidates: [{seed, selection, identity, protocol, folders}]}. Raises ArtifactError for artifacts that do not fit, TrackingDown within
    a cluster.
    """
    knobs = load_config(config)
    batch = _read(candidates, run)
    outcome = _send_or_explain(batch, knobs, closing=run is None, score_again=score_again)
    settings = knobs.model_dump(mode="json")
    with writing(out, "promotion/1", lineage=batch.tags["lineage"], config=settings, subjects=batch.subjects) as draft:
        draft.content = outcome | {"lineage": batch.tags["lineage"], "tags": batch.tags, "best": batch.best, "candidates": _listed(batch)}
        if outcome["version"] is None:
            draft.content["outbox"] = _keep(batch, draft.path)
    return Path(out)


def track(folder: str | Path) -> str:
    """Send what a promotion kept while the tracking server was down; returns a sentence on what happened.

    The promotion artifact is written anew, with version and verdict and without its outbox. Raises TrackingDown when
    the server still does not answer (the folder is then as it was) and ArtifactError for another kind of folder.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, "promotion")
    content: dict[str, Any] = manifest["content"]
    if "outbox" not in content:
        return f"{folder}: nothing to send; version {content['version']} of {content['model']} is registered"
    kept = [{kind: folder / path for kind, path in entry.items()} for entry in content["outbox"]]
    batch = _read(kept, None, content["tags"], content["run"])
    outcome = _send(batch, load_config(manifest["config"]), closing=True)
    whose = subjects_of(manifest)
    with writing(folder, "promotion/1", lineage=manifest["lineage"], config=manifest["config"], subjects=whose) as draft:
        draft.content = {name: value for name, value in content.items() if name != "outbox"} | outcome
    return f"{folder}: sent {len(batch.stages)} stages; {outcome['model']} version {outcome['version']}: {outcome['reason']}"


def _read(given: Sequence[Given], run: str | Path | None, tags: dict[str, str] | None = None, parent: str | None = None) -> Batch:
    if not given:
        raise ArtifactError("no candidates to promote; expected at least one {'adapter': folder, 'evaluation': folder}")
    candidates = [_candidate(_folders(one)) for one in given]
    seeds = [candidate.seed for candidate in candidates]
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice and tags is None:  # what an older outbox holds is sent as it is
        named = ", ".join(str(candidate.folders["adapter"]) for candidate in candidates)
        raise ArtifactError(
            f"several candidates are of training seed {', '.join(twice)}: {named}; expected one of each seed, by which its runs are named: "
            "give the better one alone"
        )
    stages = []
    for number, candidate in enumerate(candidates):
        for kind, folder in candidate.folders.items():
            if kind != "prepared" or number == 0:  # one prepared set serves every seed
                stages.append(read_stage(kind, folder, "" if kind == "prepared" else candidate.seed))
    if run is not None:
        content = read_manifest(run, "run")["content"]
        tags, parent = content["tags"] | {JOB_TAG: content["job"]}, content["run"]
    if tags is None:
        hashes = [_weights(record) for record in stages if record.stage == "tuning"]
        protocols = [candidate.scores.protocol for candidate in candidates]
        tags = code_lineage() | {"lineage": lineage_key(*hashes, *protocols), "seeds": ",".join(seeds)}
    whose = subjects_of(*(read_manifest(folder, kind) for candidate in candidates for kind, folder in candidate.folders.items()))
    if whose:
        tags = tags | {SUBJECTS: subjects_tag(whose)}
    best = best_of([candidate.scores for candidate in candidates], [candidate.half["selection"] for candidate in candidates])
    return Batch(candidates, best, stages, tags, parent, whose)


def _weights(tuning: StageRecord) -> str:
    """The hash of an adapter's tensors; of one that records none, the id of its making."""
    return tuning.tags.get(WEIGHTS, tuning.made)


def _candidate(folders: Mapping[str, Path]) -> Candidate:
    """Raises ArtifactError for kinds that are missing or of no stage, and for artifacts that cannot be read."""
    unknown, missing = set(folders) - set(STAGES), {"adapter", "evaluation"} - set(folders)
    if unknown or missing:
        raise ArtifactError(f"candidate {folders}: needs adapter and evaluation, may have {', '.join(STAGES)}")
    evaluated = read_manifest(folders["evaluation"], "evaluation")["content"]
    return Candidate(
        seed=str(read_manifest(folders["adapter"], "adapter")["content"]["seed"]),
        folders={kind: folders[kind] for kind in STAGES if kind in folders},
        scores=read_scores(folders["evaluation"]),
        half={name: evaluated[name] or 0.0 for name in ("selection", "identity")},
    )


def _folders(candidate: Given) -> dict[str, Path]:
    """Artifact kind -> folder; beside an evaluation, and one folder further out, lie the others."""
    if isinstance(candidate, Mapping):
        return {kind: Path(folder) for kind, folder in candidate.items()}
    evaluation = Path(candidate)
    read_manifest(evaluation, "evaluation")
    found = {}
    for manifest in (*evaluation.parent.parent.glob(f"*/{MANIFEST}"), *evaluation.parent.glob(f"*/{MANIFEST}")):
        kind = _kind(manifest.parent)
        if kind in STAGES:
            found[kind] = manifest.parent
    return found | {"evaluation": evaluation}


def _kind(folder: Path) -> str:
    """Of an artifact; "" of another tool's manifest.json."""
    try:
        return kind_of(folder)
    except ArtifactError:
        return ""


def _send_or_explain(batch: Batch, config: Config, closing: bool, score_again: ScoreAgain | None) -> dict[str, Any]:
    try:
        return _send(batch, config, closing, score_again)
    except TrackingDown as error:
        if in_cluster():  # the task is tried again on inputs that Kubeflow keeps; a green run would hide that nothing was registered
            raise
        logger.warning("%s. Everything is kept in the promotion artifact; send it later with `magicapture track FOLDER`.", error)
        nothing = {"version": None, "champion": False, "outcome": None, "previous": None}
        return {"model": model_name(config), **nothing, "reason": str(error), "run": batch.run}


def _send(batch: Batch, config: Config, closing: bool, score_again: ScoreAgain | None = None) -> dict[str, Any]:
    """Log stages, register the best, decide. Every step finds what an earlier, interrupted attempt already did.

    ``closing`` ends the parent run: within a pipeline its exit handler does.
    """
    name, lineage = model_name(config), batch.tags["lineage"]
    tracker = Tracker.connect()
    with tracker.guarded():
        parent = batch.run or _parent(tracker, batch, f"{config.promotion.subject} {lineage[:8]}")
        runs = {record.name: tracker.log_stage(parent, record, batch.tags) for record in batch.stages}
        best = batch.candidates[batch.best]
        with model_lock(name, tracker.uri, config.promotion.lock_wait):
            weights = _weights(next(record for record in batch.stages if (record.stage, record.seed) == ("tuning", best.seed)))
            version = find_version(tracker, name, lineage, weights)
            known = version is not None
            if version is None:
                origins = {f"{stage}.run": runs[f"{stage} seed {best.seed}"] for stage in ("tuning", "evaluation")}
                own = {"seed": best.seed, WEIGHTS: weights, CANDIDATES: str(len(batch.candidates))}
                tags = {**batch.tags, **best.scores.tags(), **origins, **own}
                cut_short = tracker.find_runs(HOLDER_TAG, f"{parent} {weights}")
                held = {**tags, "mlflow.parentRunId": parent, HOLDER_TAG: f"{parent} {weights}"}
                holder = cut_short[0] if cut_short else tracker.open_run("promotion", held)
                version = register(tracker, name, best.folders, config, holder, tags, best.scores)
        decision = decide(tracker, name, version, best.scores, config, best.folders.get("prepared"), score_again)
        reason = decision.reason
        if known and decision.previous != version:
            reason += f" (version {version} of the same lineage was registered before)"
        told = {"model": name, "model.version": version, "champion": str(decision.champion).lower(), "outcome": decision.outcome}
        for tag, value in (told | {"reason": reason}).items():
            tracker.client.set_tag(parent, f"promotion.{tag}", value[:TAG_LENGTH])
        tracker.log_metrics(parent, [(measure, value, 0) for measure, value in best.half.items()], batch.stages[-1].time_ms)
        if closing:
            tracker.close_run(parent, "FINISHED")
    return {
        "model": name, "version": version, "champion": decision.champion, "outcome": decision.outcome, "reason": reason,
        "previous": decision.previous, "run": parent,
    }  # fmt: skip


def _parent(tracker: Tracker, batch: Batch, name: str) -> str:
    """The run that an earlier attempt at the same has opened and not ended; else a new one."""
    tag = JOB_TAG if JOB_TAG in batch.tags else "lineage"
    left = tracker.find_runs(tag, batch.tags[tag], parents=True, running=True)
    return left[0] if left else tracker.open_run(name, batch.tags)


def _listed(batch: Batch) -> list[dict[str, Any]]:
    return [
        {
            "seed": candidate.seed,
            **candidate.half,
            "protocol": candidate.scores.protocol,
            "folders": {kind: str(path.resolve()) for kind, path in candidate.folders.items()},
        }
        for candidate in batch.candidates
    ]


def _keep(batch: Batch, draft: Path) -> list[dict[str, str]]:
    """Copy every stage artifact under the draft's outbox: who sends it later may have moved or removed the originals."""
    entries = []
    for candidate in batch.candidates:
        entry = {}
        for kind, folder in candidate.folders.items():
            target = Path(OUTBOX) / (kind if kind == "prepared" else f"seed-{candidate.seed}/{kind}")
            if not (draft / target).exists():
                shutil.copytree(folder, draft / target)
            entry[kind] = str(target)
        entries.append(entry)
    return entries
