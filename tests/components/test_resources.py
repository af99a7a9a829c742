"""The pipeline as Kubernetes objects, and that the manifests hold what it asks of a cluster."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from components.resources import write_resources
from components.values import Cluster, read_cluster
from magicapture.config import ConfigError
from pipeline import portraits
from tests.manifests.conftest import MANIFESTS, ROOT, built, guide, secrets  # noqa: F401
from tests.manifests.objects import Object, get
from tests.manifests.test_schemas import check


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    out = tmp_path_factory.mktemp("resources") / "pipeline.yaml"
    write_resources(portraits(Cluster()), "0123456789ab", "kubeflow", out)
    return list(yaml.safe_load_all(out.read_text()))


def test_they_are_what_the_definitions_say(resources: list[Object]) -> None:
    for thing in resources:
        check(thing)
    assert [(thing["kind"], thing["metadata"]["name"]) for thing in resources] == [
        ("Pipeline", "magicapture"),
        ("PipelineVersion", "magicapture-0123456789ab"),
    ]
    version = resources[1]
    assert version["spec"]["pipelineName"] == "magicapture" and version["metadata"]["namespace"] == "kubeflow"
    assert "kubernetes" in version["spec"]["platformSpec"]["platforms"]
    assert len(json.dumps(version)) < 1_000_000  # Kubernetes takes no object of more than 1.5 MB
    broken = copy.deepcopy(version)
    broken["spec"]["pipelineManifest"] = broken["spec"].pop("pipelineSpec")
    with pytest.raises(jsonschema.ValidationError):
        check(broken)


def test_same_source_same_file_and_the_same_pipeline_as_compiled(resources: list[Object], tmp_path: Path) -> None:
    from kfp import compiler

    for name in ("a", "b"):
        write_resources(portraits(Cluster()), "0123456789ab", "kubeflow", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    compiler.Compiler().compile(portraits(Cluster()), str(tmp_path / "plain.yaml"))
    specification, platform = yaml.safe_load_all((tmp_path / "plain.yaml").read_text())
    assert resources[1]["spec"]["pipelineSpec"] == specification and resources[1]["spec"]["platformSpec"] == platform


def test_the_command(tmp_path: Path) -> None:
    """In a clone, as a version is named by a commit without changes."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(clone)], check=True)
    command = [sys.executable, "pipeline.py", "compile", "--resources"]
    done = subprocess.run([*command, "team-a"], cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version = list(yaml.safe_load_all((clone / "pipeline.yaml").read_text()))[1]
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=clone, capture_output=True, text=True, check=True).stdout
    assert version["metadata"] == {"name": f"magicapture-{commit.strip()}", "namespace": "team-a"}
    (clone / "pipeline.yaml").unlink()
    done = subprocess.run([*command, "Team_A"], cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "namespace 'Team_A': expected" in done.stderr
    assert not (clone / "pipeline.yaml").exists()


@pytest.mark.parametrize("namespace", ["", "Kubeflow", "a" * 64, "-a"])
def test_a_namespace_that_is_none(namespace: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        write_resources(portraits(Cluster()), "0123456789ab", namespace, tmp_path / "x.yaml")
    assert list(tmp_path.iterdir()) == []


def missing(resources: list[Object], objects: list[Object], documented: dict[str, set[str]]) -> list[str]:
    """What tasks mount or read and the manifests do not hold, or docs/operate.md does not tell how to make."""
    platform = resources[1]["spec"]["platformSpec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    wrong = []
    for task, wants in platform.items():
        for mount in wants.get("pvcMount", []):
            claim = mount.get("constant") or mount["pvcNameParameter"]["runtimeValue"]["constant"]
            wrong += [] if _there(objects, "PersistentVolumeClaim", claim) else [f"{task}: claim {claim}"]
        for kind, field, keys in (("ConfigMap", "configMapAsEnv", "configMapKey"), ("Secret", "secretAsEnv", "secretKey")):
            for source in wants.get(field, []):
                called = source.get("configMapName") or source.get("secretName")
                called = called or (source.get("configMapNameParameter") or source["secretNameParameter"])["runtimeValue"]["constant"]
                held = documented.get(called, set()) if kind == "Secret" else set(_there(objects, kind, called).get("data", {}))
                if not held:
                    wrong.append(f"{task}: {kind} {called}")
                elif not source.get("optional"):
                    wrong += [f"{task}: {called}.{entry[keys]}" for entry in source["keyToEnv"] if entry[keys] not in held]
    return wrong


def _there(objects: list[Object], kind: str, called: str) -> Object:
    try:
        return get(objects, kind, called)
    except KeyError:
        return {}


def test_the_manifests_hold_what_tasks_ask_for(
    resources: list[Object],
    built: dict[str, list[Object]],  # noqa: F811
    secrets: dict[str, set[str]],  # noqa: F811
) -> None:
    for overlay in ("local", "gpu"):
        assert missing(resources, built[overlay], secrets) == []
    for kind, called in (("ConfigMap", "magicapture-settings"), ("PersistentVolumeClaim", "magicapture-checkpoints")):
        objects = [thing for thing in built["gpu"] if (thing["kind"], thing["metadata"]["name"]) != (kind, called)]
        assert missing(resources, objects, secrets) != []


@pytest.mark.parametrize("overlay", ["local", "gpu"])
def test_an_overlays_values(overlay: str, built: dict[str, list[Object]]) -> None:  # noqa: F811
    """Its cluster.yaml is read, names an account that is there, and gives GPU tasks the tolerations that its nodes ask for."""
    values = read_cluster(MANIFESTS / "overlays" / overlay / "cluster.yaml")
    assert get(built[overlay], "ServiceAccount", values.service_account)
    assert bool(values.gpu_type) == (overlay == "gpu")
    if values.gpu_type:
        assert f"requests.{values.gpu_type}" in get(built[overlay], "ResourceQuota", "magicapture-gpus")["spec"]["hard"]
        tolerated = {toleration.key for toleration in values.gpu_nodes.tolerations}
        # Whatever keeps the services off a node as spot or GPU is a node that runs can use.
        affinity = get(built[overlay], "Deployment", "mlflow")["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
        (terms,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        tainted = {"nvidia.com/gpu", "cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"}
        assert tolerated == tainted
        assert tainted - {"nvidia.com/gpu"} < {term["key"] for term in terms["matchExpressions"]}
