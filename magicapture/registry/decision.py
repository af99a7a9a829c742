"""Who is champion: judging a version by the policy, crowning by hand, and going back. Each under the model's lock."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import yaml

from magicapture.artifacts import SUBJECTS
from magicapture.config import Config, ConfigError, load_config
from magicapture.mappings import read_mapping
from magicapture.registry.gate import Scores, Verdict, verdict
from magicapture.registry.lock import Lock, ensure, model_lock
from magicapture.registry.models import (
    CHALLENGER,
    champion_of,
    crown,
    fetch_adapter,
    find_model,
    find_number,
    history,
    keep_scores,
    no_challenger,
    paths_of,
    scores_of,
    versions,
)  # fmt: skip
from magicapture.registry.tracking import RegistryError, Tracker, TrackingDown

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

DECISION = "promotion.decision"
REASON = "promotion.reason"
ROLLED_BACK: Literal["rolled back"] = "rolled back"
CANDIDATES = "candidates"

logger = logging.getLogger(__name__)


class Decision(NamedTuple):
    """What became of ``version``; ``previous``: the champion it was judged against."""

    model: str
    version: str
    outcome: str
    reason: str
    previous: str | None

    @property
    def champion(self) -> bool:
        return self.outcome == "champion"


class ScoreAgain(Protocol):
    """Draws and scores an adapter's portraits; ``magicapture.stages.score_again``. Returns the evaluation's folder."""

    def __call__(self, adapter: Path, prepared: Path, out: Path, config: Config, prompts: list[str], seeds: list[int]) -> Path: ...


def decide(
    tracker: Tracker,
    name: str,
    version: str,
    scores: Scores,
    config: Config,
    prepared: Path | None = None,
    score_again: ScoreAgain | None = None,
) -> Decision:
    """Judge a registered version against the champion by the policy; the aliases and the version's tags say what came of it.

    A champion whose scores are of another protocol is first scored again, by ``score_again`` on ``prepared``, outside the lock since it
    draws pictures; where that cannot be done here the version stays challenger and the reason says what to run.
    """
    tried: dict[str, str] = {}
    while True:
        with model_lock(name, tracker.uri, config.promotion.lock_wait) as lock:
            entry, champion = find_number(tracker, name, version), champion_of(tracker, name)
            old = None if champion is None else str(champion.version)
            if champion is not None and old == version:
                return Decision(name, version, "champion", f"version {version} of the same lineage is the champion already", old)
            theirs = scores_of(tracker, champion, scores.protocol) if champion is not None else None
            known = theirs is not None or old in tried
            if champion is None or known or score_again is None or prepared is None or _of_others(entry, champion):
                said = _judge(entry, champion, scores, theirs, config, tried.get(old or "", ""))
                ensure(lock, name)
                _settle(tracker, lock, entry, old, said, config)
                return Decision(name, version, said.outcome, said.reason, old)
        tried[str(champion.version)] = _score_champion(tracker, champion, scores, config, prepared, score_again)


def promote_version(
    name: str,
    version: str | None = None,
    policy: Mapping[str, object] | None = None,
    prepared: Path | None = None,
    score_again: ScoreAgain | None = None,
) -> Decision:
    """Judge a version (None: the challenger) anew, by the policy it was made with or another one.

    ``prepared``: the prepared set of the version's run, on which a champion of another protocol is scored again.
    Raises RegistryError for a model or version that does not exist, ConfigError for a policy that cannot be used.
    """
    tracker = Tracker.connect()
    with tracker.guarded():
        entry = _named(tracker, name, version)
        config = _config(tracker, entry, policy)
        scores = scores_of(tracker, entry, entry.tags.get("protocol", ""))
        if scores is None:
            raise RegistryError(f"version {entry.version} of {name} carries no scores: it was not registered by MagiCapture; use --force")
        return decide(tracker, name, str(entry.version), scores, config, prepared, score_again)


def force(name: str, version: str | None, reason: str) -> Decision:
    """Make a version (None: the challenger) champion by a person's word, whatever the policy says."""
    tracker = Tracker.connect()
    with tracker.guarded():
        entry = _named(tracker, name, version)
        with model_lock(name, tracker.uri, Config().promotion.lock_wait) as lock:
            champion = champion_of(tracker, name)
            old, new = None if champion is None else str(champion.version), str(entry.version)
            if old == new:
                raise RegistryError(f"version {new} of {name} is the champion already")
            said = Verdict("champion", f"by hand: {reason}")
            ensure(lock, name)
            _record(tracker, entry, said)
            crown(tracker, lock, name, new, history(tracker, name, old))
            return Decision(name, new, said.outcome, said.reason, old)


def rollback(name: str, to: str | None = None, reason: str = "") -> Decision:
    """Make the champion before this one champion again, or the earlier one ``to``; those after it are not promoted again by the policy.

    Raises RegistryError where there is nothing to go back to.
    """
    tracker = Tracker.connect()
    with tracker.guarded():
        find_model(tracker, name)
        with model_lock(name, tracker.uri, Config().promotion.lock_wait) as lock:
            champion = champion_of(tracker, name)
            if champion is None:
                raise RegistryError(f"model {name!r} has no champion; `magicapture registry promote {name} --version N` makes one")
            old = str(champion.version)
            past = history(tracker, name, old)[:-1]
            there = {str(entry.version): entry for entry in versions(tracker, name)}

            def may_return(number: str) -> bool:
                known = there.get(number)
                return known is not None and number != old and known.tags.get(DECISION) != ROLLED_BACK and to in (None, number)

            fit = [index for index, number in enumerate(past) if may_return(number)]
            if not fit:
                wanted = "no champion before it" if to is None else f"version {to} was no champion before it"
                raise RegistryError(
                    f"model {name!r}: nothing to roll back to: version {old} is champion and {wanted}; earlier champions: "
                    f"{', '.join(past) or 'none'}. For another version: `magicapture registry promote {name} --version N --force`"
                )
            new, undone = past[fit[-1]], [*past[fit[-1] + 1 :], old]
            ensure(lock, name)
            because = f": {reason}" if reason else ""
            for number in dict.fromkeys(undone):
                if number in there and number != new:
                    _record(tracker, there[number], Verdict(ROLLED_BACK, f"rolled back to version {new}{because}"))
            crown(tracker, lock, name, new, past[: fit[-1]])
            return Decision(name, new, "champion", f"rolled back from version {old}{because}", old)


def _judge(
    entry: ModelVersion, champion: ModelVersion | None, scores: Scores, theirs: Scores | None, config: Config, failure: str
) -> Verdict:
    if entry.tags.get(DECISION) == ROLLED_BACK:
        return Verdict(ROLLED_BACK, f"version {entry.version} was {entry.tags[REASON]}; only --force makes it champion again")
    if champion is not None and (others := _of_others(entry, champion)):
        return Verdict("rejected", others)
    count = int(entry.tags.get(CANDIDATES, "1"))
    if champion is None or theirs is not None:
        return verdict(scores, theirs, config.promotion.policy, count)
    fit = verdict(scores, None, config.promotion.policy)
    if fit.outcome == "rejected":
        return fit
    return Verdict(
        "challenger",
        f"the champion, version {champion.version}, was never scored under protocol {scores.protocol}, so the two cannot be compared"
        f"{f' (scoring it again failed: {failure})' if failure else ''}; where torch is installed run: "
        f"magicapture registry promote {entry.name} --version {entry.version} --prepared FOLDER (the prepared set of this version's run)",
    )


def _of_others(entry: ModelVersion, champion: ModelVersion) -> str:
    """Why a version may not follow this champion: its photos are of other people; "" where they are not, or it is not known."""
    mine, theirs = (json.loads(one.tags.get(SUBJECTS, "[]")) for one in (entry, champion))
    if not mine or not theirs or {*mine} & {*theirs}:
        return ""
    # Without the names, which purging one of them would have to find in the other's text.
    return (
        f"its photos are of other people than the champion's, version {champion.version} (tag subjects): one model is of one person or "
        "group. Give each a model of its own with promotion.subject; where they are the same people under other names, "
        f"magicapture registry promote {entry.name} --version {entry.version} --force --reason WHY"
    )


def _score_champion(
    tracker: Tracker, champion: ModelVersion, scores: Scores, config: Config, prepared: Path, score_again: ScoreAgain
) -> str:
    """Draw and score the champion's portraits as the candidate's were, and keep the scores with it. Returns why it failed, or ""."""
    if not paths_of(tracker, champion.run_id):
        return "MLflow has its run no more (or never had), and scores are kept there; `registry promote --force` replaces it by hand"
    prompts, seeds = sorted({prompt for prompt, _ in scores.portraits}), sorted({seed for _, seed in scores.portraits})
    logger.info("version %s of %s, the champion, is scored again under protocol %s", champion.version, champion.name, scores.protocol)
    with tempfile.TemporaryDirectory() as folder:
        try:
            adapter = fetch_adapter(tracker, champion, Path(folder) / "adapter")
            knobs = load_config(config, ["evaluation.baseline_images=0"])
            evaluation = score_again(adapter, prepared, Path(folder) / "again", knobs, prompts, seeds)
        except TrackingDown:
            raise
        except Exception as error:  # whatever it is, the candidate is registered and the champion stays
            logger.debug("scoring the champion again failed", exc_info=True)
            return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        keep_scores(tracker, champion.run_id, evaluation)
    if scores_of(tracker, champion, scores.protocol) is None:
        return "its portraits came out under another protocol: were they post-processed or weighted differently?"
    return ""


def _settle(tracker: Tracker, lock: Lock, entry: ModelVersion, old: str | None, said: Verdict, config: Config) -> None:
    """Write a verdict: the version's tags first, the alias, which is what counts, after them."""
    name, version = entry.name, str(entry.version)
    if said.outcome != ROLLED_BACK:  # its tags say already when and why
        _record(tracker, entry, said, config)
    if said.outcome == "champion":
        crown(tracker, lock, name, version, history(tracker, name, old))
    elif said.outcome == "challenger":
        ensure(lock, name)
        tracker.client.set_registered_model_alias(name, CHALLENGER, version)
    else:
        no_challenger(tracker, name, version)


def _record(tracker: Tracker, entry: ModelVersion, said: Verdict, config: Config | None = None) -> None:
    """Decision, reason, time, policy and numbers, as tags of the version."""
    tags = {DECISION: said.outcome, REASON: said.reason, "promotion.time": datetime.now(UTC).isoformat(timespec="seconds")}
    if config is not None:
        tags["promotion.policy"] = config.promotion.policy.model_dump_json()
    tags |= {f"promotion.{name}": f"{value:.6f}" for name, value in said.numbers.items()}
    for name, value in tags.items():
        tracker.client.set_model_version_tag(entry.name, str(entry.version), name, value)


def _named(tracker: Tracker, name: str, version: str | None) -> ModelVersion:
    if version is not None:
        return find_number(tracker, name, version)
    challenger = find_model(tracker, name).aliases.get(CHALLENGER)
    if challenger is None:
        raise RegistryError(f"model {name!r} has no challenger; name a version: magicapture registry promote {name} --version N")
    return find_number(tracker, name, str(challenger))


def _config(tracker: Tracker, entry: ModelVersion, policy: Mapping[str, object] | None) -> Config:
    """The knobs a version was made with, and another policy instead of theirs."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        if "config.yaml" not in paths_of(tracker, entry.run_id):
            raise RegistryError(
                f"version {entry.version} of {entry.name} carries no config.yaml: it was not registered by MagiCapture; use --force"
            )
        path = mlflow.artifacts.download_artifacts(
            run_id=entry.run_id, artifact_path="config.yaml", dst_path=folder, tracking_uri=tracker.uri
        )
        data = yaml.safe_load(Path(path).read_text())
    if policy is not None:
        data.setdefault("promotion", {})["policy"] = dict(policy)
    return load_config(data)


def read_policy(file: Path) -> dict[str, object]:
    """A policy file: YAML with keys of ``config.Policy``. Raises ConfigError naming what is unknown or out of range."""
    if not file.is_file():
        raise ConfigError(f"policy file {file} does not exist; expected YAML such as: min_identity: 0.3")
    data = read_mapping(file)
    load_config({"promotion": {"policy": data}})
    return data
