"""What is saved is what stock diffusers loads, and what comes back is bit for bit what was saved."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magicapture import adapters
from magicapture.adapters import AdapterError
from magicapture.adapters.files import file_name, file_names
from magicapture.adapters.formats import read_embedding
from magicapture.backbones import Backbone, load_backbone
from magicapture.packs import Pack
from tests.adapters.conftest import tune
from tests.backbones.tinysd import write_pack

PROMPT = "a photo of a [V1] person in the [V2] style"


def _into_stock(folder: Path, stock: StableDiffusionPipeline) -> None:
    stock.load_lora_weights(folder)
    for token, vector in load_file(folder / "tokens.safetensors").items():
        stock.load_textual_inversion({token: vector})


@pytest.mark.parametrize(("rank", "alpha"), [(4, 4.0), (4, 2.0), (3, 7.0)])
def test_stock_diffusers_predicts_the_same_noise(
    backbone: Backbone, stock: StableDiffusionPipeline, tmp_path: Path, rank: int, alpha: float
) -> None:
    adapters.save(tmp_path, tune(backbone, rank, alpha))
    latents, timestep = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor([400])
    with torch.no_grad():
        before = stock.unet(latents, timestep, stock.encode_prompt("a person", "cpu", 1, False)[0]).sample
        _into_stock(tmp_path, stock)
        expected_text = stock.encode_prompt(PROMPT, "cpu", 1, False)[0]
        expected = stock.unet(latents, timestep, expected_text).sample
        text = backbone.encode_prompts([PROMPT])
        assert torch.allclose(text.sequence, expected_text, atol=1e-6)
        assert torch.allclose(backbone.predict(latents, timestep, text), expected, atol=1e-5)
        assert (expected - before).abs().max() > 0.05


def test_stock_diffusers_draws_the_same_picture_at_the_same_scales(
    pack: Pack, tuned: Backbone, stock: StableDiffusionPipeline, tmp_path: Path
) -> None:
    adapters.save(tmp_path, tuned)
    backbone = load_backbone(pack)
    adapters.load(tmp_path, backbone, unet_scale=0.6, text_scale=0.9)
    found = backbone.sample([PROMPT], [5], steps=4, guidance=3.0, sampler="euler_ancestral")
    _into_stock(tmp_path, stock)
    stock.set_adapters(stock.get_active_adapters(), [{"unet": 0.6, "text_encoder": 0.9}])
    stock.scheduler = EulerAncestralDiscreteScheduler.from_config(stock.scheduler.config)
    expected = stock(PROMPT, num_inference_steps=4, guidance_scale=3.0, generator=torch.Generator().manual_seed(5), output_type="np").images
    assert np.abs(found - expected * 255).max() <= 1


def test_the_adapter_comes_back_bit_for_bit(pack: Pack, tuned: Backbone, tmp_path: Path) -> None:
    saved = adapters.tensors(tuned)
    adapters.save(tmp_path, tuned)
    backbone = load_backbone(pack)
    stored = adapters.load(tmp_path, backbone)
    assert (stored.rank, stored.alpha) == (4, 2.0)
    assert adapters.tensor_hash(stored.tensors) == adapters.tensor_hash(saved) == adapters.tensor_hash(adapters.tensors(backbone))
    assert saved.keys() == stored.tensors.keys() >= {"[V1]", "[V2]"}
    assert not any(p.requires_grad for n in (backbone.unet, backbone.text_encoder) for p in n.parameters())
    assert list(backbone.tokens.ids) == list(backbone.tokens.vectors) == ["[V1]", "[V2]"]  # one order, whatever the hash seed
    with torch.no_grad():
        texts = [b.encode_prompts([PROMPT]) for b in (tuned, backbone)]
        predictions = [b.predict(torch.ones(1, 4, 8, 8), torch.tensor([9]), texts[0]) for b in (tuned, backbone)]
    assert torch.equal(texts[0].sequence, texts[1].sequence) and torch.equal(*predictions)


def test_saving_twice_writes_the_same_bytes(tuned: Backbone, tmp_path: Path) -> None:
    for name in ("a", "b"):
        adapters.save(tmp_path / name, tuned)
    for file in ("pytorch_lora_weights.safetensors", "tokens.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_saving_ignores_the_inference_scales(tuned: Backbone, tmp_path: Path) -> None:
    adapters.save(tmp_path / "a", tuned)
    adapters.set_scales(tuned, 0.1, 0.2)
    adapters.save(tmp_path / "b", tuned)
    assert adapters.read(tmp_path / "a").alpha == adapters.read(tmp_path / "b").alpha == 2.0


def test_loading_replaces_what_was_there(pack: Pack, tuned: Backbone, tmp_path: Path) -> None:
    adapters.save(tmp_path, tuned)
    backbone = tune(load_backbone(pack), rank=8)
    adapters.load(tmp_path, backbone)
    assert adapters.tensor_hash(adapters.tensors(backbone)) == adapters.tensor_hash(adapters.tensors(tuned))


def test_a_backbone_that_knows_another_adapters_tokens_is_refused_and_stays_as_it_is(pack: Pack, tuned: Backbone, tmp_path: Path) -> None:
    adapters.save(tmp_path, tuned)
    backbone = tune(load_backbone(pack), tokens=("[V1]", "[V1:anna]"))
    before = adapters.tensor_hash(adapters.tensors(backbone))
    with pytest.raises(AdapterError, match=r"lacks \[V1:anna\], which this backbone knows from another adapter; load it on a fresh one"):
        adapters.load(tmp_path, backbone)
    assert adapters.tensor_hash(adapters.tensors(backbone)) == before


OUTSIDE = ["{}/outside", "[../../outside]", "[..].clip_l", "..", "a/b", "a\\b", "[V1]\n", "a\0b", "\u202eb", ".hidden", "[]", ""]


@pytest.mark.parametrize("file", ["tokens.safetensors", "pytorch_lora_weights.safetensors"])
@pytest.mark.parametrize("token", OUTSIDE)
def test_a_token_that_would_lead_out_of_its_folder_is_refused(tuned: Backbone, tmp_path: Path, token: str, file: str) -> None:
    adapters.save(tmp_path, tuned)
    with safe_open(tmp_path / file, "pt") as opened:
        header = opened.metadata()
    save_file({**load_file(tmp_path / file), token.format(tmp_path): torch.ones(32)}, tmp_path / file, header)
    with pytest.raises(AdapterError, match=rf"{file}: token .* cannot name a file; expected .*; do not use it"):
        adapters.read(tmp_path)
    save_file({token.format(tmp_path): torch.ones(32)}, tmp_path / "embedding.safetensors")
    with pytest.raises(AdapterError, match="cannot name a file"):
        read_embedding(tmp_path / "embedding.safetensors")
    with pytest.raises(AdapterError, match="cannot name a file"):
        adapters.save_tokens(tmp_path / f"{file_name(token.removesuffix('.clip_l'))}.safetensors", {})


@pytest.mark.parametrize("token", ["[V1]", "[V1:anna]", "[V1:anna-2]_1", "<cat-toy>", "anna_2", "v1.5", "bad prompt", "zo\u00eb", "*"])
def test_the_names_that_tokens_have_are_read(tmp_path: Path, token: str) -> None:
    for end in ("", ".clip_l"):
        adapters.save_tokens(tmp_path / "tokens.safetensors", {f"{token}{end}": torch.ones(4)})
        assert list(adapters.load_tokens(tmp_path / "tokens.safetensors")) == [f"{token}{end}"]
    assert Path(file_name(token)).name == file_name(token)


def test_restore_keeps_the_parameters_an_optimiser_holds(backbone: Backbone) -> None:
    vector = backbone.tokens.add("[V1]", torch.ones(32))
    groups = adapters.attach(backbone, 4, None, 0.0, seed=0)
    held = [*groups.unet, *groups.text, vector]
    snapshot = adapters.tensors(backbone)
    before = adapters.tensor_hash(snapshot)
    with torch.no_grad():
        for parameter in held:
            parameter.add_(1)
    assert adapters.tensor_hash(snapshot) == before  # copies, not views
    assert adapters.tensor_hash(adapters.tensors(backbone)) != before
    adapters.restore(backbone, snapshot)
    assert adapters.tensor_hash(adapters.tensors(backbone)) == before
    assert all(parameter.requires_grad for parameter in held)
    assert torch.equal(held[-1], torch.ones(32))


def test_an_adapter_of_another_model_is_refused(tuned: Backbone, backbone: Backbone, tmp_path: Path) -> None:
    adapters.save(tmp_path / "a", tuned)
    weights = load_file(tmp_path / "a/pytorch_lora_weights.safetensors")
    name = next(iter(weights))
    other = tune(load_backbone(write_pack(tmp_path / "pack", 3)), rank=2)
    adapters.detach(other)
    adapters.attach(other, 2, None, 0.0, seed=0)
    with pytest.raises(AdapterError, match="does not fit this model: .* another rank"):
        adapters.restore(other, adapters.tensors(tuned))
    with pytest.raises(AdapterError, match="1 tensors differ"):
        adapters.restore(tuned, {k: v for k, v in weights.items() if k != name})
    # a failed load leaves the backbone bare, not half adapted
    adapters.save_tokens(tmp_path / "a/tokens.safetensors", {"[V1]": torch.ones(768)})
    with pytest.raises(AdapterError, match=r"expected \(32,\)"):
        adapters.load(tmp_path / "a", backbone)
    assert not adapters.attached(backbone)


def test_missing_damaged_and_foreign_files_are_named(tuned: Backbone, backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="pytorch_lora_weights.safetensors is missing"):
        adapters.load(tmp_path, backbone)
    adapters.save(tmp_path, tuned)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AdapterError, match="is damaged"):
        adapters.load(tmp_path, backbone)
    save_file({"x": torch.ones(2)}, file)
    with pytest.raises(AdapterError, match="does not say its rank and alpha"):
        adapters.load(tmp_path, backbone)
    file.write_bytes(whole)
    (tmp_path / "tokens.safetensors").unlink()
    with pytest.raises(AdapterError, match="tokens.safetensors is missing"):
        adapters.load(tmp_path, backbone)
    with pytest.raises(AdapterError, match="carries no adapter"):
        adapters.save(tmp_path, backbone)


def test_token_files_hold_fp32_vectors(tmp_path: Path) -> None:
    file = tmp_path / "deep/tokens.safetensors"
    adapters.save_tokens(file, {"[V2]": torch.ones(4, dtype=torch.float16), "[V1]": torch.zeros(4, requires_grad=True)})
    found = adapters.load_tokens(file)
    assert list(found) == ["[V1]", "[V2]"] and {v.dtype for v in found.values()} == {torch.float32}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.sampled_from(["name", "value", "shape", "dtype"]))
def test_the_hash_names_tensors_not_files(index: int, change: str) -> None:
    values = {"a": torch.arange(6.0), "b": torch.ones(2, 3, dtype=torch.bfloat16)}
    hashed = adapters.tensor_hash(values)
    assert adapters.tensor_hash(dict(reversed(values.items()))) == hashed
    assert adapters.tensor_hash({"a": torch.arange(12.0).div(2)[::2], "b": values["b"]}) == hashed  # strides do not count
    altered = dict(values)
    if change == "name":
        altered["c"] = altered.pop("a")
    elif change == "value":
        altered["a"] = values["a"].clone()
        altered["a"][index] += 0.5
    elif change == "shape":
        altered["a"] = values["a"].reshape(2, 3)
    else:
        altered["a"] = values["a"].view(torch.int32)
    assert adapters.tensor_hash(altered) != hashed


def test_a_token_that_ends_like_a_further_vector_is_a_token() -> None:
    tokens = {name: torch.ones(2) for name in ("<style_7>", "anna_2", "[V1]", "[V1]_1")}
    assert {token: len(rows[""]) for token, rows in adapters.files.stacked(tokens).items()} == {"<style_7>": 1, "anna_2": 1, "[V1]": 2}


@pytest.mark.parametrize("other", ["[V1-anna]", "[v1:Anna]", "<V1:anna>"])
def test_two_tokens_that_would_be_one_file_are_refused(other: str) -> None:
    assert file_names(["[V1]", "[V1:anna]", "[V2]"]) == {"[V1]": "V1", "[V1:anna]": "V1-anna", "[V2]": "V2"}
    with pytest.raises(AdapterError, match=re.escape(f"tokens '[V1:anna]' and {other!r} would be written as one file")):
        file_names(["[V1]", "[V1:anna]", other])
