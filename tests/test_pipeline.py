"""The pipeline: compiled, submitted, and run twice on this machine."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kfp import components, local
from PIL import Image

import pipeline
from magicapture.artifacts import read_manifest
from magicapture.config import load_config
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render
from tests.kfp_server import serving

ROOT = Path(__file__).parents[1]
CACHED = ("preprocess", "inversion", "tuning", "generation", "postprocessing", "evaluation")
FEW_STEPS = (
    "inversion.steps=3", "tuning.steps=4", "tuning.sample_every=2", "tuning.samples=1", "generation.steps=2",
    "generation.seeds=[1000, 1001]", "evaluation.baseline_images=1", "training.threads=1", "training.augment.versions=1",
)  # fmt: skip


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    result = subprocess.run(
        [sys.executable, str(ROOT / "pipeline.py"), *arguments],
        cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result


def documents(path: Path) -> tuple[dict, dict]:
    """The pipeline and its Kubernetes part."""
    spec, platform = yaml.safe_load_all(path.read_text())
    return spec, platform


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    pipeline.compile_(out)
    return out


def executors(path: Path) -> dict[str, dict]:
    return {name.removeprefix("exec-"): entry["container"] for name, entry in documents(path)[0]["deploymentSpec"]["executors"].items()}


def test_compile_is_deterministic_in_another_process(compiled: Path, tmp_path: Path) -> None:
    result = command("compile", "--out", "again.yaml", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "again.yaml").read_bytes() == compiled.read_bytes()


def test_compiled_tasks_have_resources_retries_and_their_cache_settings(compiled: Path) -> None:
    spec, platform = documents(compiled)
    tasks = {
        name: task
        for dag in (spec["root"]["dag"], *(entry["dag"] for entry in spec["components"].values() if "dag" in entry))
        for name, task in dag["tasks"].items()
        if task["componentRef"]["name"].removeprefix("comp-") in executors(compiled)
    }
    assert set(tasks) == {"resolve", "promotion", "close", *CACHED}
    for name, task in tasks.items():
        assert bool(task["cachingOptions"].get("enableCache")) is (name in CACHED), name
        assert task.get("retryPolicy", {}).get("maxRetryCount") == (None if name == "close" else 2), name
        assert executors(compiled)[name]["resources"][
            "memoryRequest" if "memoryRequest" in executors(compiled)[name]["resources"] else "resourceMemoryRequest"
        ]
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all(entry["pvcMount"][0]["mountPath"] == "/checkpoints" for entry in kubernetes.values())
    assert "emptyDirMounts" in kubernetes["exec-tuning"]


def test_accelerator_reaches_the_gpu_tasks_and_no_other(tmp_path: Path, compiled: Path) -> None:
    pipeline.compile_(tmp_path / "gpu.yaml", "nvidia.com/gpu")
    with_gpu = {
        name: entry["resources"]["accelerator"]
        for name, entry in executors(tmp_path / "gpu.yaml").items()
        if "accelerator" in entry["resources"]
    }
    assert set(with_gpu) == {"inversion", "tuning", "generation"}
    assert all("nvidia.com/gpu" in entry.values() for entry in with_gpu.values())
    assert executors(tmp_path / "gpu.yaml")["tuning"]["image"].endswith("-gpu")
    assert not any("accelerator" in entry["resources"] for entry in executors(compiled).values())


def test_nothing_that_changes_from_run_to_run_reaches_a_cached_task(compiled: Path) -> None:
    spec, _ = documents(compiled)
    for name in CACHED:
        inputs = spec["components"][f"comp-{name}"]["inputDefinitions"]
        assert not {"run", "job"} & {*inputs.get("parameters", {}), *inputs.get("artifacts", {})}
        assert "code" in inputs["parameters"]


def test_submit_starts_a_run_with_validated_knobs(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        pipeline.submit(server.host, photos="/data/p", looks="/data/l", seeds="3,5", set_=["tuning.steps=9"], accelerator="nvidia.com/gpu")
    ((run_id, run),) = server.runs.items()
    assert f"{server.host}/#/runs/details/{run_id}" in capsys.readouterr().out
    values = run["runtime_config"]["parameters"]
    assert (values["photos"], values["looks"], values["seeds"]) == ("/data/p", "/data/l", ["3", "5"])
    assert load_config(yaml.safe_load(values["config"])) == load_config("mini", ["tuning.steps=9"])
    assert server.experiments[run["experiment_id"]]["display_name"] == "magicapture"
    assert "exec-tuning" in str(run["pipeline_spec"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--set", "tuning.stepz=5"], "did you mean 'tuning.steps'"),
        (["run", "--seeds", "a"], "expected whole numbers"),
        (["compile", "--accelerator", "gpu"], "expected nvidia.com/gpu"),
        (["submit", "--host", "http://127.0.0.1:9"], "http://127.0.0.1:9 does not answer"),
        (["submit", "--host", "http://127.0.0.1:9", "--accelerator", "nvidia.com/gpus"], "accelerator 'nvidia.com/gpus'"),
        (["submit", "--host", "http://127.0.0.1:9", "--parameters", "no.yaml"], "no.yaml"),
        (["upload", "--host", "http://127.0.0.1:9", "--accelerator", "tpu"], "accelerator 'tpu'"),
        (["schedule", "--host", "http://127.0.0.1:9", "--name", "n", "--cron", "0 3 * * 1"], "has 5 field(s)"),
        (["schedule", "--host", "http://127.0.0.1:9", "--name", "n", "--cron", "0 0 3 * * *", "--every", "1d"], "either --cron or --every"),
        (["schedule", "--host", "http://127.0.0.1:9", "--name", "", "--every", "1d"], "one name"),
        (["schedules", "list", "--host", "http://127.0.0.1:9"], "http://127.0.0.1:9 does not answer"),
    ],
)
def test_errors_before_anything_starts(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = command(*arguments, folder=tmp_path)
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """person/ and look/, rendered."""
    root = tmp_path_factory.mktemp("photos")
    for name, count in (("person", 3), ("look", 2)):
        (root / name).mkdir()
        for i in range(count):
            who, look = (Person.sample(7), Look.sample(100 + i)) if name == "person" else (Person.sample(50 + i), Look.sample(5))
            Image.fromarray(render(who, look, Nuisance.sample(i), size=128).image).save(root / name / f"{i}.png")
    return root


def executed(stages: Path) -> set[str]:
    """Components that really ran: those with an output folder."""
    return {path.parent.name for path in stages.rglob("executor_output.json")}


@pytest.mark.timeout(900)
def test_run_twice(
    photos: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cold, then from the cache, then the compiled YAML from the same cache."""
    arguments = ["run", "--photos", str(photos / "person"), "--looks", str(photos / "look"), "--seeds", "0,1"]
    arguments += [part for knob in FEW_STEPS for part in ("--set", knob)]
    first = command(*arguments, folder=tmp_path)
    assert first.returncode == 0, first.stdout[-4000:] + first.stderr[-2000:]
    out = tmp_path / "runs" / "latest"
    assert str(out / "report.html") in first.stdout
    assert "<html" in (out / "report.html").read_text()[:500]
    assert len(list((out / "portraits").glob("*.png"))) == 2
    made = read_manifest(out, "results", verify=True)["content"]
    assert made["version"] == "1"

    second = command(*arguments, folder=tmp_path)
    assert second.returncode == 0, second.stdout[-4000:]
    again = read_manifest(out, "results")["content"]
    assert again["version"] == "1" and again["folders"] == made["folders"] and again["run"] != made["run"]
    cold, warm = sorted((tmp_path / "runs" / "stages").iterdir())
    assert executed(cold) == {"resolve", "promotion", "close", *CACHED}
    assert executed(warm) == {"resolve", "promotion", "close"}

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(tmp_path / "yaml"),
        enable_caching=True,
        cache_root=str(tmp_path / "runs" / "cache"),
    )
    components.load_component_from_file(str(compiled))(
        photos=str(photos / "person"), looks=str(photos / "look"), config=load_config("mini", FEW_STEPS).to_yaml(), seeds=["0", "1"],
        checkpoints=str(tmp_path / "runs" / "checkpoints"),
    )  # fmt: skip
    assert executed(tmp_path / "yaml") == {"resolve", "promotion", "close"}
    promotion = next((tmp_path / "yaml").glob("*/promotion/promotion"))
    assert read_manifest(promotion, "promotion")["content"]["version"] == "1"

    from magicapture.registry.tracking import Tracker

    tracker = Tracker.connect()
    runs = [tracker.client.get_run(entry["run"]) for entry in (made, again)]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert len([tag for tag in runs[0].data.tags if tag.startswith("made.")]) == 11
    assert len([tag for tag in runs[1].data.tags if tag.startswith("from.")]) == 11

    import mlflow

    model = mlflow.pyfunc.load_model(f"models:/{made['model']}/1")
    files = model.predict(pd.DataFrame({"prompt": ["a photo of a [V1] person"] * 2, "seed": [4, 4]}))
    assert files[0] == files[1]
    assert Image.open(io.BytesIO(files[0])).size == (64, 64)
