"""An MLflow server as a cluster has it: PostgreSQL behind it, artifacts in S3; two promotions at once over http."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from magicapture.registry import promote, rollback, show_model
from magicapture.registry.tracking import Tracker
from tests.registry.artifacts import knobs, make_candidate
from tests.registry.test_decision import FINISHER
from tests.registry.test_promotion import NAME


@pytest.mark.timeout(420)
def test_promotion_and_rollback_where_a_cluster_keeps_things(
    cluster: tuple[str, str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _, client = cluster
    monkeypatch.setenv("MAGICAPTURE_LOCK", database)
    command = [sys.executable, "-c", FINISHER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    both = [subprocess.Popen([*command, score, seed], env=environment) for score, seed in (("0.6", "1"), ("0.8", "2"))]
    assert [process.wait(200) for process in both] == [0, 0]
    model = show_model(NAME)
    (better,) = (entry["version"] for entry in model["versions"] if entry["scores"]["selection"] > 0.7)
    assert model["champion"] == better and model["history"][-1] == better and len(model["versions"]) == 2
    promote([make_candidate(tmp_path / "best", selection=0.9)], tmp_path / "out", knobs())
    content = json.loads((tmp_path / "out" / "manifest.json").read_text())["content"]
    assert (content["version"], content["outcome"], content["previous"]) == ("3", "champion", better)
    assert rollback(NAME).version == better
    assert Tracker.connect().client.get_model_version_by_alias(NAME, "champion").tags["score.selection"] == "0.80000"
    stored = [entry["Key"] for entry in client.list_objects_v2(Bucket="models")["Contents"]]  # type: ignore[attr-defined]
    assert len([key for key in stored if key.endswith("artifacts/adapter/pytorch_lora_weights.safetensors")]) == 3
    assert len([key for key in stored if key.endswith("scores/p1/scores.json")]) == 3
