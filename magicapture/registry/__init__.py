"""MLflow runs, model versions, the promotion gate: the only room that imports mlflow, and only when it talks to a server."""

from magicapture.registry.catalogue import list_models, show_model
from magicapture.registry.decision import Decision, force, promote_version, read_policy, rollback
from magicapture.registry.promotion import promote, track
from magicapture.registry.runs import Plan, close, resolve
from magicapture.registry.steering import nothing_changed, run_page
from magicapture.registry.tracking import RegistryError, TrackingDown
from magicapture.registry.trainings import ship_training

__all__ = [
    "Decision", "Plan", "RegistryError", "TrackingDown", "close", "force", "list_models", "nothing_changed", "promote", "promote_version",
    "read_policy", "resolve", "rollback", "run_page", "ship_training", "show_model", "track",
]  # fmt: skip
