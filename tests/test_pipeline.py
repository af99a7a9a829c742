"""The pipeline: compiled, submitted, and run twice on this machine."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kfp import components, local
from PIL import Image

import pipeline
from components.cluster import SECRETS, TRUSTED
from components.values import NEEDS
from magicapture import stages
from magicapture.artifacts import read_manifest
from magicapture.config import load_config
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render
from tests.components.webhook import listening
from tests.kfp_server import serving

ROOT = Path(__file__).parents[1]
CACHED = ("preprocess", "inversion", "tuning", "generation", "postprocessing", "evaluation")
ON_GPU = ("inversion", "tuning", "generation")
DIGESTS = {
    target: f"sha256:{index:064x}"
    for index, target in enumerate(
        ("preprocess", "training-gpu", "generation-gpu", "postprocessing", "evaluation", "registry", "training", "generation")
    )
}
VALUES = """
service_account: magicapture-stages
gpu_count: 2
shared_memory: 8Gi
gpu_nodes:
  node_selector: {pool: gpu}
  tolerations:
    - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
    - {key: cloud.google.com/gke-spot, value: "true", effect: NoSchedule}
  affinity: [{key: zone, operator: In, values: [a, b], weight: 50}]
cpu_nodes: {node_selector: {pool: cpu}}
stages: {tuning: {cpu: "8", memory: 48Gi, hours: 30, retries: 9}}
"""
FEW_STEPS = (
    "inversion.steps=3", "tuning.steps=4", "tuning.sample_every=2", "tuning.samples=1", "generation.steps=2",
    "generation.seeds=[1000, 1001]", "evaluation.baseline_images=1", "training.threads=1", "training.augment.versions=1",
)  # fmt: skip


def command(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        [sys.executable, str(ROOT / "pipeline.py"), *arguments],
        cwd=folder, env={**environment, "OMP_NUM_THREADS": "1", **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@cache
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


def tasks(path: Path) -> dict[str, dict]:
    """Tasks that run a container, of every level."""
    spec, _ = documents(path)
    levels = (spec["root"]["dag"], *(entry["dag"] for entry in spec["components"].values() if "dag" in entry))
    named = {name: task for level in levels for name, task in level["tasks"].items()}
    return {name: task for name, task in named.items() if task["componentRef"]["name"].removeprefix("comp-") in executors(path)}


def placed(path: Path) -> dict[str, dict]:
    """What the Kubernetes part says of every executor."""
    found = documents(path)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): entry for name, entry in found.items()}


def test_compiled_tasks_have_limits_retries_time_and_their_cache_settings(compiled: Path) -> None:
    assert set(tasks(compiled)) == set(placed(compiled)) == {"resolve", "promotion", "close", *CACHED} == set(NEEDS)
    for name, task in tasks(compiled).items():
        assert bool(task["cachingOptions"].get("enableCache")) is (name in CACHED), name
        resources = executors(compiled)[name]["resources"]
        assert resources["resourceCpuRequest"] == resources["resourceCpuLimit"] == NEEDS[name].cpu
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"] == NEEDS[name].memory
        assert int(placed(compiled)[name]["activeDeadlineSeconds"]) == NEEDS[name].hours * 3600
        assert placed(compiled)[name]["pvcMount"][0]["mountPath"] == "/checkpoints"
        assert "nodeSelector" not in placed(compiled)[name] and "tolerations" not in placed(compiled)[name]
        assert "accelerator" not in resources
        if name == "close":
            assert "retryPolicy" not in task
        else:
            policy, tries = task["retryPolicy"], NEEDS[name].retries + 1
            assert (policy["maxRetryCount"], policy["backoffDuration"], policy["backoffFactor"]) == (tries - 1, "120s", 1.0)
            # Argo ends a task that long after its first try began: every try has to fit in, each with its whole time.
            assert int(policy["backoffMaxDuration"].removesuffix("s")) >= tries * NEEDS[name].hours * 3600 + (tries - 1) * 120
    assert all(NEEDS[name].retries > NEEDS["promotion"].retries for name in ON_GPU)  # they may be pre-empted, and resume


def test_values_reach_the_pods(tmp_path: Path) -> None:
    """Accelerators, shared memory, nodes, tolerations, secrets and digests, each on the tasks it is meant for and on no other."""
    (tmp_path / "cluster.yaml").write_text(VALUES)
    (tmp_path / "digests.yaml").write_text(yaml.safe_dump(DIGESTS))
    arguments = ["--gpu-type", "nvidia.com/gpu", "--registry", "r.example.org/m", "--digests", "digests.yaml", "--cluster", "cluster.yaml"]
    result = command("compile", "--out", "gpu.yaml", *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    made, pods = executors(tmp_path / "gpu.yaml"), placed(tmp_path / "gpu.yaml")
    for name, needs in NEEDS.items():
        gpu = name in ON_GPU
        assert made[name]["image"] == f"r.example.org/m/{needs.image}@{DIGESTS[needs.image + ('-gpu' if gpu else '')]}"
        card = {"resourceType": "nvidia.com/gpu", "resourceCount": "2"}
        assert made[name]["resources"].get("accelerator", {}).items() >= (card if gpu else {}).items(), name
        assert ("accelerator" in made[name]["resources"]) is gpu
        assert pods[name]["nodeSelector"] == {"labels": {"pool": "gpu" if gpu else "cpu"}}
        assert [taint["key"] for taint in pods[name].get("tolerations", [])] == (
            ["nvidia.com/gpu", "cloud.google.com/gke-spot"] if gpu else []
        )
        assert ("nodeAffinity" in pods[name]) is gpu
        shm = [mount for mount in pods[name].get("emptyDirMounts", []) if mount["mountPath"] == "/dev/shm"]
        assert [(mount["medium"], mount["sizeLimit"]) for mount in shm] == ([("Memory", "8Gi")] if gpu else [])
        secrets = {entry["secretName"]: entry for entry in pods[name].get("secretAsEnv", [])}
        assert set(secrets) == set(TRUSTED.get(name, ()))
        for secret, entry in secrets.items():
            assert entry["optional"] is True and {key["envVar"] for key in entry["keyToEnv"]} == set(SECRETS[secret])
        maps = [entry["configMapName"] for entry in pods[name]["configMapAsEnv"]]
        assert set(maps) == {"magicapture-settings"}
        read = {key["envVar"] for entry in pods[name]["configMapAsEnv"] for key in entry["keyToEnv"] if entry.get("optional")}
        assert ("MAGICAPTURE_LOCK" in read) is (name in TRUSTED)
    # The keys of the photos' store, for the stages that read photos; promotion's artifacts go through MLflow's server.
    assert {name for name, held in TRUSTED.items() if "magicapture-s3" in held} == {"resolve", "preprocess"}
    assert pods["tuning"]["nodeAffinity"][0]["weight"] == 50
    assert made["tuning"]["resources"]["resourceMemoryLimit"] == "48Gi" and pods["tuning"]["activeDeadlineSeconds"] == "108000"
    assert tasks(tmp_path / "gpu.yaml")["tuning"]["retryPolicy"]["maxRetryCount"] == 9


def test_an_image_without_a_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "digests.yaml").write_text(yaml.safe_dump({name: DIGESTS[name] for name in DIGESTS if name != "training-gpu"}))
    result = command("compile", "--gpu-type", "nvidia.com/gpu", "--digests", "digests.yaml", folder=tmp_path)
    assert result.returncode == 1 and "digests: none for image 'training-gpu'" in result.stderr
    assert not (tmp_path / "pipeline.yaml").exists()


def test_the_stages_stand_under_a_condition_and_their_failure_is_closed(compiled: Path) -> None:
    """resolve, and all else only if something changed, within the exit handler: whatever fails is told of."""
    spec, _ = documents(compiled)
    (handler,) = (name for name in spec["root"]["dag"]["tasks"] if name != "close")
    assert spec["root"]["dag"]["tasks"]["close"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    inner = spec["components"][f"comp-{handler}"]["dag"]["tasks"]
    (condition,) = (name for name in inner if name != "resolve")
    assert "== 'changed'" in inner[condition]["triggerPolicy"]["condition"]
    assert {"preprocess", "promotion"} < set(spec["components"][f"comp-{condition}"]["dag"]["tasks"])


def test_nothing_that_changes_from_run_to_run_reaches_a_cached_task(compiled: Path) -> None:
    spec, _ = documents(compiled)
    for name in CACHED:
        inputs = spec["components"][f"comp-{name}"]["inputDefinitions"]
        assert not {"run", "job"} & {*inputs.get("parameters", {}), *inputs.get("artifacts", {})}
        assert "code" in inputs["parameters"]


def test_submit_starts_a_run_with_validated_knobs(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        pipeline.submit(server.host, photos="/data/p", looks="/data/l", seeds="3,5", set_=["tuning.steps=9"], gpu_type="nvidia.com/gpu")
    ((run_id, run),) = server.runs.items()
    assert f"{server.host}/#/runs/details/{run_id}" in capsys.readouterr().out
    values = run["runtime_config"]["parameters"]
    assert (values["photos"], values["looks"], values["seeds"], values["always"]) == ("/data/p", "/data/l", ["3", "5"], False)
    assert load_config(yaml.safe_load(values["config"])) == load_config("mini", ["tuning.steps=9"])
    assert server.experiments[run["experiment_id"]]["display_name"] == "magicapture"
    assert "exec-tuning" in str(run["pipeline_spec"])


SUBMIT = ["submit", "--host", "http://127.0.0.1:9", "--photos", "/data/person", "--looks", "/data/look"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--set", "tuning.stepz=5"], "did you mean 'tuning.steps'"),
        (["run", "--seeds", "a"], "expected whole numbers"),
        (["compile", "--gpu-type", "gpu"], "expected nvidia.com/gpu"),
        (["compile", "--gpu-count", "0"], "gpu_count = 0"),
        (["compile", "--tag", "a b"], 'tag = "a b"'),
        (["compile", "--digests", "no.yaml"], "no.yaml"),
        (["compile", "--cluster", "no.yaml"], "no.yaml"),
        (["submit", "--host", "http://127.0.0.1:9"], "photos = '': expected a folder that the pods see"),
        (SUBMIT, "http://127.0.0.1:9 does not answer"),
        ([*SUBMIT, "--gpu-type", "nvidia.com/gpus"], "gpu_type 'nvidia.com/gpus'"),
        (["submit", "--host", "http://127.0.0.1:9", "--parameters", "no.yaml"], "no.yaml"),
        (["upload", "--host", "http://127.0.0.1:9", "--gpu-type", "tpu"], "gpu_type 'tpu'"),
        (["schedule", "--host", "http://127.0.0.1:9", "--name", "n", "--cron", "0 3 * * 1"], "has 5 field(s)"),
        (["schedule", "--host", "http://127.0.0.1:9", "--name", "n", "--cron", "0 0 3 * * *", "--every", "1d"], "either --cron or --every"),
        (["schedule", *SUBMIT[1:], "--name", "", "--every", "1d"], "one name"),
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


@pytest.mark.timeout(1800)
def test_run_twice(
    photos: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cold; again, where nothing changed; asked to run always, from the cache; then the compiled YAML and the stages themselves, cold."""
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
    (cold,) = (tmp_path / "runs" / "stages").iterdir()
    assert executed(cold) == {"resolve", "promotion", "close", *CACHED}
    for name in ("promotion", *CACHED):
        for folder in {path.parent for path in cold.rglob(f"{name}/executor_output.json")}:
            assert (folder / "page").read_text().startswith("<!doctype html>")
            assert (folder / "summary").read_text().startswith("# ")

    (out / "report.html").unlink()
    second = command(*arguments, folder=tmp_path)
    assert second.returncode == 0, second.stdout[-4000:]
    assert "nothing changed, not run: preprocess" in second.stdout
    assert (out / "report.html").is_file() and read_manifest(out, "results")["content"]["run"] == made["run"]
    third = command(*arguments, "--always", folder=tmp_path)
    assert third.returncode == 0, third.stdout[-4000:]
    again = read_manifest(out, "results")["content"]
    assert again["version"] == "1" and again["folders"] == made["folders"] and again["run"] != made["run"]
    _, unchanged, warm = sorted((tmp_path / "runs" / "stages").iterdir())
    assert executed(unchanged) == {"resolve", "close"}
    assert executed(warm) == {"resolve", "promotion", "close"}

    (tmp_path / "runs" / "stages").rename(tmp_path / "aside")
    (out / "report.html").unlink()
    fourth = command(*arguments, folder=tmp_path)
    assert fourth.returncode == 0, fourth.stdout[-4000:]
    assert "is not here: the stages run again" in fourth.stdout and (out / "report.html").is_file()
    shutil.rmtree(tmp_path / "runs" / "stages")
    (tmp_path / "aside").rename(tmp_path / "runs" / "stages")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "yaml"), enable_caching=False)
    components.load_component_from_file(str(compiled))(
        photos=str(photos / "person"), looks=str(photos / "look"), config=load_config("mini", FEW_STEPS).to_yaml(), seeds=["1"],
        checkpoints=str(tmp_path / "other"),
    )  # fmt: skip
    assert executed(tmp_path / "yaml") == {"resolve", "promotion", "close", *CACHED}
    config = load_config("mini", FEW_STEPS)
    prepared = stages.preprocess(photos / "person", photos / "look", tmp_path / "by" / "prepared", config)
    tokens = stages.invert(prepared, tmp_path / "by" / "tokens", config, 1, tmp_path / "by" / "checkpoints")
    adapter = stages.tune(prepared, tokens, tmp_path / "by" / "adapter", config, 1, tmp_path / "by" / "checkpoints")
    (by_run,) = (path for path in cold.rglob("tuning/adapter") if read_manifest(path, "adapter")["content"]["seed"] == 1)
    (by_yaml,) = (tmp_path / "yaml").rglob("tuning/adapter")
    contents = [read_manifest(path, "adapter")["content"] for path in (adapter, by_run, by_yaml)]
    assert len({content["best_hash"] for content in contents}) == len({content["last_hash"] for content in contents}) == 1

    from magicapture.registry.tracking import Tracker

    tracker = Tracker.connect()
    runs = [tracker.client.get_run(entry["run"]) for entry in (made, again)]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert len([tag for tag in runs[0].data.tags if tag.startswith("made.")]) == 11
    assert len([tag for tag in runs[1].data.tags if tag.startswith("from.")]) == 11
    ended = tracker.client.search_runs([tracker.experiment], "tags.`promotion.reason` LIKE 'nothing changed%'")
    assert len(ended) == 2  # of the second run, and of the fourth, which then ran all the same
    assert all(f"version 1 of {made['model']}, the champion" in run.data.tags["promotion.reason"] for run in ended)
    assert [run.info.status for run in ended] == ["FINISHED", "FINISHED"]
    tuned = tracker.client.get_run(runs[0].data.tags["made.tuning seed 1"])
    assert tuned.data.metrics["system/memory_usage_megabytes"] > 100

    import mlflow

    model = mlflow.pyfunc.load_model(f"models:/{made['model']}/1")
    files = model.predict(pd.DataFrame({"prompt": ["a photo of a [V1] person"] * 2, "seed": [4, 4]}))
    assert files[0] == files[1]
    assert Image.open(io.BytesIO(files[0])).size == (64, 64)


def test_a_run_that_fails_tells_the_webhook_why(tmp_path: Path) -> None:
    """Even one that fails at the very beginning; and a webhook that is down changes nothing of how the run fails."""
    for name in ("person", "look"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_text("no picture")
    arguments = ["run", "--photos", "person", "--looks", "look", "--seeds", "0"]
    with listening() as (address, told):
        failed = command(*arguments, folder=tmp_path, MAGICAPTURE_WEBHOOK=address, KFP_UI="http://kfp.example.org")
    assert failed.returncode == 1 and "Traceback (most recent call last)" not in failed.stderr
    (message,) = told
    assert message["state"] == "FAILED" and "preprocess: ReferencesError" in message["reason"]
    assert message["links"] == {"run": f"http://kfp.example.org/#/runs/details/{message['run']}"}
    assert "FAILURE" in failed.stderr

    gone = command(*arguments, folder=tmp_path, MAGICAPTURE_WEBHOOK=address)
    assert gone.returncode == 1 and gone.stderr.splitlines()[-1] == failed.stderr.splitlines()[-1]
    assert "the webhook does not take the message" in gone.stdout
