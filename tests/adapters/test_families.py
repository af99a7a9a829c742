"""Adapters of Stable Diffusion 2.x and XL: what is saved is what stock diffusers loads, with both text encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file

from magicapture import adapters
from magicapture.adapters import AdapterError
from magicapture.backbones import Backbone, load_backbone
from magicapture.packs import Pack
from tests.tinyfamilies import FAMILIES, into_stock, stock_pipeline, stock_prediction, write_pack

PROMPT = "a photo of a [V1] person in the [V2] style"
TWO_ENCODERS = [name for name, (xl, _) in FAMILIES.items() if xl]
ONE_ENCODER = [name for name in FAMILIES if name not in TWO_ENCODERS]


@pytest.fixture(scope="module", params=FAMILIES)
def pack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return write_pack(tmp_path_factory.mktemp("family"), request.param)


@pytest.fixture
def tuned(pack: Pack) -> Backbone:
    """A backbone with two tokens and a LoRA (rank 4, alpha 2) that all do something."""
    backbone = load_backbone(pack)
    generator = torch.Generator().manual_seed(7)
    for encoder in backbone.tokens.encoders:
        for token in ("[V1]", "[V2]"):
            encoder.add(token, torch.randn(encoder.width, generator=generator))
    groups = adapters.attach(backbone, 4, 2.0, 0.0, seed=0)
    with torch.no_grad():
        for parameter in [*groups.unet, *groups.text]:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return backbone


def test_the_saved_adapter_predicts_the_same_in_stock_diffusers_and_here(pack: Pack, tuned: Backbone, tmp_path: Path) -> None:
    adapters.save(tmp_path, tuned)
    fresh, stock = load_backbone(pack), stock_pipeline(pack)
    latents, timesteps = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(3)), torch.tensor([400, 900])
    with torch.no_grad():
        before = stock_prediction(stock, latents, timesteps, ["a person"] * 2)
        expected = tuned.predict(latents, timesteps, tuned.encode_prompts([PROMPT] * 2))
        adapters.load(tmp_path, fresh)
        assert torch.equal(fresh.predict(latents, timesteps, fresh.encode_prompts([PROMPT] * 2)), expected)
        into_stock(tmp_path, stock)
        found = stock_prediction(stock, latents, timesteps, [PROMPT] * 2)
    assert torch.allclose(found, expected, atol=1e-5)
    assert (expected - before).abs().max() > 0.05
    assert adapters.tensor_hash(adapters.tensors(fresh)) == adapters.tensor_hash(adapters.tensors(tuned))


def test_files_name_every_network_with_rank_and_alpha(pack: Pack, tuned: Backbone, tmp_path: Path) -> None:
    adapters.save(tmp_path, tuned)
    stored = adapters.read(tmp_path)
    assert (stored.rank, stored.alpha) == (4, 2.0)
    prefixes = {name.partition(".")[0] for name in stored.tensors if ".lora_" in name}
    assert prefixes == {"unet", *tuned.text_encoders} and len(prefixes) == (3 if pack.name == "sdxl" else 2)
    assert all("text_model.encoder" in name for name in stored.tensors if name.startswith("text_encoder"))
    _, alphas, metadata = StableDiffusionXLPipeline.lora_state_dict(tmp_path, return_lora_metadata=True)
    assert alphas is None and all((metadata[f"{prefix}.r"], metadata[f"{prefix}.lora_alpha"]) == (4, 2.0) for prefix in prefixes)


@pytest.mark.parametrize("pack", ONE_ENCODER, indirect=True)
def test_tokens_of_one_encoder_are_written_once(tuned: Backbone, tmp_path: Path) -> None:
    adapters.save(tmp_path, tuned)
    assert set(adapters.load_tokens(tmp_path / "tokens.safetensors")) == {"[V1]", "[V2]"} and not list(tmp_path.glob("V*"))


@pytest.mark.parametrize("pack", TWO_ENCODERS, indirect=True)
def test_tokens_of_two_encoders_are_also_written_in_the_form_of_other_programs(tuned: Backbone, tmp_path: Path) -> None:
    adapters.save(tmp_path, tuned)
    tokens = adapters.load_tokens(tmp_path / "tokens.safetensors")
    assert set(tokens) == {f"{token}.{encoder}" for token in ("[V1]", "[V2]") for encoder in ("clip_l", "clip_g")}
    for token in ("[V1]", "[V2]"):
        alone = load_file(tmp_path / f"{token[1:3]}.safetensors")
        assert {name: tuple(vector.shape) for name, vector in alone.items()} == {"clip_l": (1, 16), "clip_g": (1, 24)}
        assert all(torch.equal(vector[0], tokens[f"{token}.{name}"]) for name, vector in alone.items())


@pytest.mark.parametrize("pack", TWO_ENCODERS, indirect=True)
def test_a_token_that_one_encoder_lacks_is_refused(pack: Pack, tuned: Backbone, tmp_path: Path) -> None:
    """Its tokenizer would spell it."""
    adapters.save(tmp_path, tuned)
    tokens = adapters.load_tokens(tmp_path / "tokens.safetensors")
    adapters.save_tokens(tmp_path / "tokens.safetensors", {name: tokens[name] for name in tokens if name != "[V2].clip_g"})
    with pytest.raises(AdapterError, match=r"different tokens: \['\[V1\]', '\[V2\]'\] and \['\[V1\]'\]; expected a vector of every token"):
        adapters.load(tmp_path, load_backbone(pack))


def test_gradients_reach_all_lora_and_tokens_and_nothing_frozen(pack: Pack) -> None:
    backbone = load_backbone(pack)
    vectors = [encoder.add("[V1]", torch.ones(encoder.width)) for encoder in backbone.tokens.encoders]
    groups = adapters.attach(backbone, 2, None, 0.0, seed=0)
    learnt = {id(parameter): parameter for parameter in [*groups.unet, *groups.text, *vectors]}
    with torch.no_grad():
        for parameter in [*groups.unet, *groups.text]:
            parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))  # with B = 0, A would have a gradient of 0
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    backbone.predict(latents, torch.tensor([500]), backbone.encode_prompts(["a [V1] person"])).square().sum().backward()
    networks = [backbone.vae, *adapters.lora.networks(backbone).values()]
    every = {id(p): (name, p) for network in networks for name, p in network.named_parameters()}
    assert {key for key, (_, p) in every.items() if p.requires_grad} == set(learnt)
    without = [name for key, (name, p) in every.items() if key in learnt and (p.grad is None or p.grad.abs().max() == 0)]
    # XL reads the last hidden state but one: the last layer of its first text encoder does nothing, and what is on it learns nothing
    assert len(without) == (8 if pack.name == "sdxl" else 0) and all(name.startswith("encoder.layers.1.") for name in without)
    assert all(p.grad is None for key, (_, p) in every.items() if key not in learnt)


def test_scales_and_disabling_reach_every_text_encoder(pack: Pack, tuned: Backbone) -> None:
    with torch.no_grad():
        full = tuned.encode_prompts([PROMPT])
        with adapters.disabled(tuned):
            base = tuned.encode_prompts([PROMPT])
        adapters.set_scales(tuned, 1.0, 0.0)
        scaled = tuned.encode_prompts([PROMPT])
        adapters.detach(tuned)
        bare = tuned.encode_prompts([PROMPT])
    assert not adapters.attached(tuned)
    for one, off, zero, none in zip(full, base, scaled, bare, strict=True):
        if one is None:
            continue
        assert torch.equal(off, none) and torch.allclose(zero, none, atol=1e-6)
        width = none.shape[-1]
        for part in (slice(0, width // 2), slice(width // 2, None)):  # the half of either encoder
            assert not torch.allclose(one[..., part], none[..., part], atol=1e-2)


def test_an_adapter_of_another_family_is_refused_and_leaves_the_backbone_bare(tmp_path: Path) -> None:
    packs = {name: write_pack(tmp_path / name, name) for name in ("sd2-v", "sdxl")}
    for name, pack in packs.items():
        backbone = load_backbone(pack)
        for encoder in backbone.tokens.encoders:
            encoder.add("[V1]", torch.ones(encoder.width))
        adapters.attach(backbone, 2, None, 0.0, seed=0)
        adapters.save(tmp_path / "adapters" / name, backbone)
    for learnt, other in (("sd2-v", "sdxl"), ("sdxl", "sd2-v")):
        backbone = load_backbone(packs[other])
        with pytest.raises(AdapterError, match=rf"{learnt}: adapter does not fit this model: \d+ tensors differ.*trained on another model"):
            adapters.load(tmp_path / "adapters" / learnt, backbone)
        assert not adapters.attached(backbone) and not backbone.tokens.ids
