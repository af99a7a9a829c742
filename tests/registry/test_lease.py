"""The Kubernetes Lease against a server that keeps resourceVersions and answers conflicts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from magicapture.registry.lease import Lease
from magicapture.registry.lock import choose
from magicapture.registry.tracking import RegistryError, TrackingDown
from tests.registry.lease_server import TOKEN, LeaseServer, serving


@pytest.fixture
def server() -> Iterator[LeaseServer]:
    with serving() as running:
        yield running


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """A service account's folder, without ca.crt: the server speaks plain http."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text("portraits\n")
    return tmp_path


def lease(server: LeaseServer, account: Path, name: str = "m.a.b", duration: int = 30) -> Lease:
    return Lease(name, server.address, "portraits", account, duration)


def test_one_holds_it_until_it_is_given_back(server: LeaseServer, account: Path) -> None:
    first, second, other = lease(server, account), lease(server, account), lease(server, account, "m.a.c")
    assert first.acquire() and first.held()
    assert not second.acquire() and not second.held()
    assert other.acquire()
    ((path, kept), _) = server.leases.items()
    assert path == f"/apis/coordination.k8s.io/v1/namespaces/portraits/leases/{first.lease}"
    assert kept["spec"]["holderIdentity"] == first.identity and "m.a.b" not in str(server.leases)
    first.release()
    assert not first.held()
    assert second.acquire() and server.leases[path]["spec"]["leaseTransitions"] == 1
    second.release()
    other.release()


def test_of_many_at_once_one_gets_it(server: LeaseServer, account: Path) -> None:
    for _ in range(5):  # the first round creates it, the others write to it
        racers, got = [lease(server, account) for _ in range(8)], []
        start = threading.Barrier(len(racers))

        def race(racer: Lease, start: threading.Barrier = start, got: list[Lease] = got) -> None:
            start.wait()
            if racer.acquire():
                got.append(racer)

        threads = [threading.Thread(target=race, args=(racer,)) for racer in racers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        got[0].release()


def test_a_dead_holders_lease_runs_out_and_a_living_ones_does_not(
    server: LeaseServer, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that stands still between two renewals, so that a busy machine lets no lease run out."""
    clock = [1000.0]
    monkeypatch.setattr("magicapture.registry.lease.time", SimpleNamespace(monotonic=lambda: clock[0]))
    holder, waiter = lease(server, account, duration=1), lease(server, account, duration=1)
    assert holder.acquire()
    for _ in range(4):  # three durations in all
        assert not waiter.acquire()
        clock[0] += 0.75
        assert holder.held()
        until = time.monotonic() + 20
        while holder.renewed < clock[0]:
            assert time.monotonic() < until
            time.sleep(0.02)
    holder.stop.set()  # as if its process had died
    assert holder.keeper is not None
    holder.keeper.join()
    for _ in range(2):
        assert not waiter.acquire()
        clock[0] += 0.75
    assert not holder.held()
    assert waiter.acquire()
    taken = dict(next(iter(server.leases.values()))["spec"])
    holder.release()  # it does not give back what is another's
    assert next(iter(server.leases.values()))["spec"]["holderIdentity"] == taken["holderIdentity"] == waiter.identity
    waiter.release()


def test_a_holder_that_cannot_renew_knows_it_is_none(server: LeaseServer, account: Path) -> None:
    holder = lease(server, account, duration=1)
    assert holder.acquire()
    server.away = True
    time.sleep(1.2)
    assert not holder.held()
    with pytest.raises(TrackingDown, match="answered 503"):
        lease(server, account).acquire()
    server.away = False
    until = time.monotonic() + 20
    while not holder.held():  # nobody took it meanwhile
        assert time.monotonic() < until
        time.sleep(0.05)
    holder.release()


def test_a_missing_right_is_named(server: LeaseServer, account: Path) -> None:
    (account / "token").write_text("wrong")
    with pytest.raises(RegistryError, match="403; .*get, create and update on leases .* in namespace portraits"):
        lease(server, account).acquire()
    assert server.leases == {}


def test_a_name_that_an_older_version_wrote_goes(server: LeaseServer, account: Path) -> None:
    """The model's name has the person's in it, and no purge reaches the cluster."""
    first = lease(server, account)
    assert first.acquire()
    first.release()
    (kept,) = server.leases.values()
    kept["metadata"]["annotations"] = {"magicapture/model": "m.anna.b", "other": "x"}
    second = lease(server, account)
    assert second.acquire() and next(iter(server.leases.values()))["metadata"]["annotations"] == {"other": "x"}
    second.release()


def test_a_right_lost_meanwhile_does_not_undo_what_was_done(server: LeaseServer, account: Path, caplog: pytest.LogCaptureFixture) -> None:
    holder = lease(server, account)
    assert holder.acquire()
    (account / "token").write_text("wrong")
    holder.release()
    assert not holder.held() and "could not be given back" in caplog.text and "403" in caplog.text


def test_a_pod_finds_its_cluster(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(RegistryError, match="no pod"):
        Lease.in_pod("m", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    monkeypatch.delenv("MAGICAPTURE_LOCK", raising=False)
    monkeypatch.setattr("magicapture.registry.lease.ACCOUNT", account)
    monkeypatch.setattr(Lease.in_pod.__func__, "__defaults__", (account,))
    found = choose("m", "http://mlflow:5000")
    assert isinstance(found, Lease)
    assert found.collection == "https://10.0.0.1:6443/apis/coordination.k8s.io/v1/namespaces/portraits/leases"
