"""MLflow runs, model versions, the promotion gate: the only room that imports mlflow, and only when it talks to a server."""

from magicapture.registry.promotion import promote, track
from magicapture.registry.runs import Plan, close, resolve
from magicapture.registry.steering import nothing_changed, run_page
from magicapture.registry.tracking import TrackingDown
from magicapture.registry.trainings import ship_training

__all__ = ["Plan", "TrackingDown", "close", "nothing_changed", "promote", "resolve", "run_page", "ship_training", "track"]
