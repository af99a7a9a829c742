"""Schedules on a Kubeflow Pipelines server: what is refused, what is replaced, and failures in between."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from kfp.dsl.base_component import BaseComponent

from components.remote import Server, ServerError
from components.runs import Order
from components.schedules import check_cron, delete, describe, listed, pause, read_trigger, schedule
from components.values import Cluster
from magicapture.config import ConfigError
from tests.kfp_server import KfpServer

ROOT = Path(__file__).parents[2]
NIGHTLY = {"cron_expression": "0 0 3 * * *"}
HOURLY = {"interval_second": 3600}
PLAIN = Cluster()
COMMAND = """
import sys, pathlib
from components import remote
remote.REPOSITORY = pathlib.Path(sys.argv.pop(1))
import pipeline
pipeline.app()
"""


@pytest.mark.parametrize(
    "cron",
    [
        "0 0 3 * * *", "* * * * * ?", "0 0/15 * * * *", "0 5/15 * * JUL SUN",
        "15/35 20-35/15 1/2 */2 * *", "0 0 9 ? * 2-6", "0 0 0 29 Feb ?",
        "0 0 0 */5 Apr,Aug,Oct Mon", "0 0 0 * Feb Mon/2", "0 0 0 31 4,5 *", "0 0 0 30 2 mon", "  0  0 3 1-7 * fri ",
    ],
)  # fmt: skip
def test_crons_that_the_server_takes(cron: str) -> None:
    assert read_trigger(cron, None) == {"cron_expression": " ".join(cron.split())}


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "0 field(s)"),
        ("0 3 * * 1", "5 field(s): expected six"),
        ("0 0 3 * * * 2026", "7 field(s)"),
        ("@daily", "1 field(s)"),
        ("TZ=Asia/Tokyo 0 0 3 * * *", "7 field(s)"),
        ("60 0 3 * * *", "second '60': '60' is out of range; expected 0 to 59"),
        ("0 60 3 * * *", "minute '60'"),
        ("0 0 24 * * *", "hour '24'"),
        ("0 0 3 0 * *", "day of month '0'"),
        ("0 0 3 * 13 *", "month '13': '13' is out of range; expected 1 to 12, or jan to dec"),
        ("0 0 3 * * 7", "day of week '7': '7' is out of range; expected 0 to 6, or sun to sat"),
        ("0 0 3 * * monday", "'monday' is no number"),
        ("0 0 3 * * fri-mon", "day of week 'fri-mon'"),
        ("0 0 5-3 * * *", "'5-3' is out of range"),
        ("0 0 -3 * * *", "'' is no number"),
        ("0 0 1-2-3 * * *", "'2-3' is no number"),
        ("0 0 */0 * * *", "a step of 0"),
        ("0 0 */ * * *", "'' is no number"),
        ("0 0 1/2/3 * * *", "'2/3' is no number"),
        ("0 0 1,,2 * * *", "'' is no number"),
        ("0 0 1.5 * * *", "'1.5' is no number"),
        ("0 0 ² * * *", "'²' is no number"),
        ("0 0 3 L * *", "'L' is no number"),
        ("0 0 0 30 2 *", "day 30 never comes in month 2"),
        ("0 0 0 31 4,6,sep,nov ?", "day 31 never comes"),
    ],
)
def test_crons_that_are_refused(cron: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        check_cron(cron)
    assert repr(cron) in str(caught.value)


def test_intervals() -> None:
    assert [read_trigger(None, every)["interval_second"] for every in ("90s", "30m", "12h", "7d")] == [90, 1800, 43200, 604800]
    for every in ("", "0h", "12", "h", "1.5h", "-1h", "1w", "9999999999d"):
        with pytest.raises(ConfigError, match=f"every {every!r}: expected a number"):
            read_trigger(None, every)
    for both in ((None, None), ("0 0 3 * * *", "1d")):
        with pytest.raises(ConfigError, match="either --cron or --every"):
            read_trigger(*both)


class Desk:
    """Gives one command after another to the server."""

    def __init__(self, kfp: KfpServer, client: Server, portraits: BaseComponent) -> None:
        self.kfp, self.client, self.portraits = kfp, client, portraits

    def order(self, trigger: dict = NIGHTLY, cluster: Cluster = PLAIN, **parameters: str) -> str:
        whole = {"photos": "/p", "looks": "/l", "config": "mini", "seeds": ["0", "1"], **parameters}
        return schedule(self.client, self.portraits, cluster, Order("n", whole), "e", trigger)

    @property
    def all(self) -> list[dict]:
        return list(self.kfp.recurringruns.values())


@pytest.fixture
def desk(kfp: KfpServer, client: Server, portraits: BaseComponent, checkout: Path) -> Desk:
    return Desk(kfp, client, portraits)


def test_a_schedule_is_made(desk: Desk) -> None:
    assert desk.order() == "made"
    (made,) = desk.all
    assert (made["mode"], made["no_catchup"], made["max_concurrency"]) == ("ENABLE", True, "1")
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert desk.kfp.versions[made["pipeline_version_reference"]["pipeline_version_id"]]
    assert made["runtime_config"]["parameters"]["photos"] == "/p"
    assert [describe(entry) for entry in listed(desk.client, "e")] == [f"n  0 0 3 * * *  on  {made['recurring_run_id']}"]
    assert desk.order() == "unchanged" and desk.all == [made]


def test_the_same_name_is_replaced_by_whatever_is_other(desk: Desk, checkout: Path) -> None:
    desk.order()
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", str(checkout), *who, "commit", "-q", "--allow-empty", "-m", "second"], check=True)
    changes = [{}, {"trigger": HOURLY}, {"trigger": HOURLY, "photos": "/q"}]
    changes += [{"trigger": HOURLY, "cluster": cluster} for cluster in (Cluster(gpu_type="nvidia.com/gpu"), Cluster(service_account="s"))]
    seen = set()
    for change in changes:
        assert desk.order(**change) == "updated"
        (only,) = desk.all
        assert only["mode"] == "ENABLE"
        seen.add(only["recurring_run_id"])
        assert desk.order(**change) == "unchanged"
    assert len(seen) == len(changes)
    assert [entry["trigger"] for entry in desk.all] == [{"periodic_schedule": {"interval_second": "3600"}}]


def test_pause_resume_delete(desk: Desk) -> None:
    desk.order()
    (ident,) = desk.kfp.recurringruns
    pause(desk.client, "e", "n")
    pause(desk.client, "e", "n")
    assert describe(listed(desk.client, "e")[0]) == f"n  0 0 3 * * *  paused  {ident}"
    assert desk.order() == "resumed" and desk.kfp.enabled("n") == [ident]
    pause(desk.client, "e", "n")
    assert desk.order(HOURLY) == "updated" and len(desk.all) == 1 and desk.kfp.enabled("n") != [ident]
    for act in (pause, delete):
        with pytest.raises(ConfigError, match=r"no schedule 'm' in experiment 'e': there is n$"):
            act(desk.client, "e", "m")
        with pytest.raises(ConfigError, match="there is none"):
            act(desk.client, "elsewhere", "n")
    assert [entry["display_name"] for entry in desk.kfp.experiments.values()] == ["e"]
    delete(desk.client, "e", "n")
    assert desk.all == [] and listed(desk.client, "e") == []


def test_a_run_at_work_outlives_its_schedule(desk: Desk) -> None:
    desk.order()
    (ident,) = desk.kfp.recurringruns
    desk.kfp.runs["r"] = {"run_id": "r", "recurring_run_id": ident, "state": "RUNNING"}
    assert desk.order(HOURLY) == "updated" and ident not in desk.kfp.recurringruns
    delete(desk.client, "e", "n")
    assert desk.kfp.runs["r"]["state"] == "RUNNING"


def test_other_names_and_experiments_are_left_alone(desk: Desk) -> None:
    desk.order()
    parameters = {"photos": "/p", "looks": "/l", "config": "mini", "seeds": ["0"]}
    for name, experiment in (("m", "e"), ("n", "f")):
        assert schedule(desk.client, desk.portraits, PLAIN, Order(name, parameters), experiment, HOURLY) == "made"
    assert desk.order(HOURLY) == "updated" and len(desk.all) == 3
    delete(desk.client, "e", "n")
    assert sorted(entry["display_name"] for entry in desk.all) == ["m", "n"]


def test_two_of_one_name_that_somebody_made_are_refused(desk: Desk) -> None:
    desk.order()
    (made,) = desk.all
    twin = {**made, "recurring_run_id": "twin"}
    desk.kfp.recurringruns["twin"] = twin
    before = json.dumps([desk.all, list(desk.kfp.versions)])
    with pytest.raises(ConfigError, match=r"two schedules are called 'n'.*twin"):
        desk.order(HOURLY)
    assert json.dumps([desk.all, list(desk.kfp.versions)]) == before
    delete(desk.client, "e", "n")
    assert desk.order(HOURLY) == "made" and len(desk.all) == 1


STEPS = {
    "create": ("POST", "/recurringruns", 3),
    "pause-old": ("POST", "/recurringruns/[^/]+:disable", 3),
    "start-new": ("POST", "/recurringruns/[^/]+:enable", 3),
    "delete-old": ("DELETE", "/recurringruns/[^/]+", 4),
}


@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
@pytest.mark.parametrize("status", [500, 0, 403])
@pytest.mark.parametrize("step", STEPS)
def test_an_update_that_fails_anywhere_leaves_one_schedule_on(step: str, status: int, done: bool, desk: Desk) -> None:
    """Every step fails as often as it is tried; then the same command is given again."""
    desk.order()
    (old,) = desk.kfp.enabled("n")
    method, path, tries = STEPS[step]
    desk.kfp.fail(method, path, status, times=1 if status == 403 else tries, done=done)
    failed = None
    try:
        outcome = desk.order(HOURLY)
    except ServerError as error:
        failed, outcome = str(error), ""
    desk.kfp.faults.clear()
    (on,) = desk.kfp.enabled("n")
    assert (on == old) is (failed is not None and step != "delete-old"), failed
    if failed is None:  # what was done although the answer was lost was found out
        assert outcome == "updated" and done and status != 403
    elif step in ("pause-old", "start-new"):
        assert "the schedule is as it was" in failed and [entry["recurring_run_id"] for entry in desk.all] == [old]
    elif step == "delete-old":
        assert "the new schedule is on" in failed
    assert desk.order(HOURLY) == ("updated" if on == old else "unchanged")
    assert [entry["recurring_run_id"] for entry in desk.all] == desk.kfp.enabled("n")
    assert desk.all[0]["trigger"] == {"periodic_schedule": {"interval_second": "3600"}}
    assert desk.kfp.most_enabled == 1


def test_a_server_that_goes_away_between_is_said_and_mended(desk: Desk) -> None:
    desk.order()
    desk.kfp.fail("POST", "/recurringruns/[^/]+:enable", 0, times=10**6)
    desk.kfp.fail("DELETE", ".*", 0, times=10**6)
    with pytest.raises(ServerError, match="may be paused: give the same command again"):
        desk.order(HOURLY)
    assert desk.kfp.enabled("n") == []  # no call could have put it right, and two would be worse
    desk.kfp.faults.clear()
    assert desk.order(HOURLY) == "updated"
    assert len(desk.all) == len(desk.kfp.enabled("n")) == 1


def test_resuming_that_fails_keeps_the_paused_schedule(desk: Desk) -> None:
    desk.order()
    pause(desk.client, "e", "n")
    desk.kfp.fail("POST", "/recurringruns/[^/]+:enable", 403)
    with pytest.raises(ServerError, match="the schedule is as it was"):
        desk.order()
    assert [entry["mode"] for entry in desk.all] == ["DISABLE"]
    assert desk.order() == "resumed"


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_between(blow: signal.Signals, desk: Desk, checkout: Path) -> None:
    """Ctrl-C goes back to the old schedule; kill -9 leaves it paused, and the same command mends it."""
    given = ["--name", "n", "--experiment", "e", "--photos", "/data/person", "--looks", "/data/look", "--every"]
    command = [sys.executable, "-c", COMMAND, str(checkout), "schedule", "--host", desk.kfp.host, *given]
    subprocess.run([*command, "1d"], cwd=ROOT, check=True)
    (old,) = desk.kfp.enabled("n")
    desk.kfp.fail("POST", "/recurringruns/[^/]+:enable", 500, delay=2)
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # who is started in the background by a shell is deaf to it
    with subprocess.Popen([*command, "2d"], cwd=ROOT, stderr=subprocess.DEVNULL, preexec_fn=heard) as process:
        while sum(line.endswith(":enable") for line in desk.kfp.asked) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(blow)
    assert process.returncode
    assert desk.kfp.enabled("n") == ([old] if blow == signal.SIGINT else [])
    again = subprocess.run([*command, "2d"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert again.stdout == "n  updated\n"
    assert [entry["trigger"]["periodic_schedule"]["interval_second"] for entry in desk.all] == ["172800"] and desk.kfp.enabled("n")
