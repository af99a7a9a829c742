"""Where a cluster keeps things, a PostgreSQL behind MLflow and artifacts in S3: a person is gone from both."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from magicapture.purge import PurgeError, erase, find
from tests.purge.people import HE, SHE, bytes_with, make_person
from tests.registry import postgres


@pytest.mark.timeout(420)
def test_one_is_erased_and_the_other_stays(cluster: tuple[str, str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, address, client = cluster
    root = tmp_path / "here"
    for name in (HE, SHE):
        make_person(root, name)
    assert SHE in _dump(database) and _objects_with(SHE, client)
    others, rows = _objects_with(HE, client), _dump(database).count(HE)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", database)
    found = find(SHE, [root / "runs", root / "photos"])
    report = erase(found)
    assert report.left == [] and bytes_with(SHE, root) == []
    assert SHE not in _dump(database) and _objects_with(SHE, client) == []
    ((what, remedy),) = [entry for entry in report.retained if "VACUUM" in entry[1]]
    assert "secret" not in what and "write-ahead log" in what and "back-ups" in remedy
    assert _dump(database).count(HE) == rows and _objects_with(HE, client) == others
    champion = MlflowClient(address, address).get_model_version_by_alias(f"magicapture.{HE}.noir", "champion")
    assert champion.run_id
    with pytest.raises(PurgeError, match="nothing is of 'zoraida'"):
        find(SHE, [root / "runs"])


def _dump(database: str) -> str:
    """All of the database as SQL, by PostgreSQL's own tool."""
    tools = postgres.binaries()
    assert tools is not None
    address = database.replace("postgresql+psycopg2", "postgresql")
    return subprocess.run([str(tools / "pg_dump"), address], check=True, capture_output=True, text=True).stdout


def _objects_with(word: str, client: object) -> list[str]:
    """Keys of the bucket's objects that have a word in key or content."""
    keys = [entry["Key"] for page in _pages(client) for entry in page.get("Contents", ())]
    return [key for key in keys if word in key or word.encode() in client.get_object(Bucket="models", Key=key)["Body"].read()]  # type: ignore[attr-defined]


def _pages(client: object) -> list[dict]:
    return list(client.get_paginator("list_objects_v2").paginate(Bucket="models"))  # type: ignore[attr-defined]
