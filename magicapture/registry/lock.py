"""One promotion of a model at a time: MLflow's aliases have no compare-and-set, so a lock is held from reading to writing them.

Which lock follows from where the store is, or from MAGICAPTURE_LOCK:

- a file beside a sqlite database; ``file:///FOLDER``, which all machines that promote must share;
- an advisory lock of the PostgreSQL that the tracking store is in; ``postgresql://...``, also the database behind an MLflow server;
- a Kubernetes Lease in the pod's namespace, where the tracking server is reached over http from a cluster; ``lease``, and
  ``lease://NAMESPACE`` for those of another namespace.

Every one of them is free again when its holder dies: files and advisory locks at once, a Lease after it ran out.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from magicapture.artifacts import is_at
from magicapture.data.address import shown
from magicapture.registry.lease import Lease, in_cluster
from magicapture.registry.tracking import RegistryError, TrackingDown, sqlite_file

SETTING = "MAGICAPTURE_LOCK"
FIRST_WAIT, LONGEST_WAIT = 0.05, 2.0

logger = logging.getLogger(__name__)


class LockLost(TrackingDown):
    """The lock was not had in time, or lost while it was needed; no alias was written. The promotion may be repeated."""


class Lock(Protocol):
    """``acquire`` tries once; ``held`` says whether the lock is still ours; ``release`` may be called whatever happened."""

    def acquire(self) -> bool: ...

    def held(self) -> bool: ...

    def release(self) -> None: ...


@contextmanager
def model_lock(name: str, uri: str, seconds: float) -> Iterator[Lock]:
    """Hold the lock of a registered model of the store at ``uri``, after waiting for it at most ``seconds``.

    Ask for ``held()`` before what must not be written by two. Raises LockLost when the time is up, RegistryError for a setting that
    cannot be used.
    """
    lock, until, wait = choose(name, uri), time.monotonic() + seconds, FIRST_WAIT
    try:
        while not lock.acquire():
            if time.monotonic() + wait > until:
                raise LockLost(
                    f"model {name}: another promotion held the lock for {seconds:g} s (promotion.lock_wait); repeat this one when it ended"
                )
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        yield lock
    finally:
        lock.release()


def ensure(lock: Lock, name: str) -> None:
    """Raises LockLost unless the lock is still held."""
    if not lock.held():
        raise LockLost(
            f"model {name}: the lock was lost before the alias was written; nothing was changed, except for what a version says of its "
            "verdict; repeat the promotion"
        )


def choose(name: str, uri: str) -> Lock:
    """The lock of a model of the store at ``uri``."""
    setting = os.environ.get(SETTING, "")
    where = setting or ("lease" if uri.startswith("http") and in_cluster() else uri)
    kind, rest = urlsplit(where).scheme, urlsplit(where)
    if where == "lease" or (kind == "lease" and rest.netloc):
        return Lease.in_pod(name, namespace=rest.netloc)
    if kind.partition("+")[0] == "postgresql":
        return PostgresLock(name, where)
    if setting and kind == "file" and rest.path:
        return FileLock(Path(unquote(rest.path)) / f"{name}.lock")
    if setting:
        raise RegistryError(f"{SETTING}={shown(setting)!r}: expected file:///FOLDER, postgresql://..., lease, or lease://NAMESPACE")
    if (database := sqlite_file(where)) is not None:
        return FileLock(database.with_name(f"{database.name}.locks") / f"{name}.lock")
    logger.warning(
        "model %s is locked on this machine alone: %s says nothing of its database; set %s where several machines promote", name,
        shown(uri), SETTING,
    )  # fmt: skip
    folder = f"magicapture-{os.getuid()}/{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
    return FileLock(Path(tempfile.gettempdir()) / folder / f"{name}.lock")


class FileLock:
    """flock on a file, which stays until the model is erased; the kernel gives it back when the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: int | None = None

    def acquire(self) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            if self.file is None:
                self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if is_at(self.path, self.file):
                return True
            self.release()  # its holder erased the model and the file with it: whoever comes now opens another

    def held(self) -> bool:
        return self.file is not None

    def release(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None


class PostgresLock:
    """A session's advisory lock; PostgreSQL gives it back when the connection ends."""

    def __init__(self, name: str, uri: str) -> None:
        self.key = int.from_bytes(hashlib.sha256(f"magicapture:{name}".encode()).digest()[:8], "big", signed=True)
        self.uri = uri
        self.engine: Any = None
        self.connection: Any = None

    def acquire(self) -> bool:
        from sqlalchemy import create_engine, text
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        try:
            if self.connection is None:
                self.engine = create_engine(self.uri, isolation_level="AUTOCOMMIT", poolclass=NullPool)
                self.connection = self.engine.connect()
            return bool(self.connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": self.key}).scalar())
        except (SQLAlchemyError, ImportError) as error:
            raise LockLost(f"lock in {shown(self.uri)}: {' '.join(str(error).split())[:300]}; check the database and its driver") from error

    def held(self) -> bool:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted"
        try:
            return self.connection is not None and bool(self.connection.execute(text(query)).scalar())
        except SQLAlchemyError:
            return False

    def release(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
