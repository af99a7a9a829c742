"""A Kubeflow Pipelines server on loopback, a client of it that loses no time, and a checkout to name versions by."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp.dsl.base_component import BaseComponent

import pipeline
from components import remote, runs
from components.values import Cluster
from tests.kfp_server import KfpServer, serving


@pytest.fixture(scope="session")
def portraits() -> BaseComponent:
    return pipeline.portraits(Cluster())


@pytest.fixture
def kfp() -> Iterator[KfpServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same retries, without the long waits."""
    monkeypatch.setattr(remote, "RETRIES", remote.RETRIES.new(backoff_factor=0.001))
    monkeypatch.setattr(remote, "PAUSES", (0.001, 0.001))
    monkeypatch.setattr(remote, "TIMEOUT", (5.0, 1.0))
    monkeypatch.setattr(runs, "PERIOD", 0.01)
    for name in ("KFP_EXISTING_TOKEN", "KFP_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(kfp: KfpServer) -> remote.Server:
    return remote.Server(kfp.host)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one commit, in place of this one, which may have changes."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("pipeline.py", "cluster.yaml"):
        (folder / name).write_text("first\n")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    monkeypatch.setattr(remote, "REPOSITORY", folder)
    return folder
