"""Schedules: recurring runs on a Kubeflow Pipelines server, known by their name within an experiment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kfp.dsl.base_component import BaseComponent

from components.remote import Server, ServerError, upload
from components.runs import Order
from components.values import Cluster
from magicapture.config import ConfigError

# The six fields of robfig/cron v1, by which the server reads them, with least and greatest value and names.
FIELDS: dict[str, tuple[int, int, str]] = {
    "second": (0, 59, ""),
    "minute": (0, 59, ""),
    "hour": (0, 23, ""),
    "day of month": (1, 31, ""),
    "month": (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    "day of week": (0, 6, "sun mon tue wed thu fri sat"),
}
DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_trigger(cron: str | None, every: str | None) -> dict[str, Any]:
    """One of the two, as kfp's client names it. Raises ConfigError, which says what is wrong with it."""
    if (cron is None) == (every is None):
        raise ConfigError("a schedule is either --cron or --every, for example --cron '0 0 3 * * *' (at 3:00:00 UTC) or --every 12h")
    if cron is not None:
        check_cron(cron)
        return {"cron_expression": " ".join(cron.split())}
    match = re.fullmatch(r"(\d{1,9})([smhd])", every or "")
    seconds = int(match[1]) * UNITS[match[2]] if match else 0
    if not seconds:
        raise ConfigError(f"every {every!r}: expected a number and one of s, m, h, d, for example 12h")
    return {"interval_second": seconds}


def check_cron(cron: str) -> None:
    """Refuse what the server would refuse, and what it would take for something else. Raises ConfigError."""
    parts = cron.split()
    if len(parts) != len(FIELDS):
        # The server takes five for a schedule without its last field: 0 3 * * 1 would not be Mondays at 3 but every hour of January.
        raise ConfigError(
            f"cron {cron!r} has {len(parts)} field(s): expected six, second minute hour day-of-month month day-of-week, "
            "for example '0 0 3 * * *' for every day at 3:00:00 UTC"
        )
    values = {}
    for part, (field, (least, most, names)) in zip(parts, FIELDS.items()):
        try:
            values[field] = {value for item in part.split(",") for value in _range(item, least, most, names.split())}
        except ValueError as error:
            known = f", or {names.split()[0]} to {names.split()[-1]}" if names else ""
            raise ConfigError(
                f"cron {cron!r}: {field} {part!r}: {error}; expected {least} to {most}{known}, *, a-b, a,b or a/step"
            ) from None
    # The server would take a day that never comes for one long past, and start runs without end.
    if parts[5][0] in "*?" and min(values["day of month"]) > max(DAYS[month - 1] for month in values["month"]):
        raise ConfigError(f"cron {cron!r}: day {parts[3]} never comes in month {parts[4]}")


def _range(text: str, least: int, most: int, names: list[str]) -> range:
    """``*``, ``?``, ``a`` or ``a-b``, each with an optional ``/step``; ``a/step`` goes on to the end. Raises ValueError."""
    span, slash, step = text.partition("/")
    low, hyphen, high = span.partition("-")
    if low in ("*", "?") and not hyphen:
        first, last = least, most
    else:
        first = _number(low, least, names)
        last = _number(high, least, names) if hyphen else most if slash else first
    width = _number(step, 0, []) if slash else 1
    if not width:
        raise ValueError("a step of 0")
    if not least <= first <= last <= most:
        raise ValueError(f"{text!r} is out of range")
    return range(first, last + 1, width)


def _number(text: str, least: int, names: list[str]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + least
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"{text!r} is no number")
    return int(text)


def listed(server: Server, experiment: str, name: str | None = None) -> list[Any]:
    """The experiment's schedules, or those of one name. Raises ServerError."""
    place = server.find_experiment(experiment)
    found = server.each("recurring_runs", server.list_recurring_runs, experiment_id=place.experiment_id) if place else ()
    return [entry for entry in found if name in (None, entry.display_name)]


def describe(entry: Any) -> str:
    """One line of a listing."""
    trigger = entry.trigger
    when = trigger.cron_schedule.cron if trigger.cron_schedule else f"every {trigger.periodic_schedule.interval_second} s"
    return f"{entry.display_name}  {when}  {'on' if _on(entry) else 'paused'}  {entry.recurring_run_id}"


def schedule(server: Server, pipeline: BaseComponent, cluster: Cluster, order: Order, experiment: str, trigger: dict[str, Any]) -> str:
    """Run the commit's version of the pipeline by ``trigger``: one run at a time, and what was missed is not caught up on.

    A schedule of that name in the experiment is replaced, or left alone where it is the same already. Returns which of
    "made", "updated", "resumed" or "unchanged". Raises ConfigError and ServerError; then the old schedule goes on as it was,
    or the error says that it does not.
    """
    same = listed(server, experiment, order.name)
    old = [entry for entry in same if _on(entry)]
    if len(old) > 1:
        ids = ", ".join(entry.recurring_run_id for entry in old)
        raise ConfigError(
            f"two schedules are called {order.name!r} in experiment {experiment!r} ({ids}), not by this command: delete one of them in the "
            f"server's pages, or both by `pipeline.py schedules delete {order.name}`"
        )
    version = upload(server, pipeline, cluster)
    wanted = dict(
        params=order.parameters, version_id=version.pipeline_version_id, max_concurrency=1, no_catchup=True,
        service_account=cluster.service_account or None, **trigger,
    )  # fmt: skip
    new = next((entry for entry in [*old, *same] if _settings(entry) == wanted), None)
    if new is None:
        # The API cannot change a schedule. The new one is made paused: whatever the server has against it, it says now.
        place = server.experiment(experiment)
        new = server.make(
            f"make the schedule {order.name!r}",
            lambda: next((entry for entry in listed(server, experiment, order.name) if _settings(entry) == wanted), None),
            server.create_recurring_run,
            experiment_id=place, job_name=order.name, pipeline_id=version.pipeline_id, enabled=False, **wanted,
        )  # fmt: skip
    stale = [entry for entry in same if entry.recurring_run_id != new.recurring_run_id]
    done = "unchanged" if _on(new) else "updated" if stale else "resumed" if same else "made"
    if not _on(new):
        _hand_over(server, old, new, fresh=new not in same)
    for entry in stale:
        try:
            _delete(server, entry)
        except ServerError as error:
            raise ServerError(
                f"{error}; the new schedule is on, and the old one is left paused: the same command removes it", error.status
            ) from None
    return done


def _hand_over(server: Server, old: list[Any], new: Any, *, fresh: bool) -> None:
    """Pause the old schedule, then start the new one; after a failure go back to what was.

    Between the two calls none is on, never both, which would train twice. The gap misses nothing: a time that comes in it is
    later than the new one's making, so the server starts it when the new one is switched on.
    """
    try:
        for entry in old:
            _switch(server, entry, on=False)
        _switch(server, new, on=True)
    except BaseException as error:  # Ctrl-C between the two is a failure like another
        try:
            # The new one first: it may be on, if only its answer was lost.
            _delete(server, new) if fresh else _switch(server, new, on=False)
            for entry in old:
                _switch(server, entry, on=True)
        except ServerError as second:
            raise ServerError(
                f"{error}; and to go back: {second}; the schedule {new.display_name!r} may be paused: give the same command again"
            ) from None
        if isinstance(error, ServerError):
            raise ServerError(f"{error}; the schedule is as it was", error.status) from None
        raise


def pause(server: Server, experiment: str, name: str) -> None:
    """Start no more runs; `schedule` resumes. Raises ConfigError for an unknown name, ServerError."""
    for entry in _named(server, experiment, name):
        _switch(server, entry, on=False)


def delete(server: Server, experiment: str, name: str) -> None:
    """Forget a schedule; its runs stay. Raises ConfigError for an unknown name, ServerError."""
    for entry in _named(server, experiment, name):
        _delete(server, entry)


def _named(server: Server, experiment: str, name: str) -> Iterator[Any]:
    entries = listed(server, experiment)
    names = sorted({entry.display_name for entry in entries})
    if name not in names:
        raise ConfigError(f"no schedule {name!r} in experiment {experiment!r}: there is {', '.join(names) or 'none'}")
    return (entry for entry in entries if entry.display_name == name)


def _on(entry: Any) -> bool:
    return entry.mode == "ENABLE"


def _settings(entry: Any) -> dict[str, Any]:
    """What makes two schedules of one name the same, named as kfp's client names it."""
    cron, period = entry.trigger.cron_schedule, entry.trigger.periodic_schedule
    return {
        "params": entry.runtime_config.parameters if entry.runtime_config else None,
        "version_id": entry.pipeline_version_reference.pipeline_version_id if entry.pipeline_version_reference else None,
        "max_concurrency": int(entry.max_concurrency or 0),
        "no_catchup": bool(entry.no_catchup),
        "service_account": entry.service_account or None,
        **({"cron_expression": cron.cron} if cron else {"interval_second": int(period.interval_second)} if period else {}),
    }


def _switch(server: Server, entry: Any, *, on: bool) -> None:
    def find() -> Any:
        now = server.ask("tell of a schedule", server.get_recurring_run, recurring_run_id=entry.recurring_run_id)
        return now if _on(now) is on else None

    call = server.enable_recurring_run if on else server.disable_recurring_run
    what = f"{'start' if on else 'pause'} the schedule {entry.display_name!r}"
    server.make(what, find, call, recurring_run_id=entry.recurring_run_id)


def _delete(server: Server, entry: Any) -> None:
    # Not by kfp's own method: it names no policy, and then Kubernetes ends the schedule's runs that are at work with it.
    # (Servers before the policy, those of 2025, end them all the same.)
    call = server.recurring_runs.recurring_run_service_delete_recurring_run
    try:
        server.ask(
            f"delete the schedule {entry.display_name!r}", call, recurring_run_id=entry.recurring_run_id, propagation_policy="ORPHAN"
        )
    except ServerError as error:
        if error.status != 404:  # gone already, for example by a first try whose answer was lost
            raise
