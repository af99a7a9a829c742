"""A sqlite store for each test, and one real MLflow server for all that speak http."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from magicapture.registry.tracking import Tracker
from tests.registry import postgres
from tests.registry.servers import MlflowServer


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making them takes seconds, copying them none."""
    folder = tmp_path_factory.mktemp("store")
    code = (
        "import sqlalchemy, sys; from mlflow.store.db.utils import _initialize_tables as make; make(sqlalchemy.create_engine(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{folder / 'mlflow.db'}"], check=True, capture_output=True)
    return folder / "mlflow.db"


@pytest.fixture
def sqlite(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default store, in a working directory of the test's own; returns the database."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copyfile(empty_store, tmp_path / "here" / "mlflow.db")
    return tmp_path / "here" / "mlflow.db"


@pytest.fixture
def tracker(sqlite: Path) -> Tracker:
    """Connected to the test's own store."""
    return Tracker.connect()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    """The address of a real MLflow server on loopback."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    running = MlflowServer(folder, f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))
    try:
        running.start()
        yield running.address
    finally:
        running.kill(signal.SIGTERM)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, object]]:
    """What a cluster keeps things in: addresses of a PostgreSQL and of the MLflow server before it (tracked to), and a client of the S3
    server that has its artifacts, in the bucket "models"."""
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    store.start()
    host, port = store.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )  # fmt: skip
    client.create_bucket(Bucket="models")
    with postgres.serving() as database:
        running = MlflowServer(tmp_path, database, "s3://models/runs", MLFLOW_S3_ENDPOINT_URL=address, **keys)
        running.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", running.address)
        try:
            yield database, running.address, client
        finally:
            running.kill(signal.SIGTERM)
            urllib.request.urlopen(
                urllib.request.Request(f"{address}/moto-api/reset", method="POST")
            ).close()  # servers of a process share all
            store.stop()
