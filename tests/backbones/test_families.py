"""Stable Diffusion 2.x and XL compute what stock diffusers computes from the same folder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler
from torch import Tensor

from magicapture.backbones import Backbone, BackboneError, Text, load_backbone
from magicapture.backbones.stable_diffusion_xl import StableDiffusionXL
from magicapture.packs import Pack
from magicapture.training.attention import AttentionMaps
from tests.tinyfamilies import FAMILIES, stock_pipeline, stock_prediction, write_pack

PROMPTS = ["a photo of a [V1] person in the [V2] style", "a person !", ""]


@pytest.fixture(scope="module", params=FAMILIES)
def pack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return write_pack(tmp_path_factory.mktemp("family"), request.param)


@pytest.fixture(scope="module")
def xl_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return write_pack(tmp_path_factory.mktemp("family"), "sdxl")


@pytest.fixture
def backbone(pack: Pack) -> Backbone:
    return load_backbone(pack)


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _with_tokens(backbone: Backbone, stock: Any) -> None:
    """The same two tokens in both, one vector in each text encoder."""
    for number, encoder in enumerate(backbone.tokens.encoders):
        suffix = "_2" * number
        for token in ("[V1]", "[V2]"):
            vector = _randn(encoder.width, seed=number)
            encoder.add(token, vector)
            parts = {"text_encoder": getattr(stock, "text_encoder" + suffix), "tokenizer": getattr(stock, "tokenizer" + suffix)}
            stock.load_textual_inversion({token: vector}, **parts)


def test_predictions_are_those_of_the_stock_pipeline(pack: Pack, backbone: Backbone) -> None:
    stock = stock_pipeline(pack)
    _with_tokens(backbone, stock)
    assert backbone.prediction_type == FAMILIES[pack.name][1]
    latents, timesteps = _randn(3, 4, 16, 16), torch.tensor([1, 500, 999])
    with torch.no_grad():
        text = backbone.encode_prompts(PROMPTS)
        expected = stock.encode_prompt(PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
        assert torch.allclose(text.sequence, expected[0], atol=1e-6)
        if text.pooled is not None:
            assert torch.allclose(text.pooled, expected[2], atol=1e-6)
        prediction = backbone.predict(latents, timesteps, text)
        assert torch.allclose(prediction, stock_prediction(stock, latents, timesteps, PROMPTS), atol=1e-5)


@pytest.mark.parametrize("negative", ["", "a dark photo"])
def test_pictures_are_those_of_the_stock_pipeline(pack: Pack, backbone: Backbone, negative: str) -> None:
    settings = {"steps": 3, "guidance": 3.0, "sampler": "euler_ancestral", "negative_prompt": negative}
    found = backbone.sample(["a person", "a photo"], [5, 6], **settings)
    stock = stock_pipeline(pack)
    stock.scheduler = EulerAncestralDiscreteScheduler.from_config(stock.scheduler.config)
    for row, (prompt, seed) in enumerate([("a person", 5), ("a photo", 6)]):
        expected = stock(
            prompt, negative_prompt=negative or None, height=32, width=32, num_inference_steps=3, guidance_scale=3.0,
            generator=torch.Generator().manual_seed(seed), output_type="np",
        ).images[0]  # fmt: skip
        assert np.abs(found[row] - expected * 255).max() <= 1


def test_gradients_reach_the_tokens_of_every_encoder(backbone: Backbone) -> None:
    for encoder in backbone.tokens.encoders:
        encoder.add("[V1]", _randn(encoder.width))
    backbone.gradient_checkpointing()
    backbone.predict(_randn(1, 4, 16, 16), torch.tensor([500]), backbone.encode_prompts(["a [V1]"])).square().sum().backward()
    vectors = list(backbone.tokens.vectors.values())
    assert len(vectors) == len(backbone.text_encoders) and all(vector.grad.abs().max() > 0 for vector in vectors)
    networks = (backbone.unet, backbone.vae, *backbone.text_encoders.values())
    trained = {id(p) for network in networks for p in network.parameters() if p.requires_grad or p.grad is not None}
    assert trained == {id(vector) for vector in vectors}


def test_there_is_a_map_for_every_head_of_the_wanted_side(pack: Pack, backbone: Backbone) -> None:
    """At 8x8: in 2.x down, middle and twice up of 4 heads; in XL, whose lowest level is 4x4, down and twice up of 2 heads."""
    for encoder in backbone.tokens.encoders:
        encoder.add("[V1]", _randn(encoder.width))
    maps = AttentionMaps(backbone.unet, 8)
    with torch.no_grad(), maps.recording():
        backbone.predict(_randn(1, 4, 16, 16), torch.tensor([500]), backbone.encode_prompts(["a [V1]"]))
    found = maps.of(backbone.token_positions(["a [V1]"], "[V1]")[:, None])
    assert found.shape == (1, 1, 3 * 2 if pack.name == "sdxl" else 4 * 4, 8, 8)
    assert float(found.min()) > 0 and float(found.max()) < 1


def test_positions_and_what_is_cut_off(backbone: Backbone) -> None:
    for encoder in backbone.tokens.encoders:
        encoder.add("[V1]", _randn(encoder.width))
    assert backbone.text_length == 32
    assert backbone.token_positions(["a [V1] person"], "[V1]").nonzero().tolist() == [[0, 2]]
    assert backbone.cut_off("a " * 30) == "" and backbone.cut_off("a " * 30 + "person") == "person"


def test_xl_pools_at_the_end_token_whatever_the_configuration_says(xl_pack: Pack) -> None:
    """transformers pools where the greatest id stands when the configuration's end token is 2: at a placeholder."""
    backbone = load_backbone(xl_pack)
    for encoder in backbone.tokens.encoders:
        encoder.add("[V1]", _randn(encoder.width))
    with torch.no_grad():
        one, other = backbone.encode_prompts(["a [V1] person", "a [V1] photo"]).pooled
    assert not torch.allclose(one, other, atol=1e-3)  # at [V1] both had read the same words


def test_an_empty_negative_prompt_is_zeros_where_the_folder_says_so(xl_pack: Pack) -> None:
    backbone = load_backbone(xl_pack)
    assert isinstance(backbone, StableDiffusionXL)
    with torch.no_grad():
        assert all(float(part.abs().max()) == 0 for part in backbone.encode_negative(""))
        assert all(float(part.abs().max()) > 0 for part in backbone.encode_negative("a"))
        backbone._zero_negative = False
        assert all(float(part.abs().max()) > 0 for part in backbone.encode_negative(""))


@pytest.mark.parametrize(("upcast", "dtype"), [(True, torch.float32), (False, torch.float16)])
def test_the_autoencoder_stays_fp32_beside_fp16_networks_where_it_has_to(xl_pack: Pack, upcast: bool, dtype: torch.dtype) -> None:
    folder = xl_pack.path("diffusion")
    config = folder / "vae/config.json"
    text = config.read_text()
    config.write_text(text.replace('"force_upcast": true', f'"force_upcast": {str(upcast).lower()}'))
    try:
        backbone = StableDiffusionXL(folder, 32, torch.device("cpu"), torch.float16)
    finally:
        config.write_text(text)
    assert backbone.vae.dtype == dtype and backbone.unet.dtype == torch.float16
    with torch.no_grad():
        assert backbone.decode(backbone.encode_images(_randn(1, 3, 32, 32))).dtype == torch.float32


def test_text_of_another_family_is_refused(xl_pack: Pack) -> None:
    with pytest.raises(BackboneError, match="text without a pooled embedding"):
        load_backbone(xl_pack).predict(_randn(1, 4, 16, 16), torch.tensor([1]), Text(_randn(1, 32, 40)))


def test_a_vector_without_its_encoders_name_is_refused(xl_pack: Pack) -> None:
    backbone = load_backbone(xl_pack)
    for name in ("[V1]", "[V1].clip_x", ".clip_l"):
        with pytest.raises(ValueError, match=r"\[V1\].clip_l or \[V1\].clip_g; was it learnt on another model"):
            backbone.tokens.add(name, _randn(16))
    with pytest.raises(ValueError, match=r"shape \(16,\), expected \(24,\)"):
        backbone.tokens.add("[V1].clip_g", _randn(16))
    backbone.tokens.add("[V1].clip_l", _randn(16))
    assert list(backbone.tokens.vectors) == ["[V1].clip_l"] and list(backbone.tokens.ids) == ["[V1]"]
