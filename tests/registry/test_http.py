"""Everything over http against a real server, with no more of MLflow than mlflow-skinny installs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.registry.artifacts import make_candidate

# Packages of the full mlflow that mlflow-skinny does not bring (numpy and pandas are installed beside it: pyfunc needs them).
FULL_ONLY = ("sqlalchemy", "alembic", "flask", "sklearn", "matplotlib", "scipy", "pyarrow", "docker", "graphene", "huey", "torch")

SCRIPT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in sys.argv[1].split(",") else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import json, pathlib
from tests.registry.artifacts import knobs
from magicapture.registry import promote
candidates = [{kind: pathlib.Path(path) for kind, path in entry.items()} for entry in json.loads(sys.argv[2])]
promote(candidates, sys.argv[3], knobs(), None)
"""


@pytest.mark.timeout(420)
def test_promotion_over_http_needs_only_mlflow_skinny(server: str, tmp_path: Path) -> None:
    candidates = json.dumps([{kind: str(path) for kind, path in make_candidate(tmp_path, steps=700).items()}])
    out = tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, ",".join(FULL_ONLY), candidates, str(out)]
    repository = Path(__file__).parents[2]
    result = subprocess.run(
        command, cwd=repository, env={**os.environ, "MLFLOW_TRACKING_URI": server}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    content = json.loads((out / "manifest.json").read_text())["content"]
    assert content["version"] == "1", content["reason"]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(server, server)
    version = client.get_model_version_by_alias("magicapture.anna.noir", "champion")
    assert version.tags["lineage"] == content["lineage"]
    runs = client.search_runs([client.get_experiment_by_name("magicapture").experiment_id], "tags.stage = 'tuning'")
    assert len(client.get_metric_history(runs[0].info.run_id, "total")) == 700
    assert "attention/source-v1.png" in {entry.path for entry in client.list_artifacts(runs[0].info.run_id, "attention")}
