"""A real MLflow server on loopback with proxied artifacts: with its database's address all goes, without it what stays is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from magicapture.purge import erase, find
from tests.purge.people import HE, SHE, bytes_with, make_person


@pytest.mark.timeout(900)
def test_behind_a_server(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    (store,) = (path.parent for path in tmp_path_factory.getbasetemp().glob("server[0-9]*/log.txt"))  # where the fixture runs it
    for name in (HE, SHE):
        make_person(tmp_path, name)
    assert bytes_with(SHE, store / "artifacts") and bytes_with(SHE, store)
    report = erase(find(SHE, [tmp_path / "runs", tmp_path / "photos"]))
    assert bytes_with(SHE, tmp_path) == [] and bytes_with(SHE, store / "artifacts") == []
    assert len([line for line in report.left if "marked as deleted, not gone" in line]) == 8
    assert any("MLFLOW_BACKEND_STORE_URI" in remedy and "mlflow gc" in remedy for _, remedy in report.retained)
    client = MlflowClient(server, server)
    assert [model.name for model in client.search_registered_models()] == [f"magicapture.{HE}.noir"]

    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{store / 'mlflow.db'}")
    report = erase(find(SHE, [tmp_path / "runs", tmp_path / "photos"]))
    assert report.left == []
    assert SHE.encode() not in (store / "mlflow.db").read_bytes()
    champion = client.get_model_version_by_alias(f"magicapture.{HE}.noir", "champion")  # the server goes on, with him
    assert {entry.path for entry in client.list_artifacts(champion.run_id)} >= {"card.md", "report.html"}
