"""Every component: its shape, its README, its images; and its function called as plain Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kfp import compiler, dsl

from components import readme
from components.images import REGISTRY, TAG
from components.values import NEEDS
from magicapture.artifacts import read_manifest
from tests.registry.artifacts import knobs, make_candidate

ROOT = Path(__file__).parents[2]
STAGES = ["close", "evaluation", "generation", "inversion", "postprocessing", "preprocess", "promotion", "resolve", "tuning"]


def test_one_folder_a_stage() -> None:
    assert readme.names() == STAGES == sorted(NEEDS)


@pytest.mark.parametrize("name", STAGES)
def test_component_is_a_thin_lightweight_face(name: str, tmp_path: Path) -> None:
    (function,) = (
        node for node in ast.parse((readme.FOLDER / name / "component.py").read_text()).body if isinstance(node, ast.FunctionDef)
    )
    assert len(function.body) <= 12  # docstring, imports and a few calls
    compiler.Compiler().compile(readme.load(name), str(tmp_path / "c.yaml"))
    spec = yaml.safe_load((tmp_path / "c.yaml").read_text())
    container = spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"]
    assert "pip install" not in " ".join(container["command"])
    target = re.fullmatch(rf"{REGISTRY}/([a-z]+):{re.escape(TAG)}", container["image"])
    assert target, container["image"]
    assert f" AS {target[1]}\n" in (ROOT / "images" / "Dockerfile").read_text()
    assert NEEDS[name].image == target[1]


def test_readmes_are_fresh() -> None:
    assert readme.stale() == [], "run `python -m components.readme`"


@pytest.mark.parametrize("name", STAGES)
def test_readme_documents_every_port(name: str) -> None:
    metadata = yaml.safe_load((readme.FOLDER / name / "metadata.yaml").read_text())
    assert metadata["name"] == name
    assert set(metadata) - {"outputs"} == {"name", "stability", "dependencies", "tags", "lastVerified", "links"}
    undocumented = re.findall(r"^\| `(\w+)` \| [^|]+ \|\s*\|$", readme.render(name), re.MULTILINE)
    assert undocumented == []


def test_promotion_pairs_the_artifacts_of_a_seed_whatever_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # what is promoted is seen on disk
    made = {str(seed): make_candidate(tmp_path, seed, selection=0.5 + seed / 10) for seed in (0, 1, 2)}

    def collected(kind: str, order: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(path=str(made[seed][kind]), metadata={"seed": seed}) for seed in order]

    readme.load("promotion").python_func(
        run=SimpleNamespace(path=None),
        prepared=SimpleNamespace(path=str(made["0"]["prepared"])),
        tokens=collected("tokens", "012"),
        adapter=collected("adapter", "201"),
        images=collected("images", "120"),
        portraits=collected("portraits", "021"),
        evaluation=collected("evaluation", "210"),
        config=knobs().model_dump_json(),
        promotion=SimpleNamespace(path=str(tmp_path / "out")),
        metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
        page=SimpleNamespace(path=str(tmp_path / "page")),
        summary=SimpleNamespace(path=str(tmp_path / "summary")),
    )
    assert (tmp_path / "page").read_text() == "<p>report</p>" and "not registered" in (tmp_path / "summary").read_text()
    content = read_manifest(tmp_path / "out", "promotion")["content"]
    assert content["candidates"][content["best"]]["seed"] == "2"
    for candidate in content["candidates"]:
        for kind, folder in candidate["folders"].items():
            assert kind == "prepared" or f"seed-{candidate['seed']}/" in folder
