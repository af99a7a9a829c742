"""Kubernetes' own schemas, strictly, and the committed ones for what those do not hold."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from components.values import ACCELERATORS, read_cluster
from tests.manifests.conftest import BY_HAND, MANIFESTS, OVERLAYS
from tests.manifests.kubectl import build
from tests.manifests.objects import Object, get, name, of

SCHEMAS = Path(__file__).parent / "schemas"
# The oldest and the newest Kubernetes that the manifests are for.
VERSIONS = ("1.30", "1.37")
CUSTOM = {"PrometheusRule": "prometheusrule", "Pipeline": "pipeline", "PipelineVersion": "pipelineversion"}


def check(thing: Object, version: str = VERSIONS[-1]) -> None:
    """Raises ValidationError for what the API server would refuse or drop."""
    if thing["kind"] in CUSTOM:
        jsonschema.Draft202012Validator(schema(CUSTOM[thing["kind"]])).validate(thing)
    else:
        kubernetes_validate.validate(thing, version, strict=True)


def schema(called: str) -> Object:
    return dict(json.loads((SCHEMAS / f"{called}.json").read_text()))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", [*OVERLAYS, *BY_HAND])
def test_every_object_is_valid(overlay: str, version: str, built: dict[str, list[Object]]) -> None:
    assert built[overlay]
    for thing in built[overlay]:
        check(thing, version)


@pytest.mark.parametrize(
    ("kind", "called", "path", "value"),
    [
        ("Deployment", "mlflow", ("spec", "replica"), 1),
        ("Deployment", "mlflow", ("spec", "replicas"), "one"),
        ("StatefulSet", "postgres", ("spec", "template", "spec", "containers", 0, "livenesProbe"), {}),
        ("NetworkPolicy", "mlflow", ("spec", "ingres"), []),
        ("CronJob", "backup", ("spec", "schedule"), 130),
        ("PrometheusRule", "magicapture", ("spec", "groups", 0, "rules", 0, "for"), "10 minutes"),
        ("PrometheusRule", "magicapture", ("spec", "groups", 0, "rules", 0, "expression"), "up"),
    ],
)
def test_mistakes_are_found(kind: str, called: str, path: tuple[str | int, ...], value: object, built: dict[str, list[Object]]) -> None:
    thing = copy.deepcopy(get(built["external" if kind in CUSTOM else "gpu"], kind, called))
    inner = thing
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(thing)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_are_unique(overlay: str, built: dict[str, list[Object]]) -> None:
    names = [(name(thing), thing["metadata"].get("namespace")) for thing in built[overlay]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("overlay", ["local", "gpu"])
def test_overlays_need_nothing_that_a_cluster_may_lack(overlay: str, built: dict[str, list[Object]]) -> None:
    """One object of a kind that the API server does not know, and `kubectl apply` fails."""
    assert [name(thing) for thing in built[overlay] if thing["kind"] in CUSTOM] == []


@pytest.mark.parametrize("overlay", ["local", "gpu"])
def test_what_is_commented_out_is_right(overlay: str, tmp_path: Path) -> None:
    """With every line taken in that the operator may take in."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    folder = tmp_path / "manifests" / "overlays" / overlay
    for file in folder.glob("*.yaml"):
        file.write_text(re.sub(r"^# (?=components:|  - )|^#(?= {4})", "", file.read_text(), flags=re.MULTILINE))
    objects = list(yaml.safe_load_all(build(folder)))
    for thing in objects:
        check(thing)
    assert of(objects, "PrometheusRule") and "minio" not in {thing["metadata"]["name"] for thing in of(objects, "StatefulSet")}
    if overlay == "gpu":
        assert get(objects, "PersistentVolumeClaim", "magicapture-checkpoints")["spec"]["storageClassName"] == "NAME"
        limited = set(get(objects, "ResourceQuota", "magicapture-gpus")["spec"]["hard"])
        assert any("mig-" in resource for resource in limited)
        assert all(re.fullmatch(ACCELERATORS, resource.removeprefix("requests.")) for resource in limited)


def test_the_device_plugin_runs_where_runs_do(built: dict[str, list[Object]], guide: str) -> None:
    """On a node whose taint it does not put up with there is no card to ask for."""
    gpu = MANIFESTS / "overlays" / "gpu"
    values, nodes = yaml.safe_load((gpu / "device-plugin" / "values.yaml").read_text()), read_cluster(gpu / "cluster.yaml").gpu_nodes
    assert "--values manifests/overlays/gpu/device-plugin/values.yaml" in guide
    there = get(built["gpu"], "ConfigMap", values["config"]["name"])
    assert there["metadata"]["namespace"] == "nvidia-device-plugin" and values["config"]["default"] in there["data"]
    wanted = [toleration.model_dump(exclude_none=True) for toleration in nodes.tolerations]
    assert [toleration for toleration in wanted if toleration not in [{"operator": "Equal", **own} for own in values["tolerations"]]] == []
    # Nothing puts the label on by itself.
    for label, value in nodes.node_selector.items():
        assert f"\nkubectl label node NODE {label}={value}\n" in guide


def test_settings_of_the_device_plugin(built: dict[str, list[Object]]) -> None:
    files = get(built["gpu"], "ConfigMap", "nvidia-device-plugin-config")["data"]
    settings = {called: yaml.safe_load(text) for called, text in files.items()}
    for setting in settings.values():
        jsonschema.Draft202012Validator(schema("device-plugin")).validate(setting)
    # "whole" gives no part of a card, and "shared" gives parts under another name, which the quota knows.
    assert "sharing" not in settings["whole"]
    slicing = settings["shared"]["sharing"]["timeSlicing"]
    assert slicing["renameByDefault"] and [entry["name"] for entry in slicing["resources"]] == ["nvidia.com/gpu"]
    hard = get(built["gpu"], "ResourceQuota", "magicapture-gpus")["spec"]["hard"]
    assert set(hard) == {"requests.nvidia.com/gpu", "requests.nvidia.com/gpu.shared"}
    bad = copy.deepcopy(settings["shared"])
    bad["sharing"]["timeSlicing"]["resource"] = bad["sharing"]["timeSlicing"].pop("resources")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema("device-plugin")).validate(bad)
