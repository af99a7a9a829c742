"""Model versions: registering an adapter as a pyfunc model, the champion alias, finding a version by its lineage."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from magicapture.artifacts import write_text
from magicapture.config import Config
from magicapture.registry.tracking import Tracker

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
PREVIOUS = "previous"
REQUIREMENTS = ("magicapture", "mlflow-skinny", "torch", "diffusers", "transformers", "peft", "safetensors", "pillow", "numpy", "pandas")
CODE = Path(__file__).with_name("pyfunc_model.py")


def model_name(config: Config) -> str:
    """Registered model of a subject: ``<model_name>-<subject>``."""
    return f"{config.promotion.model_name}-{config.promotion.subject}"


def find_version(tracker: Tracker, name: str, lineage: str) -> str | None:
    """The version of a model that carries a lineage key, or None."""
    found = tracker.client.search_model_versions(f"name = '{name}' and tags.lineage = '{lineage}'")
    return str(found[0].version) if found else None


def champion_of(tracker: Tracker, name: str) -> ModelVersion | None:
    """The version the alias ``champion`` points to, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return tracker.client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def crown(tracker: Tracker, name: str, new: str, old: str | None) -> None:
    """Point ``champion`` to version ``new`` and ``previous`` to the one it replaces."""
    if old is not None:
        tracker.client.set_registered_model_alias(name, PREVIOUS, old)
    tracker.client.set_registered_model_alias(name, CHAMPION, new)


def register(tracker: Tracker, name: str, adapter: str | Path, config: Config, run: str, tags: Mapping[str, str]) -> str:
    """Log the adapter as a pyfunc model of ``run`` and register it; returns the version.

    The model holds the adapter folder and its configuration; the pack's frozen weights come with the installed package
    or the user's own pack folder, and their digest is among the tags.
    """
    import mlflow.pyfunc  # its advice on type hints and signatures is recorded, not shown: it resets filters

    with warnings.catch_warnings(record=True), tempfile.TemporaryDirectory() as folder:
        knobs = Path(folder) / "config.yaml"
        write_text(knobs, config.to_yaml())
        with mlflow.start_run(run_id=run):
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(CODE),
                artifacts={"adapter": str(adapter), "config": str(knobs)},
                pip_requirements=_requirements(),
            )
    made = mlflow.register_model(info.model_uri, name, tags=dict(tags))
    return str(made.version)


def _requirements() -> list[str]:
    """Exact pins of what is installed here; a package that this image lacks is named without a version."""
    pins = []
    for package in REQUIREMENTS:
        try:
            pins.append(f"{package}=={version(package).partition('+')[0]}")
        except PackageNotFoundError:
            pins.append(package)
    return pins
