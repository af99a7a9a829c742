"""A PostgreSQL of the tests' own, from Debian's package ``postgresql``."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def binaries() -> Path | None:
    """Folder of initdb and pg_ctl (Debian keeps them off the PATH), or None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = found[-1] if found else shutil.which("initdb")
    return Path(path).parent if path else None


@contextmanager
def serving() -> Iterator[str]:
    """A server on loopback; gives the address of its database, with password and driver. It refuses to run as root, hence its user.

    The driver is named because SQLAlchemy 2.1 takes psycopg 3 for a bare ``postgresql://``.
    """
    tools, folder = binaries(), Path(tempfile.mkdtemp(prefix="postgres-"))
    assert tools is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "password").write_text("secret\n")
    prefix: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        shutil.chown(folder / "password", "postgres")
        prefix = ["runuser", "-u", "postgres", "--"]

    def call(*command: str) -> None:
        subprocess.run([*prefix, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120)

    data = str(folder / "data")
    try:
        call(str(tools / "initdb"), "-D", data, "-U", "magicapture", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        call(str(tools / "pg_ctl"), "-D", data, "-o", options, "-l", str(folder / "log.txt"), "-w", "start")
        try:
            yield f"postgresql+psycopg2://magicapture:secret@127.0.0.1:{port}/postgres"
        finally:
            call(str(tools / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
