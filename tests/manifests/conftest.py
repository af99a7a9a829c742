"""The overlays as kubectl builds them, once a process; what docs/operate.md documents."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from tests.manifests.kubectl import build
from tests.manifests.objects import Object

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = ("local", "gpu", "external")
BY_HAND = ("restore", "upgrade", "volume")  # jobs and a pod that no overlay holds


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    """Overlay -> its objects; "external" is the base with every component; and what is applied by hand."""
    external = tmp_path_factory.mktemp("external")
    there = Path(os.path.relpath(MANIFESTS, external))
    components = sorted(path.name for path in (MANIFESTS / "components").iterdir())
    (external / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": [str(there / "base")], "components": [str(there / "components" / name) for name in components]})
    )
    folders = {"local": MANIFESTS / "overlays" / "local", "gpu": MANIFESTS / "overlays" / "gpu", "external": external}
    by_hand = {name: MANIFESTS / name for name in BY_HAND}
    return {name: list(yaml.safe_load_all(build(folder))) for name, folder in (folders | by_hand).items()}


@pytest.fixture(scope="session")
def guide() -> str:
    return (ROOT / "docs" / "operate.md").read_text()


@pytest.fixture(scope="session")
def secrets(guide: str) -> dict[str, set[str]]:
    """Secret -> its keys, from the commands of docs/operate.md that make them."""
    made: dict[str, set[str]] = {}
    for command in re.findall(r"kubectl create secret generic ((?:[^\n\\]|\\\n)+)", guide):
        made.setdefault(command.split()[0], set()).update(re.findall(r"--from-literal=([A-Za-z0-9_]+)=", command))
    return made
