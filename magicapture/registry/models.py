"""Model versions: their names, what they carry, finding them, and the aliases that say which one is in use."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from magicapture.artifacts import write_text
from magicapture.config import Config
from magicapture.data.address import shown
from magicapture.registry.card import card
from magicapture.registry.gate import Scores, read_scores
from magicapture.registry.lock import Lock, ensure
from magicapture.registry.tracking import RegistryError, Tracker, patient

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION = "champion"
CHALLENGER = "challenger"
# Tag of the registered model: its champions from first to present, as version numbers.
HISTORY = "champions"
# Tag of a version: the hash of its adapter's tensors. A lineage trained anew, by another torch, may come to others.
WEIGHTS = "best_hash"
PICTURES = 4
REQUIREMENTS = ("magicapture", "mlflow-skinny", "torch", "diffusers", "transformers", "peft", "safetensors", "pillow", "numpy", "pandas")
CODE = Path(__file__).with_name("pyfunc_model.py")


def model_name(config: Config) -> str:
    """Registered model of a subject in a style: ``<model_name>.<subject>.<style>``."""
    return f"{config.promotion.model_name}.{config.promotion.subject}.{config.promotion.style}"


def find_model(tracker: Tracker, name: str) -> RegisteredModel:
    """The registered model. Raises RegistryError for a name with illegal characters or of no model."""
    from mlflow.exceptions import MlflowException

    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or ".." in name:
        raise RegistryError(f"model name {name!r}: expected letters, digits, '.', '_' and '-' only, as <model_name>.<subject>.<style>")
    try:
        return tracker.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    raise RegistryError(f"no registered model {name!r} at {shown(tracker.uri)}; `magicapture registry list` names those there are")


def find_number(tracker: Tracker, name: str, number: str) -> ModelVersion:
    """A version by its number. Raises RegistryError naming the versions there are."""
    find_model(tracker, name)
    there = {str(entry.version): entry for entry in versions(tracker, name)}
    if number not in there:
        raise RegistryError(f"model {name!r} has no version {number!r}; versions: {', '.join(there) or 'none'}")
    return there[number]


def versions(tracker: Tracker, name: str) -> list[ModelVersion]:
    """All versions of a model, first to last."""
    return sorted(tracker.client.search_model_versions(f"name = '{name}'"), key=lambda entry: int(entry.version))


def find_version(tracker: Tracker, name: str, lineage: str, weights: str) -> str | None:
    """The version of a model that carries a lineage key and, as tag WEIGHTS, the hash of its adapter's ``weights``; or None."""
    found = tracker.client.search_model_versions(f"name = '{name}' and tags.lineage = '{lineage}' and tags.{WEIGHTS} = '{weights}'")
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


def history(tracker: Tracker, name: str, champion: str | None) -> list[str]:
    """Versions that were champion, first to present. An alias moved by other hands (MLflow's page) is counted in."""
    past = json.loads(tracker.client.get_registered_model(name).tags.get(HISTORY, "[]"))
    return past if champion is None or past[-1:] == [champion] else [*past, champion]


def crown(tracker: Tracker, lock: Lock, name: str, new: str, past: list[str]) -> None:
    """Point ``champion`` to version ``new``, whose predecessors are ``past``. The alias comes first: it is what counts.

    Raises LockLost, and moves no alias, unless the model's ``lock`` is still held.
    """
    ensure(lock, name)  # again, and last of all: many calls of the server lie between the first look and this
    tracker.client.set_registered_model_alias(name, CHAMPION, new)
    tracker.client.set_registered_model_tag(name, HISTORY, json.dumps([*past, new]))
    no_challenger(tracker, name, new)


def no_challenger(tracker: Tracker, name: str, version: str) -> None:
    """Take the alias ``challenger`` from a version, if it has it."""
    if str(tracker.client.get_registered_model(name).aliases.get(CHALLENGER, "")) == version:
        tracker.client.delete_registered_model_alias(name, CHALLENGER)


def scores_of(tracker: Tracker, entry: ModelVersion, protocol: str) -> Scores | None:
    """A version's scores under a protocol, or None where it was never scored under that."""
    import mlflow

    if protocol not in {Path(path).name for path in paths_of(tracker, entry.run_id, "scores")}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.artifacts.download_artifacts(
            run_id=entry.run_id, artifact_path=f"scores/{protocol}/scores.json", dst_path=folder, tracking_uri=tracker.uri
        )
        return read_scores(path)


def paths_of(tracker: Tracker, run: str | None, folder: str | None = None) -> list[str]:
    """What a run has in a folder; nothing where there is no such run: a version may be of none, and `mlflow gc` removes them.

    A store that does not answer is no answer, and raises.
    """
    from mlflow.exceptions import MlflowException

    try:
        return [str(file.path) for file in tracker.client.list_artifacts(run, folder)] if run else []
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return []
        raise


def keep_scores(tracker: Tracker, run: str, evaluation: Path) -> None:
    """Put an evaluation's scores.json to the run that a version came from, under its protocol."""
    scores = evaluation / "scores.json"
    tracker.client.log_artifact(run, str(scores), f"scores/{json.loads(scores.read_text())['protocol']}")


def fetch_adapter(tracker: Tracker, entry: ModelVersion, out: Path) -> Path:
    """The ``adapter/1`` folder of a version, as tuning wrote it."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        uri = f"models:/{entry.name}/{entry.version}"
        model = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=tracker.uri))
        shutil.copytree(model / "artifacts" / "adapter", out)
    return out


def register(
    tracker: Tracker, name: str, candidate: Mapping[str, Path], config: Config, run: str, tags: Mapping[str, str], scores: Scores
) -> str:
    """Log the adapter as a pyfunc model of ``run``, with what the version carries, and register it; returns the version.

    The model holds the adapter folder and its configuration; the pack's frozen weights come with the installed package
    or the user's own pack folder, and their digest is among the tags. The run holds card.md (the version's description too), config.yaml,
    scores/PROTOCOL/scores.json, report.html and the best portraits. The version comes last: one that exists is whole.
    """
    import mlflow.pyfunc  # its advice on type hints and signatures is recorded, not shown: it resets filters

    text = card(name, config, scores, tags)
    with warnings.catch_warnings(record=True), tempfile.TemporaryDirectory() as folder:
        knobs = Path(folder) / "config.yaml"
        write_text(knobs, config.to_yaml())
        write_text(Path(folder) / "card.md", text)
        for path in (knobs, Path(folder) / "card.md", candidate["evaluation"] / "report.html"):
            tracker.client.log_artifact(run, str(path))
        keep_scores(tracker, run, candidate["evaluation"])
        with mlflow.start_run(run_id=run), patient():
            for picture in _best(candidate["evaluation"]):
                tracker.client.log_artifact(run, str(picture), "portraits")
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(CODE),
                artifacts={"adapter": str(candidate["adapter"]), "config": str(knobs)},
                pip_requirements=_requirements(),
            )
    made = mlflow.register_model(info.model_uri, name, tags=dict(tags))
    tracker.client.update_model_version(name, made.version, text)
    return str(made.version)


def _best(evaluation: Path) -> list[Path]:
    items = [item for item in json.loads((evaluation / "scores.json").read_text())["items"] if item["kind"] == "portrait"]
    return [evaluation / item["file"] for item in sorted(items, key=lambda item: item["rank"])[:PICTURES]]


def _requirements() -> list[str]:
    """Exact pins of what is installed here; a package that this image lacks is named without a version, MagiCapture not at all."""
    pins = []
    for package in REQUIREMENTS:
        try:
            pins.append(f"{package}=={version(package).partition('+')[0]}")
        except PackageNotFoundError:
            if package != "magicapture":  # in an image; whatever is called so elsewhere is not ours
                pins.append(package)
    return pins
