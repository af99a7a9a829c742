"""Kubernetes' own schemas, strictly, and the committed ones for what those do not hold."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.manifests.conftest import BY_HAND, OVERLAYS
from tests.manifests.objects import Object, get, name

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
    thing = copy.deepcopy(get(built["gpu"], kind, called))
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
