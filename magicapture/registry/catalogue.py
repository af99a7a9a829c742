"""What is registered, as plain data for the command line: models with their aliases, versions with scores, lineage and verdict."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from magicapture.registry.models import CHALLENGER, CHAMPION, HISTORY, find_model, find_number, versions
from magicapture.registry.tracking import RegistryError, Tracker, pages, store_exists, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel


def list_models() -> list[dict[str, Any]]:
    """All registered models: {name, champion, challenger (version or null), versions (how many), scores (of the champion)}."""
    tracker = _reading()
    with tracker.guarded():
        listed = []
        for model in pages(partial(tracker.client.search_registered_models, order_by=["name"])):
            own = {str(entry.version): entry for entry in versions(tracker, model.name)}
            champion = own.get(str(model.aliases.get(CHAMPION)))
            listed.append({**_aliases(model), "versions": len(own), "scores": _scores(champion) if champion else {}})
        return listed


def show_model(name: str, version: str | None = None) -> dict[str, Any]:
    """A model: {name, champion, challenger, history (champions, first to present), versions [{version, decision, reason, scores, tags,
    run}]}, of one version or all, newest first. Raises RegistryError for a model or version that does not exist."""
    tracker = _reading()
    with tracker.guarded():
        model = find_model(tracker, name)
        shown = versions(tracker, name)[::-1] if version is None else [find_number(tracker, name, version)]
        past = json.loads(model.tags.get(HISTORY, "[]"))
        return {**_aliases(model), "history": past, "versions": [_version(entry) for entry in shown]}


def _reading() -> Tracker:
    """Connected, without making a store where there is none."""
    uri = tracking_uri()
    if not store_exists(uri):
        raise RegistryError(f"no store at {uri}; run a pipeline first, or say where the models are: MLFLOW_TRACKING_URI")
    return Tracker.connect()


def _aliases(model: RegisteredModel) -> dict[str, Any]:
    held = {alias: str(model.aliases[alias]) if alias in model.aliases else None for alias in (CHAMPION, CHALLENGER)}
    return {"name": model.name, **held}


def _scores(entry: ModelVersion) -> dict[str, float]:
    return {name.removeprefix("score."): float(value) for name, value in entry.tags.items() if name.startswith("score.")}


def _version(entry: ModelVersion) -> dict[str, Any]:
    tags = dict(sorted(entry.tags.items()))
    return {
        "version": str(entry.version), "decision": tags.get("promotion.decision"), "reason": tags.get("promotion.reason"),
        "scores": _scores(entry), "tags": tags, "run": entry.run_id,
    }  # fmt: skip
