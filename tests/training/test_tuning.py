from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file

from magicapture import adapters
from magicapture.artifacts import ArtifactError, read_manifest, sha256_file, write_json
from magicapture.backbones import load_backbone
from magicapture.backbones.recogniser import FaceNet
from magicapture.config import Tuning, load_config
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack, PackError, load_pack, trained_against
from magicapture.registry.lineage import stage_config
from magicapture.training import inversion, tuning
from magicapture.training.session import Session
from tests.training import tinymodel
from tests.training.conftest import tiny_config

ROOT = Path(__file__).parents[2]


def test_the_artifact_is_complete(adapter: Path, tokens: Path, pack: Pack) -> None:
    content = read_manifest(adapter, "adapter", verify=True)["content"]
    assert content["pack"] == pack.name and content["pack_digest"] == pack.digest() and content["lora"] == {"rank": 2, "alpha": 2}
    assert content["last_step"] == 6 and [entry["step"] for entry in content["scores"]] == [4, 6]
    assert content["best_step"] in (4, 6) and content["examples_seen"] == 18 and content["train_seconds"] > 0
    assert content["descriptions"] == {"source": "a person with light skin", "reference": ""}
    assert content["tokens"] == read_manifest(tokens, "tokens")["content"]["tensor_hash"]
    best, last = adapters.read(adapter).tensors, adapters.read(adapter / "last").tensors
    assert adapters.tensor_hash(best) == content["best_hash"] and adapters.tensor_hash(last) == content["last_hash"]
    lines = [json.loads(line) for line in (adapter / "curves.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["inversion"] * 4 + ["tuning"] * 6
    assert {"step", "total", "source", "reference", "composed", "identity", "attention", "lr"} <= set(lines[-1])
    assert sorted(path.name for path in (adapter / "samples").iterdir()) == [f"step-{step:05d}-{i}.png" for step in (4, 6) for i in (0, 1)]
    expected = {f"{name}{token}.png" for name in ("source", "reference", "composed") for token in ("", "-v1", "-v2")}
    assert {path.name for path in (adapter / "attention").iterdir()} == expected | {"maps.safetensors"}
    maps = load_file(adapter / "attention" / "maps.safetensors")
    assert sorted(maps) == ["composed", "reference", "source"]
    side = pack.attention_resolution
    assert all(m.shape == (2, side, side) and (m.min((1, 2)) == 0).all() and (m.max((1, 2)) == 1).all() for m in maps.values())
    heat = np.array(Image.open(adapter / "attention" / "composed-v1.png"))
    assert heat.shape == (32, 32, 3) and heat.std() > 1


def test_the_adapter_loads_and_changes_pictures(adapter: Path, pack: Pack) -> None:
    backbone = load_backbone(pack)
    adapters.load(adapter, backbone)
    prompt = ["a photo of a [V1] person in the [V2] style"]
    tuned = backbone.sample(prompt, [1], steps=2, guidance=1.0, sampler="ddim")
    with adapters.disabled(backbone):
        base = backbone.sample(prompt, [1], steps=2, guidance=1.0, sampler="ddim")
    assert not np.array_equal(tuned, base)


def test_stopping_and_going_on_equals_one_run(prepared: PreparedSet, pack: Pack, tokens: Path, adapter: Path, tmp_path: Path) -> None:
    config = tiny_config(pack)
    part = tuning.run(prepared.folder, tokens, tmp_path / "adapter", config, 0, tmp_path / "checkpoints", until_step=3)
    assert read_manifest(part, "adapter")["content"]["last_step"] == 3
    whole = tuning.run(prepared.folder, tokens, tmp_path / "adapter", config, 0, tmp_path / "checkpoints")
    found, wanted = (read_manifest(folder, "adapter")["content"] for folder in (whole, adapter))
    for name in ("last_hash", "best_hash", "best_step", "scores"):
        assert found[name] == wanted[name]


SCRIPT = """
import json, sys
from magicapture.config import load_config
from magicapture.training import inversion, tuning
prepared, tokens, out, config, checkpoints = sys.argv[1:]
tuning.run(prepared, tokens, out, load_config(json.load(open(config))), 0, checkpoints)
"""


def test_a_run_killed_by_sigkill_and_started_again_ends_with_the_same_weights(
    prepared: PreparedSet, pack: Pack, tokens: Path, adapter: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    write_json(config, tiny_config(pack).model_dump(mode="json"))
    command = [sys.executable, "-c", SCRIPT, *map(str, (prepared.folder, tokens, tmp_path / "adapter", config, tmp_path / "checkpoints"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "checkpoints").glob("tuning-*/checkpoints/step-000002")):
        assert process.poll() is None and time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "adapter").exists()
    # Here, in another process than the killed one, the rest.
    out = tuning.run(prepared.folder, tokens, tmp_path / "adapter", tiny_config(pack), 0, tmp_path / "checkpoints")
    found, wanted = (read_manifest(folder, "adapter")["content"] for folder in (out, adapter))
    assert (found["last_hash"], found["best_hash"], found["scores"]) == (wanted["last_hash"], wanted["best_hash"], wanted["scores"])


def test_other_tokens_are_another_lineage(prepared: PreparedSet, pack: Pack, tokens: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, "tuning.steps=1")
    tuning.run(prepared.folder, tokens, tmp_path / "a", config, 0, tmp_path / "checkpoints")
    other = tmp_path / "tokens"
    shutil.copytree(tokens, other)
    adapters.save_tokens(
        other / "tokens.safetensors", {name: vector + 1 for name, vector in adapters.load_tokens(tokens / "tokens.safetensors").items()}
    )
    tuning.run(prepared.folder, other, tmp_path / "b", config, 0, tmp_path / "checkpoints")
    assert len(list((tmp_path / "checkpoints").glob("tuning-*"))) == 2
    assert len(list((tmp_path / "checkpoints" / "latents").iterdir())) == 6  # shared, by content


def test_looks_without_faces_train_too(pack: Pack, tokens: Path, tmp_path: Path) -> None:
    prepared = tinymodel.build_prepared(tmp_path / "prepared", faceless=1)
    out = tuning.run(
        prepared, tokens, tmp_path / "adapter", tiny_config(pack, "training.rows=3", "tuning.steps=2"), 0, tmp_path / "checkpoints"
    )
    lines = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["total"]) for line in lines)


def test_without_a_face_in_any_look_nothing_is_trained_against(
    pack: Pack, tokens: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = tinymodel.build_prepared(tmp_path / "prepared", faceless=3)
    config = tiny_config(pack, "tuning.steps=1", "tuning.identity_limit=1")
    with caplog.at_level(logging.WARNING):
        out = tuning.run(prepared, tokens, tmp_path / "adapter", config, 0, tmp_path / "checkpoints")
    assert "no look has a face: tuning.lambda_identity has no effect" in caplog.text
    assert read_manifest(out, "adapter")["content"]["recogniser"] is None
    assert "identity" not in json.loads((out / "curves.jsonl").read_text().splitlines()[-1])


def test_what_has_a_learning_rate_of_zero_is_neither_trained_nor_saved(
    prepared: PreparedSet, pack: Pack, tokens: Path, adapter: Path, tmp_path: Path
) -> None:
    def train(*knobs: str) -> tuple[dict[str, torch.Tensor], set[str]]:
        config, folder = tiny_config(pack, "tuning.steps=1", *knobs), tmp_path / knobs[0]
        out = tuning.run(prepared.folder, tokens, folder / "adapter", config, 0, folder / "checkpoints")
        adapters.load(out, load_backbone(pack))
        (state,) = folder.glob("checkpoints/tuning-*/checkpoints/step-000001/optimiser.safetensors")
        return adapters.read(out).tensors, {name.partition(".")[0] for name in load_file(state)}

    whole, all_of_them = train("tuning.token_learning_rate=0.01")
    learnt, trained = train("tuning.text_learning_rate=0", "tuning.token_learning_rate=0")
    assert whole.keys() - learnt.keys() == {name for name in whole if name.startswith("text_encoder.")} != set()
    assert {name for name in learnt if name.startswith("unet.")} == {name for name in whole if name.startswith("unet.")}
    assert len(trained) == sum(name.startswith("unet.") for name in learnt) and len(all_of_them) == len(whole)
    for token, vector in adapters.load_tokens(tokens / "tokens.safetensors").items():
        assert torch.equal(learnt[token], vector) and not torch.equal(whole[token], vector)


def test_training_nothing_is_refused(make_session: Callable[..., Session], pack: Pack) -> None:
    config = tiny_config(pack, "tuning.trainable=tokens", "tuning.token_learning_rate=0")
    with pytest.raises(ValueError, match=r"nothing is trained: .*tuning\.token_learning_rate 0"):
        tuning.build_recipe(make_session(config), config, 0)


def test_terms_of_weight_zero_are_left_out(prepared: PreparedSet, pack: Pack, tokens: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, "tuning.steps=1", "tuning.lambda_identity=0", "tuning.lambda_attention=0")
    out = tuning.run(prepared.folder, tokens, tmp_path / "adapter", config, 0, tmp_path / "checkpoints")
    last = json.loads((out / "curves.jsonl").read_text().splitlines()[-1])
    assert "identity" not in last and "attention" not in last


@pytest.fixture
def networks(pack: Pack, tmp_path: Path) -> Pack:
    """The tiny pack with a second network for the identity loss, arcface, which is also its judge, and a third, cosface."""
    shutil.copytree(pack.folder, tmp_path / "pack")
    data = yaml.safe_load((tmp_path / "pack" / "pack.yaml").read_text())
    save_file(FaceNet("dense", norm=False).state_dict(), tmp_path / "pack" / "dense.safetensors")
    about = {"licence": "Apache-2.0", "commercial": True}
    for role in ("arcface_torch", "cosface_torch"):
        data["roles"][role] = {"path": "dense.safetensors", "settings": {"architecture": "dense"}, **about}
    data["roles"]["arcface"] = data["roles"]["judge"]
    (tmp_path / "pack" / "pack.yaml").write_text(yaml.safe_dump(data))
    return load_pack(tmp_path / "pack")


def _tokens_of(pack: Pack, prepared: PreparedSet, folder: Path) -> Path:
    """Phase 1 in one step on that very pack: tokens of another one are refused."""
    return inversion.run(prepared.folder, folder / "tokens", tiny_config(pack, "inversion.steps=1"), 0, folder / "checkpoints")


def test_another_network_of_the_pack_trains_and_is_recorded(prepared: PreparedSet, networks: Pack, adapter: Path, tmp_path: Path) -> None:
    tokens = _tokens_of(networks, prepared, tmp_path)

    def train(name: str, *knobs: str) -> tuple[Any, float]:
        config = tiny_config(networks, "tuning.steps=1", *knobs)
        out = tuning.run(prepared.folder, tokens, tmp_path / name, config, 0, tmp_path / "checkpoints")
        curves = json.loads((out / "curves.jsonl").read_text().splitlines()[-1])
        return read_manifest(out, "adapter")["content"]["recogniser"], curves["identity"]

    usual, loss = train("usual", "tuning.identity_limit=1")
    assert usual == trained_against(networks, "recogniser")
    assert read_manifest(adapter, "adapter")["content"]["recogniser"] == usual
    other, other_loss = train("other", "tuning.identity_limit=1", "tuning.recogniser=cosface")
    assert other == {"role": "cosface", "weights": sha256_file(networks.path("cosface_torch")), "onnx": None}
    assert loss != pytest.approx(other_loss, abs=1e-4) and 0 <= other_loss <= 2


def test_a_network_that_judges_or_is_not_there_is_refused_before_training(prepared: PreparedSet, networks: Pack, tmp_path: Path) -> None:
    tokens = _tokens_of(networks, prepared, tmp_path)

    def train(*knobs: str) -> Path:
        config = tiny_config(networks, "tuning.steps=1", *knobs)
        return tuning.run(prepared.folder, tokens, tmp_path / "adapter", config, 0, tmp_path / "checkpoints")

    with pytest.raises(PackError, match="judge and referee .* and the network trained against"):  # the tiny pack's are one file
        train("tuning.recogniser=arcface")
    with pytest.raises(PackError, match="no role adaface_torch, which tuning.recogniser=adaface asks for; it offers: arcface, cosface"):
        train("tuning.recogniser=adaface")
    assert not list((tmp_path / "checkpoints").glob("tuning-*"))
    allowed = train("tuning.recogniser=arcface", "evaluation.allow_trained_network=true")
    assert read_manifest(allowed, "adapter")["content"]["recogniser"]["onnx"] == sha256_file(networks.path("judge"))
    without = train("tuning.recogniser=adaface", "tuning.lambda_identity=0")
    assert read_manifest(without, "adapter")["content"]["recogniser"] is None


def test_a_folder_of_another_kind_is_refused(prepared: PreparedSet, pack: Pack, tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected 'tokens'"):
        tuning.run(prepared.folder, prepared.folder, tmp_path / "adapter", tiny_config(pack), 0, tmp_path)
    with pytest.raises(ArtifactError, match="expected 'prepared'"):
        tuning.run(tokens, tokens, tmp_path / "adapter", tiny_config(pack), 0, tmp_path)


def test_schedules() -> None:
    linear = tuning.schedule(Tuning(steps=4, schedule="linear"))
    assert [linear(step) for step in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [tuning.schedule(Tuning(steps=4, schedule="constant"))(step) for step in range(4)] == [1] * 4
    cosine = tuning.schedule(Tuning(steps=4, schedule="cosine"))
    assert cosine(0) == 1 and cosine(2) == pytest.approx(0.5)
    warm = tuning.schedule(Tuning(steps=6, warmup_steps=3, schedule="linear"))
    assert [warm(step) for step in range(4)] == [0.25, 0.5, 0.75, 1] and warm(5) == pytest.approx(1 / 3)
    assert torch.tensor([warm(step) for step in range(6)]).min() > 0


def test_an_adapter_of_the_pipeline_claims_no_knob_that_its_stages_were_not_given(
    prepared: PreparedSet, tokens: Path, pack: Pack, tmp_path: Path
) -> None:
    whole = tiny_config(pack, "tuning.steps=1", "inversion.steps=4", "tuning.sample_every=0", "postprocessing.consistency=1")
    inverted, tuned = (load_config(json.loads(stage_config(whole, stage)), partial=True) for stage in ("inversion", "tuning"))
    learnt = shutil.copytree(tokens, tmp_path / "tokens")
    manifest = json.loads((learnt / "manifest.json").read_text())
    write_json(learnt / "manifest.json", manifest | {"config": inverted.recorded()})
    adapter = tuning.run(prepared.folder, learnt, tmp_path / "adapter", tuned, 0, tmp_path / "checkpoints")
    manifest = read_manifest(adapter, "adapter")
    assert set(manifest["config"]) == {
        "pack", "device", "precision", "training", "inversion", "tuning", "generation", "evaluation"
    }  # fmt: skip
    assert manifest["config"]["inversion"] == whole.model_dump(mode="json")["inversion"]
    assert "prompts" not in manifest["config"]["generation"]
    assert manifest["content"]["inversion_steps"] == 4
