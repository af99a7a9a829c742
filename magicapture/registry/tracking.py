"""MLflow runs: where the server is, one parent run a pipeline run, one child run a stage artifact.

Everything goes through ``MlflowClient`` with explicit run ids, works against sqlite and over http, and needs no more
than ``mlflow-skinny`` for the latter. ``import mlflow`` takes seconds, so it happens inside :meth:`Tracker.connect`.
"""

from __future__ import annotations

import base64
import http.client
import logging
import os
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from magicapture.data.address import shown
from magicapture.registry.contents import StageRecord

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "magicapture"
PROBE_SECONDS = 5.0
# A server that has gone away must not hold training up for MLflow's default of minutes, and nothing phones home or chatters;
# a user's own setting wins.
QUICK = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# For what carries files: a server answers only once it has put a whole one into its own store.
PATIENT_SECONDS = 900
METRICS_A_BATCH = 1000  # MLflow's limits for one log_batch
PARAMS_A_BATCH = 100
PARAM_LENGTH = 6000

Entry = TypeVar("Entry")
logger = logging.getLogger(__name__)


class RegistryError(ValueError):
    """A model, version or setting of the registry that cannot be used: names it, what was expected, what to do."""


class TrackingDown(RuntimeError):
    """The tracking server cannot be used now: names its address and the reason. What was to be logged stays on disk."""


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or ``mlflow.db`` in the working directory (never MLflow's own default, which may be ./mlruns)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def sqlite_file(uri: str) -> Path | None:
    """The database of a sqlite store, whose address may end in options (``?timeout=30``); None for any other address."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def store_exists(uri: str) -> bool:
    """False for a sqlite store that is not there, which connecting would make; True for any other address."""
    file = sqlite_file(uri)
    return file is None or file.is_file()


class Tracker:
    """A connected tracking server; made by :meth:`connect`."""

    def __init__(self, client: MlflowClient, uri: str, experiment: str) -> None:
        self.client = client
        self.uri = uri
        self.experiment = experiment

    @classmethod
    def connect(cls, experiment: str | None = EXPERIMENT) -> Tracker:
        """Connect to :func:`tracking_uri` and find or make the ``experiment`` (None: of no one's). Raises TrackingDown within seconds."""
        uri = tracking_uri()
        _probe(uri)
        for name, value in QUICK.items():
            os.environ.setdefault(name, value)
        with _quiet(), _guarded(uri):
            import mlflow
            from mlflow.tracking import MlflowClient

            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            number = ""
            if experiment is not None:
                number = _experiment(client, experiment, uri)
                mlflow.set_experiment(experiment_id=number)
        return cls(client, uri, number)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn any failure of the server within the block into TrackingDown."""
        with _quiet(), _guarded(self.uri):
            yield

    def open_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Open a parent run; returns its id."""
        run = self.client.create_run(self.experiment, run_name=name, tags=dict(tags))
        return str(run.info.run_id)

    def find_runs(self, tag: str, value: str, *, parents: bool = False, running: bool = False) -> list[str]:
        """Ids of the runs that carry a tag, newest first; with ``parents`` those that are nobody's child, with ``running`` not ended."""
        state = " and attributes.status = 'RUNNING'" if running else ""
        runs = self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'{state}", order_by=["attributes.start_time DESC"])
        return [str(run.info.run_id) for run in runs if not (parents and "mlflow.parentRunId" in run.data.tags)]

    def close_run(self, run: str, status: str) -> None:
        """End a run with an MLflow status: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run, status)

    def log_stage(self, parent: str, record: StageRecord, lineage: Mapping[str, str]) -> str:
        """Log an artifact as a child of ``parent``; returns the id of the run that holds it.

        An artifact that some run holds already (it came from the cache) is linked to by a tag on the parent, not logged
        again. The ``made`` tag that finds it is written last, so a child cut short is not mistaken for a whole one.
        """
        holders = self.find_runs("made", record.made)
        if holders:
            self.client.set_tag(parent, f"from.{record.name}", holders[0])
            return holders[0]
        tags = {**lineage, **record.tags, "mlflow.parentRunId": parent}
        child = self.client.create_run(self.experiment, run_name=record.name, tags=tags, start_time=record.time_ms)
        run = str(child.info.run_id)
        self.log_params(run, record.params)
        self.log_metrics(run, record.metrics, record.time_ms)
        with patient():
            for name in record.files:
                self.client.log_artifact(run, str(record.folder / name), str(Path(name).parent) if "/" in name else None)
        self.client.set_tag(run, "made", record.made)
        self.client.set_terminated(run, "FINISHED", end_time=record.time_ms)
        self.client.set_tag(parent, f"made.{record.name}", run)
        return run

    def log_params(self, run: str, params: Mapping[str, str]) -> None:
        """Log parameters in batches; a value longer than MLflow takes is cut."""
        from mlflow.entities import Param

        entries = [Param(name, value[:PARAM_LENGTH]) for name, value in params.items()]
        for batch in _batches(entries, PARAMS_A_BATCH):
            self.client.log_batch(run, params=batch)

    def log_metrics(self, run: str, points: Iterable[tuple[str, float, int]], time_ms: int) -> None:
        """Log (name, value, step) points in batches: thousands in well under a second."""
        from mlflow.entities import Metric

        entries = [Metric(name, value, time_ms, step) for name, value, step in points]
        for batch in _batches(entries, METRICS_A_BATCH):
            self.client.log_batch(run, metrics=batch)


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Everything that a search of MLflow's client finds, page by page."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    """The id of an experiment, made where there is none; of two processes that make it at once, both get the one."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifacts(uri)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    return str(found.experiment_id)


def _batches(items: list[Entry], size: int) -> Iterator[list[Entry]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _probe(uri: str) -> None:
    """Ask an http server for its health before MLflow does, which would retry for long."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(_health(uri), timeout=PROBE_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < 500:  # it lives, and wants other credentials or has no such page: MLflow finds out what it lets us do
            return
        reason = str(error)
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last two: an address that is none
        if isinstance(getattr(error, "reason", error), ssl.SSLError):  # it lives: MLflow has settings of its own for whom to trust
            return
        reason = str(error)
    raise TrackingDown(f"tracking server {shown(uri)} does not answer ({reason}); check MLFLOW_TRACKING_URI and the server")


def _health(uri: str) -> urllib.request.Request:
    """The page that says whether the server is well; user and password in its address as a header, since urllib takes them for its host."""
    parts = urlsplit(uri)
    who, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(f"{parts.scheme}://{host}{parts.path.rstrip('/')}/health")
    if who:
        user, _, password = who.partition(":")
        secret = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    return request


def _artifacts(uri: str) -> str | None:
    """Artifacts of a sqlite store lie beside the database; a server keeps its own."""
    file = sqlite_file(uri)
    return None if file is None else (file.resolve().parent / "mlartifacts").as_uri()


@contextmanager
def patient() -> Iterator[None]:
    """Inside, a server has ``PATIENT_SECONDS`` for an answer, unless the user said how many."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name)
    if before == QUICK[name]:
        os.environ[name] = str(PATIENT_SECONDS)
    try:
        yield
    finally:
        if before == QUICK[name]:
            os.environ[name] = before


@contextmanager
def _guarded(uri: str) -> Iterator[None]:
    """Any error inside means that this run cannot be tracked now; the caller keeps everything on disk."""
    try:
        yield
    except (RegistryError, TrackingDown):
        raise
    except Exception as error:
        logger.debug("tracking failed", exc_info=True)
        text = shown(" ".join(str(error).split()))[:300]
        raise TrackingDown(f"tracking at {shown(uri)} failed: {type(error).__name__}: {text}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow's advice on type hints, alembic's migrations and the like say nothing a user can act on."""
    noisy = [logging.getLogger(name) for name in ("mlflow", "alembic", "mlflow.store.db.utils")]
    levels = [log.level for log in noisy]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for log in noisy:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(noisy, levels, strict=True):
                log.setLevel(level)
