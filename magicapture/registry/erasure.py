"""A person in MLflow: the runs, logged models, model versions and registered models that are of one, removed for good.

MLflow's own deletion only marks: rows, params and tags stay until ``mlflow gc``. That needs the database itself: it is the tracking
store (sqlite, PostgreSQL), or behind a server the one that MLFLOW_BACKEND_STORE_URI names, as for ``mlflow gc``. Artifacts go through the
server, or from where they lie.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from magicapture.artifacts import SUBJECTS
from magicapture.config import Config
from magicapture.data.address import shown
from magicapture.data.subjects import UNNAMED, word
from magicapture.registry.lock import FileLock, model_lock
from magicapture.registry.models import HISTORY
from magicapture.registry.tracking import Tracker, pages, sqlite_file, store_exists, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

BACKEND = "MLFLOW_BACKEND_STORE_URI"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
PAGE = 1000
ERASED = "erased"  # what a run is called while its tags go one by one


@dataclass
class Tracked:
    """What MLflow holds of a person: ids of ``runs`` (parents last), of logged ``models``, ``versions`` (registered model, number), the
    ``registered`` models of nobody else, and the ``names`` met in them."""

    runs: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    versions: list[tuple[str, str]] = field(default_factory=list)
    registered: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.runs or self.models or self.versions or self.registered)


def find_tracked(subject: str, made: Iterable[str] = (), runs: Iterable[str] = ()) -> Tracked | None:
    """What the tracking store holds of a person: by name, or of these ``made`` ids of artifacts and these ``runs``; with each all of its
    pipeline run. None where there is no store. Nothing is written. Raises TrackingDown."""
    tracker = _connect()
    if tracker is None:
        return None
    with tracker.guarded():
        everything = {run.info.run_id: run for run in _runs(tracker)}
        known, ids, found = set(made), set(runs), Tracked()
        mine = {key for key, run in everything.items() if key in ids or run.data.tags.get("made") in known or subject in _whose(run)}
        while True:  # a pipeline run is of the same people throughout
            parents = {everything[key].data.tags.get("mlflow.parentRunId") for key in mine} & {*everything}
            grown = mine | parents
            grown |= {key for key, run in everything.items() if run.data.tags.get("mlflow.parentRunId") in grown}
            if grown == mine:
                break
            mine = grown
        found.runs = sorted(mine, key=lambda key: "mlflow.parentRunId" not in everything[key].data.tags)
        found.names = {name for run in everything.values() for name in _whose(run)}
        found.models = [model.model_id for model in _logged(tracker, mine)]
        others, empty = set(), {model.name for model in pages(tracker.client.search_registered_models)}
        for entry in _versions(tracker):
            empty.discard(entry.name)
            if entry.run_id in mine or _version_is_of(entry, subject):
                found.versions.append((entry.name, str(entry.version)))
            else:
                others.add(entry.name)
        prefixes = {Config().promotion.model_name, *(run.data.params.get("promotion.model_name", "") for run in everything.values())}
        of_name = {name for name in empty if subject != UNNAMED and name.rpartition(".")[0] in {f"{one}.{subject}" for one in prefixes}}
        found.registered = sorted({name for name, _ in found.versions} - others | of_name)
    return found


def erase_tracked(subject: str, found: Tracked) -> list[tuple[str, str]]:
    """Remove for good; returns (what is retained, how to clear it). Called again after an interruption, it goes on.

    Each model is changed under its lock, as by a promotion. Raises TrackingDown, of it LockLost, and RegistryError for a lock that cannot
    be used.
    """
    tracker = _connect()
    if tracker is None:
        return []
    backend = _backend(tracker.uri)
    with tracker.guarded():
        numbers: dict[str, set[str]] = {}
        for name, number in found.versions:
            numbers.setdefault(name, set()).add(number)
        for name in sorted({*numbers, *found.registered}):
            with model_lock(name, tracker.uri, Config().promotion.lock_wait) as lock:
                if name not in found.registered:
                    for number in numbers[name]:
                        _drop_version(tracker, name, number)
                    _forget_champions(tracker, name, numbers[name])
                    continue
                tracker.client.delete_registered_model(name)
                if isinstance(lock, FileLock):  # while it is held: whoever waits for it then sees that it is none any more
                    lock.path.unlink(missing_ok=True)
        for model in _logged(tracker, set(found.runs)):
            _drop_artifacts(model.artifact_location, model.model_id)
            tracker.client.delete_logged_model(model.model_id)
        for run in found.runs:
            _drop_run(tracker, run)
        if backend:
            _drop_rows(backend, subject, found)
            return _aftermath(backend)
    ids = ",".join(found.runs)
    models = f" --logged-model-ids {','.join(found.models)}" if found.models else ""
    return [
        (
            f"the database behind {shown(tracker.uri)}: names and knobs of {len(found.runs)} runs that are only marked as deleted, and "
            f"rows of {len(found.versions)} model versions; whoever has the database's address can remove them",
            f"{BACKEND}=postgresql://... magicapture purge, given again; or, model versions excepted: mlflow gc --tracking-uri "
            f"{shown(tracker.uri)} --backend-store-uri postgresql://... --run-ids {ids}{models}",
        )
    ]


def find_mentions(subject: str) -> list[str]:
    """Where a name still stands in the store, as "table.column" of its database, or, without that, "run ID: tag" and the like."""
    tracker = _connect()
    if tracker is None:
        return []
    named = word(subject)
    backend = _backend(tracker.uri)
    with tracker.guarded():
        if backend:
            return sorted({where for where, text in _texts(backend, subject) if named.search(text)})
        found = []
        for run in _runs(tracker):
            texts = {"name": run.info.run_name or "", **run.data.tags, **run.data.params}
            found += [f"run {run.info.run_id}: {key}" for key, text in texts.items() if named.search(str(text))]
        for entry in _versions(tracker):
            texts = {"name": entry.name, "description": entry.description or "", **entry.tags}
            found += [f"version {entry.version} of {entry.name}: {key}" for key, text in texts.items() if named.search(str(text))]
        return found


def store_folders() -> list[Path]:
    """Where a local store keeps artifacts; none behind a server."""
    file = sqlite_file(tracking_uri())
    folders = [] if file is None else [file.resolve().parent / "mlartifacts"]
    return [folder for folder in folders if folder.is_dir()]


def _connect() -> Tracker | None:
    """Connected, without making a store or an experiment where there is none."""
    return Tracker.connect(None) if store_exists(tracking_uri()) else None


def _backend(uri: str) -> str:
    """The database's address; "" where only a server is known."""
    where = uri if uri.partition(":")[0].partition("+")[0] in DATABASES else os.environ.get(BACKEND, "")
    return where if where.partition(":")[0].partition("+")[0] in DATABASES else ""


def _experiments(tracker: Tracker) -> list[str]:
    from mlflow.entities import ViewType

    return [entry.experiment_id for entry in pages(partial(tracker.client.search_experiments, view_type=ViewType.ALL))]


def _runs(tracker: Tracker) -> Iterator[Run]:
    """Every run, of those marked as deleted too."""
    from mlflow.entities import ViewType

    ids = _experiments(tracker)
    if ids:
        yield from pages(partial(tracker.client.search_runs, ids, run_view_type=ViewType.ALL, max_results=PAGE))


def _logged(tracker: Tracker, runs: set[str]) -> list[LoggedModel]:
    ids = _experiments(tracker) if runs else []
    if not ids:
        return []
    return [model for model in pages(partial(tracker.client.search_logged_models, ids)) if model.source_run_id in runs]


def _versions(tracker: Tracker) -> Iterator[ModelVersion]:
    return pages(tracker.client.search_model_versions)


def _whose(run: Run) -> list[str]:
    """By its tag; of a run from before there was one by its knobs. A stranger's run of such a tag has none of our lineage."""
    ours = "lineage" in run.data.tags or run.info.run_name == ERASED
    tagged = _names(run.data.tags.get(SUBJECTS)) if ours else None
    named = run.data.params.get("promotion.subject", UNNAMED)
    return tagged if tagged is not None else [named] if named != UNNAMED else []


def _version_is_of(entry: ModelVersion, subject: str) -> bool:
    """By its tag; of one from before there was one by its model's name, <model_name>.<subject>.<style>. A stranger's has no lineage."""
    if "lineage" not in entry.tags:
        return False
    tagged = _names(entry.tags.get(SUBJECTS))
    return subject in tagged if tagged is not None else subject != UNNAMED and entry.name.split(".")[-2:-1] == [subject]


def _names(text: str | None) -> list[str] | None:
    """The list in a tag of ours; None where there is no such tag, or a stranger's of the same key."""
    try:
        names = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _drop_version(tracker: Tracker, name: str, number: str) -> None:
    """Tags first: MLflow keeps those of a deleted version."""
    entry = tracker.client.get_model_version(name, number)
    for tag in sorted(entry.tags, key=lambda tag: tag == "lineage"):  # by which, and its name, it is found again
        tracker.client.delete_model_version_tag(name, number, tag)
    tracker.client.delete_model_version(name, number)


def _forget_champions(tracker: Tracker, name: str, gone: set[str]) -> None:
    """A shared model's list of champions without the versions that are gone; whoever is next promoted is judged as the first."""
    past = _names(tracker.client.get_registered_model(name).tags.get(HISTORY))
    if past is not None:
        tracker.client.set_registered_model_tag(name, HISTORY, json.dumps([number for number in past if number not in gone]))


def _drop_run(tracker: Tracker, run: str) -> None:
    """Artifacts, then what can be unsaid of the run, then the run; of its tags the one that finds it again last."""
    from mlflow.exceptions import MlflowException

    try:
        entry = tracker.client.get_run(run)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return
        raise
    _drop_artifacts(entry.info.artifact_uri, run)
    if entry.info.lifecycle_stage == "active":
        tracker.client.update_run(run, name=ERASED)
        for tag in sorted(entry.data.tags, key=lambda tag: tag in (SUBJECTS, "mlflow.parentRunId")):
            if tag not in ("mlflow.runName", "mlflow.user", SUBJECTS, "mlflow.parentRunId"):
                tracker.client.delete_tag(run, tag)
        tracker.client.delete_run(run)


def _drop_artifacts(uri: str, owner: str) -> None:
    """The artifacts of a run or logged model; those that lie elsewhere than in a folder of its own are somebody else's."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if owner not in uri:
        return
    repository = get_artifact_repository(uri)
    repository.delete_artifacts()
    folder = Path(uri.removeprefix("file://")).parent
    if uri.startswith(("file://", "/")) and folder.name == owner and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _drop_rows(backend: str, subject: str, found: Tracked) -> None:
    """What ``mlflow gc`` does for runs and logged models, and the rows of versions that MLflow keeps for ever."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag
    from mlflow.store.tracking.dbmodels.models import SqlLoggedModel
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(backend, "./unused")  # makes no such folder
    with store.ManagedSessionMaker(read_only=False) as session:
        versions = {(name, int(number)) for name, number in found.versions}
        # Those that somebody deleted before: no search tells of them, yet their tags are there.
        tagged = session.query(SqlModelVersionTag).filter(SqlModelVersionTag.key == SUBJECTS)
        versions |= {(tag.name, tag.version) for tag in tagged if subject in (_names(tag.value) or ())}
        for name, number in versions:
            for table in (SqlModelVersionTag, SqlModelVersion):
                session.query(table).filter(table.name == name, table.version == number).delete(synchronize_session=False)
        # By their run, since an erasure cut off may have marked them as deleted, which hides them from searches.
        for model in session.query(SqlLoggedModel).filter(SqlLoggedModel.source_run_id.in_(found.runs)):
            session.delete(model)
    for run in found.runs:
        try:
            store._hard_delete_run(run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def _aftermath(backend: str) -> list[tuple[str, str]]:
    """A database keeps the bytes of deleted rows until it is rewritten: sqlite is, here; others are their owner's."""
    file = sqlite_file(backend)
    if file is None:
        return [
            (
                f"the database {shown(backend)}: pages of deleted rows, its write-ahead log and its back-ups",
                "VACUUM FULL (PostgreSQL; it locks the tables); back-ups: let them expire, or delete those older than this erasure",
            )
        ]
    import sqlite3

    try:
        with sqlite3.connect(file, timeout=30) as database:
            database.execute("VACUUM")
        database.close()
    except sqlite3.OperationalError as error:
        return [(f"the database {file}: pages of deleted rows ({error})", f"stop what uses it, then: sqlite3 {file} VACUUM")]
    return []


def _texts(backend: str, subject: str) -> Iterator[tuple[str, str]]:
    """Every text of the database that has the name in it, and where."""
    from sqlalchemy import MetaData, String, create_engine, select
    from sqlalchemy.pool import NullPool

    engine, tables = create_engine(backend, poolclass=NullPool), MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.tables.values():
            for column in (column for column in table.columns if isinstance(column.type, String)):
                for (text,) in connection.execute(select(column).where(column.icontains(subject, autoescape=True)).distinct()):
                    yield f"{table.name}.{column.name}", str(text)
