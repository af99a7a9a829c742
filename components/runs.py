"""Starting runs of the pipeline on a Kubeflow Pipelines server, one or many, and waiting for them."""

from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict
from kfp.dsl.base_component import BaseComponent
from kfp_server_api import V2beta1Run, V2beta1RuntimeConfig

from components.remote import Server, ServerError
from components.values import NEEDS, Cluster
from magicapture.config import ConfigError
from magicapture.registry.runs import read_config, read_seeds

GOOD, BAD = ("SUCCEEDED", "SKIPPED"), ("FAILED", "CANCELED")
PERIOD = 5.0  # seconds between two looks at a run
OUTAGE = 1800.0  # seconds that a server may be away while somebody waits for a run of hours


@dataclass(frozen=True)
class Order:
    """What a run is asked for: its name ("" for none given) and the pipeline's parameters, validated."""

    name: str
    parameters: dict[str, Any]


def read_orders(file: Path | None, **given: Any) -> list[Order]:
    """Orders from a YAML file: one mapping or a list of them, of what is ``given`` by name; what they leave out is as given.

    Without a file, what is given is the one order. Knobs are sent whole: the cluster needs none of our files. Raises
    ConfigError, which names file and place, before anything is sent.
    """
    entries: Any = {}
    if file is not None:
        try:
            entries = yaml.safe_load(file.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{file}: {' '.join(str(error).split())}") from None
    many = isinstance(entries, list)
    orders = []
    for number, entry in enumerate(entries if many else [entries], 1):
        where = f"{file}, set {number}: " if many else f"{file}: " if file else ""
        if not isinstance(entry, dict):
            raise ConfigError(f"{where}{entry!r}: expected a mapping of {', '.join(given)}")
        for key in entry:
            if key not in given:
                near = difflib.get_close_matches(str(key), given, 1, 0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(given)}"
                raise ConfigError(f"{where}unknown {key!r}: {hint}")
        try:
            orders.append(_order(**{**given, **entry}))
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from None
        if many and (not orders[-1].name or orders[-1].name in {order.name for order in orders[:-1]}):
            raise ConfigError(f"{where}name {orders[-1].name!r}: expected a name of its own for every set")
    if not orders:
        raise ConfigError(f"{file}: expected at least one set of parameters")
    return orders


def _order(name: str, photos: str, looks: str, preset: str, seeds: Any, set: Any, always: Any) -> Order:
    texts = {"name": name, "photos": photos, "looks": looks, "preset": preset}
    for key, value in texts.items():
        if not isinstance(value, str) or not (value.strip() or key == "name"):
            expected = "a folder that the pods see, or git+URL@REVISION#FOLDER" if key in ("photos", "looks") else "text"
            raise ConfigError(f"{key} = {value!r}: expected {expected}")
    if not isinstance(set, list) or not all(isinstance(item, str) for item in set):
        raise ConfigError(f"set = {set!r}: expected a list of texts such as tuning.steps=50")
    if not isinstance(always, bool):
        raise ConfigError(f"always = {always!r}: expected true or false")
    numbers = read_seeds(seeds if isinstance(seeds, list) else str(seeds).split(","))
    knobs = _knobs(preset, tuple(set))
    parameters = {"photos": photos, "looks": looks, "config": knobs, "seeds": [str(seed) for seed in numbers], "always": always}
    return Order(name.strip(), parameters)


def check(orders: Sequence[Order], cluster: Cluster) -> None:
    """Raise ConfigError for an order that the cluster's stages could not follow (``Cluster.check``)."""
    for order in orders:
        cluster.check(read_config(order.parameters["config"], ()))


@lru_cache
def _knobs(preset: str, overrides: tuple[str, ...]) -> str:
    return read_config(preset, overrides).to_yaml()


def submit(
    server: Server, pipeline: BaseComponent, orders: Sequence[Order], experiment: str, service_account: str = ""
) -> Iterator[tuple[str, str, bool]]:
    """Start the runs one after another: (name, id, whether it is new) of each. ``service_account`` of their pods; "": the server's own.

    A name stands for one run: where the experiment has a run of that name that did not fail and was not cancelled, none is
    started. So the same call again, after an error or for the failed ones, starts only what is missing. Raises ServerError.
    """
    # Compiled once: kfp's own run_pipeline reads the YAML again for every run.
    spec = {"pipeline_spec": MessageToDict(pipeline.pipeline_spec), "platform_spec": MessageToDict(pipeline.platform_spec)}
    place = server.experiment(experiment)

    def find(name: str) -> Any:
        runs = server.each("runs", server.list_runs, name, experiment_id=place, sort_by="created_at desc")
        return next((run for run in runs if run.state not in (*BAD, "CANCELING")), None)

    for number, order in enumerate(orders):
        name = order.name or f"{pipeline.name} {time.strftime('%Y-%m-%d %H:%M:%S')} {secrets.token_hex(2)}"
        body = V2beta1Run(
            display_name=name, experiment_id=place, pipeline_spec=spec, runtime_config=V2beta1RuntimeConfig(parameters=order.parameters),
            service_account=service_account or None,
        )  # fmt: skip
        try:
            there = find(name) if order.name else None
            create = server.runs.run_service_create_run
            run = there or server.make(f"start the run {name!r}", partial(find, name), create, run=body)
        except ServerError as error:
            if len(orders) == 1:
                raise
            raise ServerError(
                f"{error}; {number} of {len(orders)} runs are started, the same command starts the rest", error.status
            ) from None
        yield name, run.run_id, there is None


def address(server: Server, run: str) -> str:
    """Where a person looks at a run."""
    return f"{server.host}/#/runs/details/{run}"


def wait(server: Server, runs: Mapping[str, str], say: Callable[[str], object]) -> bool:
    """Wait until all runs (name -> id) have ended, and say what changes: state, stages at work, reasons of failures.

    Returns whether all succeeded. A server that is away for less than half an hour is waited for. Raises ServerError; the runs
    go on whatever happens here.
    """
    # Not kfp's wait_for_run_completion: it knows no CANCELED, and would wait for ever.
    left, shown, answered, good = dict(runs), dict[str, str](), time.monotonic(), True
    while left:
        for name, run in list(left.items()):
            try:
                now = server.ask(f"tell of the run {name!r}", server.get_run, run_id=run)
            except ServerError as error:
                if not error.unclear or time.monotonic() - answered > OUTAGE:
                    raise ServerError(f"{error}; the runs go on: {address(server, run)}", error.status) from None
                status = "no answer; still waiting"
            else:
                answered, status = time.monotonic(), _status(now)
                if now.state in (*GOOD, *BAD):
                    del left[name]
                    good = good and now.state in GOOD
            if shown.get(name) != status:
                shown[name] = status
                say(f"{time.strftime('%H:%M:%S')}  {name}  {status}")
        if left:
            time.sleep(PERIOD)
    return good


def _status(run: Any) -> str:
    """State and stages at work, or why it failed, in one line."""
    tasks = (run.run_details and run.run_details.task_details) or []
    if run.state in BAD:
        reasons = [f"{task.display_name}: {task.error.message}" for task in tasks if task.error and task.error.message]
        if not reasons and run.error and run.error.message:
            reasons = [run.error.message]
        return ": ".join([run.state, *(["; ".join(reasons)] if reasons else [])])
    # The server lists its own helpers too (drivers, executors): only our stages are of interest.
    working = sorted({task.display_name for task in tasks if task.state == "RUNNING" and task.display_name in NEEDS})
    return f"{run.state or 'PENDING'}{': ' if working else ''}{', '.join(working)}"
