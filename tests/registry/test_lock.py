"""Which lock a store has, and that files and PostgreSQL let one in at a time and let go of the dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from magicapture.registry.lock import FileLock, LockLost, PostgresLock, choose, ensure, model_lock
from magicapture.registry.tracking import RegistryError
from tests.registry import postgres

HOLDER = """
import os, sys, time
from magicapture.registry.lock import model_lock
with model_lock("m", sys.argv[1], 60):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAGICAPTURE_LOCK", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    with postgres.serving() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}" if request.param == "sqlite" else request.getfixturevalue("database")


def test_one_at_a_time_and_each_model_by_itself(store: str) -> None:
    with model_lock("m", store, 1) as lock:
        assert lock.held()
        ensure(lock, "m")
        with pytest.raises(LockLost, match=r"model m: another promotion held the lock for 0\.3 s \(promotion\.lock_wait\)"):
            model_lock("m", store, 0.3).__enter__()
        with model_lock("n", store, 1) as other:
            assert other.held()
    assert not lock.held()
    with model_lock("m", store, 1) as lock:
        assert lock.held()
    with pytest.raises(LockLost, match="nothing was changed"):
        ensure(lock, "m")


def test_the_lock_of_a_killed_process_is_free(store: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, store], stdout=subprocess.PIPE, text=True, env=environment)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(LockLost):
        model_lock("m", store, 0.2).__enter__()
    holder.kill()
    holder.wait()
    with model_lock("m", store, 20) as lock:
        assert lock.held()


def test_a_database_that_goes_away_takes_the_lock_with_it() -> None:
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    with postgres.serving() as address:
        lock = PostgresLock("m", address)
        assert lock.acquire() and lock.held()
    assert not lock.held()
    lock.release()
    with pytest.raises(LockLost, match=r"//\*\*\*@127") as error:
        PostgresLock("m", address).acquire()
    assert "secret" not in str(error.value)


def test_the_lock_follows_the_store_or_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = choose("m", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert isinstance(beside, FileLock) and beside.path == tmp_path / "mlflow.db.locks" / "m.lock"
    assert isinstance(choose("m", "postgresql+psycopg2://u:p@h/d"), PostgresLock)
    here, there = choose("m", "http://one:5000"), choose("m", "http://two:5000")
    assert isinstance(here, FileLock) and isinstance(there, FileLock) and here.path != there.path
    monkeypatch.setenv("MAGICAPTURE_LOCK", f"file://{tmp_path}/shared")
    shared = choose("m", "http://one:5000")
    assert isinstance(shared, FileLock) and shared.path == tmp_path / "shared" / "m.lock"
    monkeypatch.setenv("MAGICAPTURE_LOCK", "postgresql://u:p@h/d")
    assert isinstance(choose("m", "http://one:5000"), PostgresLock)
    for wrong in ("redis://u:hidden@h", "lease", "file://"):
        monkeypatch.setenv("MAGICAPTURE_LOCK", wrong)
        with pytest.raises(RegistryError, match="expected file:///FOLDER") as error:
            choose("m", "http://one:5000")
        assert "hidden" not in str(error.value)


def test_waiting_ends_when_the_other_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = HOLDER.replace("time.sleep(600)", "while not os.path.exists(sys.argv[2]): time.sleep(0.02)")
    refused, acquire, tries = tmp_path / "refused", FileLock.acquire, list[bool]()

    def watched(lock: FileLock) -> bool:
        tries.append(acquire(lock))
        if not tries[-1]:
            refused.touch()
        return tries[-1]

    monkeypatch.setattr(FileLock, "acquire", watched)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    holder = subprocess.Popen([sys.executable, "-c", code, store, str(refused)], stdout=subprocess.PIPE, text=True, env=environment)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    try:
        with model_lock("m", store, 60) as lock:
            assert lock.held() and tries[0] is False
    finally:
        refused.touch()  # whatever came of it, the holder ends
    assert holder.wait(30) == 0
