"""Both phases on Stable Diffusion 2.x and XL: the method knows no family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from magicapture import adapters
from magicapture.artifacts import read_manifest
from magicapture.backbones import load_backbone
from magicapture.config import Inversion
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack, load_pack
from magicapture.training import inversion, tuning
from tests.tinyfamilies import FAMILIES, stock_pipeline
from tests.training import tinymodel
from tests.training.conftest import tiny_config


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return load_pack(tinymodel.build_pack(tmp_path_factory.mktemp("family"), family=request.param))


def test_both_phases_train_and_the_adapter_draws(prepared: PreparedSet, family: Pack, tmp_path: Path) -> None:
    config = tiny_config(family, "training.checkpoint_every=3", "training.gradient_checkpointing=true", "tuning.steps=3")
    tokens = inversion.run(prepared.folder, tmp_path / "tokens", config, 0, tmp_path / "checkpoints")
    fresh = load_backbone(family)
    learnt = adapters.load_tokens(tokens / "tokens.safetensors")
    assert len(learnt) == 2 * len(fresh.text_encoders)
    for name, vector in learnt.items():  # 100 x 0.01 pulls all the way, to the median of each encoder's own vocabulary
        encoder = fresh.tokens.encoders[name.endswith(".clip_g")]
        assert float(vector.norm()) == pytest.approx(encoder.median_norm, rel=1e-5)
    out = tuning.run(prepared.folder, tokens, tmp_path / "adapter", config, 0, tmp_path / "checkpoints")
    lines = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    assert len(lines) == 4 + 3 and all(np.isfinite(line["total"]) for line in lines)
    assert {"source", "reference", "composed", "identity", "attention"} <= set(lines[-1])
    stored = adapters.load(out, fresh)
    moved = [name for name, tensor in stored.tensors.items() if ".lora_B." in name and float(tensor.abs().max()) > 0]
    assert {name.partition(".")[0] for name in moved} == {"unet", *fresh.text_encoders}
    assert all(not torch.equal(stored.tensors[name], learnt[name]) for name in learnt)
    prompt = ["a photo of a [V1] person in the [V2] style"]
    assert fresh.sample(prompt, [1], steps=2, guidance=2.0, sampler="ddim").std() > 0
    stock_pipeline(family).load_lora_weights(out)

    # a second call goes on from the checkpoints: the same tensors
    again = tuning.run(prepared.folder, tokens, tmp_path / "again", config, 0, tmp_path / "checkpoints")
    assert read_manifest(again, "adapter")["content"]["last_hash"] == read_manifest(out, "adapter")["content"]["last_hash"]


def test_stopping_and_going_on_equals_one_run(prepared: PreparedSet, tmp_path: Path) -> None:
    """With both encoders of XL, one of whose LoRA layers has neither gradient nor optimiser state."""
    pack = load_pack(tinymodel.build_pack(tmp_path / "pack", family="sdxl"))
    config = tiny_config(pack, "tuning.steps=3", "tuning.lambda_identity=0")
    tokens = inversion.run(prepared.folder, tmp_path / "tokens", config, 0, tmp_path / "a")
    tuning.run(prepared.folder, tokens, tmp_path / "adapter", config, 0, tmp_path / "b", until_step=2)
    hashes = {
        read_manifest(
            tuning.run(prepared.folder, tokens, tmp_path / "adapter", config, 0, tmp_path / checkpoints),
            "adapter",
        )["content"]["last_hash"]
        for checkpoints in ("b", "c")
    }
    assert len(hashes) == 1


def test_tokens_start_apart_in_every_encoder(tmp_path: Path) -> None:
    pack = load_pack(tinymodel.build_pack(tmp_path / "pack", family="sdxl"))
    tokens = load_backbone(pack).tokens
    inversion.add_initial(tokens, Inversion(), seed=3)
    assert list(tokens.vectors) == ["[V1].clip_l", "[V2].clip_l", "[V1].clip_g", "[V2].clip_g"]
    for encoder in tokens.encoders:
        assert torch.equal(encoder.vectors["[V1]"], encoder.vector_of("person"))
        assert 0.3 < float(encoder.vectors["[V2]"].detach().std()) / encoder.std < 3


def test_tokens_of_another_pack_are_refused(prepared: PreparedSet, pack: Pack, tokens: Path, tmp_path: Path) -> None:
    other = load_pack(tinymodel.build_pack(tmp_path / "pack", "epsilon"))  # of equal shapes
    with pytest.raises(ValueError, match=rf"were learnt on pack .*{pack.digest()}.* set pack to that one, or run inversion again"):
        tuning.run(prepared.folder, tokens, tmp_path / "adapter", tiny_config(other), 0, tmp_path / "checkpoints")
