"""Real MLflow servers on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MlflowServer:
    """An ``mlflow server`` that can be killed and started again on the same port and store; ``logs`` is a file in ``folder``."""

    def __init__(self, folder: Path, store: str, artifacts: str, **environment: str) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--artifacts-destination", artifacts]
        self.command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.environment = {**os.environ, **quiet, **environment}
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns once it answers. Raises RuntimeError with the end of its log if it does not."""
        with open(self.folder / "log.txt", "a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=self.environment, cwd=self.folder, start_new_session=True
            )
        wait_for(f"{self.address}/health", self.process, self.folder / "log.txt")

    def kill(self, how: int = signal.SIGKILL) -> None:
        """The server and its workers."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, how)
            self.process.wait(30)


def wait_for(address: str, process: subprocess.Popen, log: Path, seconds: float = 240) -> None:
    """Until the address answers. Raises RuntimeError with the end of the log if it does not."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"{address} did not come up: {log.read_text()[-2000:]}")
