"""Baselines and ablations are settings of one trainer: what each trains, on which rows, with which losses; and it comes back from disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from magicapture import adapters
from magicapture.artifacts import read_manifest
from magicapture.backbones import load_backbone
from magicapture.config import load_config
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack
from magicapture.training import tuning
from magicapture.training.session import Session
from tests.training.conftest import tiny_config

PLAIN = ("training.masked=false", "tuning.composed=false", "tuning.lambda_identity=0", "tuning.lambda_attention=0")
PRIOR = ("tuning.lambda_prior=1", "tuning.class_prompt=a photo of a person", "tuning.class_images=3")
METHODS = {
    "no-composed": (("tuning.composed=false",), {"source", "reference", "attention"}),
    "no-refocusing": (("tuning.lambda_attention=0",), {"source", "reference", "composed", "identity"}),
    "no-identity": (("tuning.lambda_identity=0",), {"source", "reference", "composed", "attention"}),
    "dreambooth": ((*PLAIN, *PRIOR, "tuning.trainable=all"), {"source", "reference", "prior"}),
    "custom-diffusion": ((*PLAIN, *PRIOR, "tuning.trainable=cross_attention"), {"source", "reference", "prior"}),
    "textual-inversion": ((*PLAIN, "tuning.trainable=tokens"), {"source", "reference"}),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_its_own_and_nothing_else(method: str, prepared: PreparedSet, pack: Pack, tokens: Path, tmp_path: Path) -> None:
    knobs, terms = METHODS[method]
    config = tiny_config(pack, *knobs, "tuning.steps=2", "tuning.sample_every=0", "tuning.samples=1")
    out = tuning.run(prepared.folder, tokens, tmp_path / "adapter", config, 0, tmp_path / "checkpoints")
    lines = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    for line in (line for line in lines if line["phase"] == "tuning"):
        assert set(line) - {"phase", "step", "total", "gradient", "lr"} == terms
    untouched = {name: p.detach().clone() for name, p in load_backbone(pack).unet.named_parameters()}
    backbone = load_backbone(pack)
    stored = adapters.load(out, backbone)
    moved = {name for name, p in backbone.unet.named_parameters() if name in untouched and not torch.equal(p, untouched[name])}
    start = adapters.load_tokens(tokens / "tokens.safetensors")
    tokens_moved = {name for name, vector in start.items() if not torch.equal(stored.tensors[name], vector)}
    assert bool(stored.rank) == (config.tuning.trainable == "lora")
    assert tokens_moved == {"[V1]", "[V2]"}
    if config.tuning.trainable == "cross_attention":
        assert moved and all(".attn2.to_k." in name or ".attn2.to_v." in name for name in moved)
    else:
        assert (len(moved) > 0.9 * len(untouched)) if config.tuning.trainable == "all" else not moved
    content = read_manifest(out, "adapter")["content"]
    assert content["trainable"] == config.tuning.trainable and (content["lora"] is None) == (config.tuning.trainable != "lora")
    assert (content["recogniser"] is None) == ("identity" not in terms)


def test_a_stopped_baseline_ends_as_if_it_had_not_stopped(prepared: PreparedSet, pack: Pack, tokens: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, *METHODS["dreambooth"][0], "tuning.steps=4", "tuning.sample_every=0", "tuning.samples=1")
    whole = tuning.run(prepared.folder, tokens, tmp_path / "whole", config, 0, tmp_path / "one")
    tuning.run(prepared.folder, tokens, tmp_path / "half", config, 0, tmp_path / "two", until_step=2)
    ended = tuning.run(prepared.folder, tokens, tmp_path / "ended", config, 0, tmp_path / "two")
    assert read_manifest(ended, "adapter")["content"]["last_hash"] == read_manifest(whole, "adapter")["content"]["last_hash"]


@pytest.mark.parametrize("composed", [True, False])
def test_without_composed_prompts_source_rows_have_none_either(pack: Pack, make_session: Callable[..., Session], composed: bool) -> None:
    config = tiny_config(pack, "tuning.source_composed=0.5", f"tuning.composed={str(composed).lower()}")
    assert tuning.training_rows(make_session(config), config).source_composed == (0.5 if composed else 0)


@pytest.mark.parametrize("base", ["mini", "sd15"])
def test_baselines_are_presets_of_the_papers_settings(base: str) -> None:
    dreambooth, inversion, custom = (load_config(f"{base}-{name}") for name in ("dreambooth", "textual-inversion", "custom-diffusion"))
    assert [config.tuning.trainable for config in (dreambooth, inversion, custom)] == ["all", "tokens", "cross_attention"]
    for config in (dreambooth, inversion, custom):
        assert not config.training.masked and not config.tuning.composed and config.training.lambda_style == 1
        assert config.tuning.lambda_identity == config.tuning.lambda_attention == 0 and config.pack == base
    assert dreambooth.tuning.lambda_prior == custom.tuning.lambda_prior == 2 and inversion.tuning.lambda_prior == 0
