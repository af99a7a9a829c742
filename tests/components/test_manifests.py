"""Kubernetes manifests: they build, and the pipeline finds in them what it mounts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from components.cluster import SETTING_NAMES, SETTINGS, VOLUME

MANIFESTS = Path(__file__).parents[2] / "manifests"


@pytest.mark.parametrize("overlay", ["local", "gpu"])
def test_overlay(overlay: str) -> None:
    """With kubectl the overlay is built; without, its base is read, so that the names are checked either way."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(MANIFESTS / "overlays" / overlay)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        documents = list(yaml.safe_load_all(text))
    else:
        listed = yaml.safe_load((MANIFESTS / "base" / "kustomization.yaml").read_text())["resources"]
        documents = [yaml.safe_load((MANIFESTS / "base" / name).read_text()) for name in listed]
    named = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert set(SETTING_NAMES) <= set(named["ConfigMap", SETTINGS]["data"])
    assert named["PersistentVolumeClaim", VOLUME]["spec"]["accessModes"]
    assert ("Namespace", "magicapture") in named
    assert len(named) == 4
