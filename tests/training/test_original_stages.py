"""Errors of the original code around training, a test each: faces, post-processing, scores, places."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from magicapture import evaluation, generation, postprocessing
from magicapture.artifacts import read_manifest
from magicapture.backbones import BackboneError
from magicapture.config import load_config
from magicapture.faces.classes import PARSING_CLASSES
from magicapture.faces.parse import face_mask
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack, load_pack
from magicapture.packs.pack import EMBEDDED, read_pack
from magicapture.postprocessing.restore import Restorer
from magicapture.training.session import open_session
from tests.evaluation import artifacts
from tests.training.conftest import tiny_config

ROOT = Path(__file__).parents[2]


def test_face_mask_is_of_classes_1_to_13_without_glasses_and_earrings() -> None:
    labels = np.arange(19, dtype=np.uint8)[None]
    found = set(np.flatnonzero(face_mask(labels, np.array([0, 0, 19, 1]))).tolist())
    assert found == set(range(1, 14)) - {PARSING_CLASSES.index("glasses"), PARSING_CLASSES.index("earring")}


def test_super_resolution_is_wired_on(pack: Pack, tmp_path: Path) -> None:
    assert load_config("mini").postprocessing.upscale and load_config("sd15").postprocessing.upscale
    images = artifacts.marker_portraits(tmp_path / "images", {"portrait": [0]}, size=64, schema="images/1")
    out = postprocessing.run(images, tmp_path / "portraits", tiny_config(pack))
    (item,) = read_manifest(out, "portraits")["content"]["items"]
    with Image.open(out / item["file"]) as picture:
        assert picture.size == (256, 256) == tuple(item["size"])


def test_codeformer_is_loaded_once_for_all_pictures(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, restored = [], []
    load, restore = onnxruntime.InferenceSession, Restorer.run
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda model, **how: loaded.append(str(model)) or load(model, **how))
    monkeypatch.setattr(Restorer, "run", lambda *inputs: restored.append(1) or restore(*inputs))
    images = artifacts.marker_portraits(tmp_path / "images", {"portrait": [0, 1, 2]}, size=64, schema="images/1")
    postprocessing.run(images, tmp_path / "portraits", tiny_config(pack))
    assert len(restored) == 3 and loaded.count(str(pack.path("restorer"))) == loaded.count(str(pack.path("upscaler"))) == 1


def test_style_and_aesthetic_scores_are_there(tmp_path: Path) -> None:
    pack = artifacts.marker_pack(tmp_path / "pack")
    portraits = artifacts.marker_portraits(tmp_path / "portraits", {"portrait": [0, 1]})
    prepared = artifacts.marker_prepared(tmp_path / "prepared")
    out = evaluation.run(portraits, prepared, tmp_path / "evaluation", artifacts.config(pack))
    one, other = json.loads((out / "scores.json").read_text())["items"]
    for name in ("style", "aesthetic"):
        assert np.isfinite(one[name]) and one[name] != other[name]


@pytest.mark.parametrize("end", ["", "/"])
def test_output_paths_have_their_separators(adapter: Path, pack: Pack, tmp_path: Path, end: str) -> None:
    config = tiny_config(pack, "evaluation.baseline_images=0")
    out = generation.run(adapter, f"{tmp_path}/portraits{end}", config, seeds=[1])
    assert [path.name for path in tmp_path.iterdir()] == ["portraits"] and (out / "images" / "0000.png").is_file()


def test_places_and_devices_are_the_configurations(
    prepared: PreparedSet, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = load_pack(shutil.copytree(pack.folder, tmp_path / "elsewhere"))
    session = open_session("tuning", prepared.folder, tiny_config(moved), 0, tmp_path / "here")
    assert session.pack.folder == moved.folder and session.folder.parent == tmp_path / "here" and session.backbone.device.type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackboneError, match="device 'cuda': .* sees no CUDA device"):
        open_session("tuning", prepared.folder, tiny_config(moved, "device=cuda"), 0, tmp_path / "here")


WEIGHTS_ALIVE = """
import gc, importlib, pkgutil, magicapture
rooms = ("faces", "backbones", "adapters", "scoring", "references", "training", "generation", "postprocessing", "evaluation")
for module in pkgutil.walk_packages(magicapture.__path__, "magicapture."):
    if module.name.split(".")[1] in rooms:
        importlib.import_module(module.name)
import onnxruntime, torch
kinds = (torch.nn.Parameter, onnxruntime.InferenceSession)
print([type(found).__name__ for found in gc.get_objects() if issubclass(type(found), kinds)])
"""


def test_no_models_are_loaded_at_import() -> None:
    result = subprocess.run((sys.executable, "-c", WEIGHTS_ALIVE), cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_no_mxnet_and_no_five_downloads_by_hand() -> None:
    for lock in ("requirements.lock", "images/requirements-gpu.lock"):
        assert "onnxruntime" in (text := (ROOT / lock).read_text()) and "mxnet" not in text
    mini, large = (read_pack(EMBEDDED / name) for name in ("mini", "sd15"))
    assert mini.embedded and set(mini.verify().values()) == {"ok"}
    assert {name for name, role in large.roles.items() if role.by_hand and not role.optional} == {"recogniser_torch", "aesthetic"}
