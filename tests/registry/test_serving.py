"""`mlflow models serve` on a registered version: a prompt as JSON in, PNG pictures out."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicapture.registry import promote
from tests.backbones.tinysd import write_pack
from tests.generation.conftest import DESCRIPTIONS, write_adapter
from tests.registry.artifacts import knobs, make_candidate
from tests.registry.servers import free_port, wait_for
from tests.registry.test_promotion import NAME


def ask(address: str, body: dict) -> list[bytes]:
    request = urllib.request.Request(f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return [base64.b64decode(text) for text in json.load(answer)["predictions"]]


@pytest.mark.timeout(420)
def test_a_registered_model_serves_pictures(sqlite: Path, tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "pack")
    candidate = make_candidate(tmp_path / "stages") | {"adapter": write_adapter(tmp_path / "adapter", pack, DESCRIPTIONS)}
    config = knobs(pack=str(pack.folder), device="cpu", generation={"steps": 2, "prompts": ["a [V1] in [V2]"]})
    promote([candidate], tmp_path / "out", config)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/{NAME}@champion", "--env-manager", "local"]
    environment = {
        **os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{sqlite}", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    with open(tmp_path / "log.txt", "w") as log:
        serving = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            stdout=log, stderr=log, env=environment, cwd=tmp_path, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(f"{address}/ping", serving, tmp_path / "log.txt")
        first = ask(address, {"inputs": ["a [V1] in [V2]"]})
        rows = {"dataframe_split": {"columns": ["prompt", "seed"], "data": [["a [V1] in [V2]", 0], ["a [V1] in [V2]", 7]]}}
        second = ask(address, rows)
        assert len(first) == 1 and len(second) == 2
        for file in second:
            assert Image.open(io.BytesIO(file)).format == "PNG"
            assert Image.open(io.BytesIO(file)).size == (pack.resolution, pack.resolution)
        alone, same, other = (np.array(Image.open(io.BytesIO(file))).astype(int) for file in (*first, *second))
        assert abs(same - alone).max() <= 2  # a seed is a picture, but for the rounding of a batch of another size
        assert abs(other - alone).mean() > 2
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(address, {"dataframe_split": {"columns": ["text", "number"], "data": [["x", 1]]}})
        assert "expected prompts" in refused.value.read().decode()
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait(30)
