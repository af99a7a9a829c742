"""The backbone computes what stock diffusers computes from the same folder, and lets gradients through."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor

from magicapture.backbones import Backbone, Text, load_backbone
from magicapture.packs import Pack


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_fp16_files_become_frozen_fp32_networks_in_evaluation_mode(backbone: Backbone) -> None:
    for network in (backbone.unet, backbone.vae, backbone.text_encoder):
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        assert not any(p.requires_grad for p in network.parameters())
        assert not any(module.training for module in network.modules())
    assert (backbone.resolution, backbone.scale, backbone.latent_size, backbone.latent_channels) == (32, 4, 8, 4)
    assert backbone.prediction_type == "v_prediction"


def test_attention_is_fused_everywhere(backbone: Backbone) -> None:
    processors = [*backbone.unet.attn_processors.values(), *backbone.vae.attn_processors.values()]
    assert processors and all(type(processor) is AttnProcessor2_0 for processor in processors)
    assert backbone.text_encoder.config._attn_implementation == "sdpa"


def test_latents_are_the_scaled_posterior(backbone: Backbone, stock: StableDiffusionPipeline) -> None:
    images = _randn(2, 3, 32, 32).clamp(-1, 1)
    with torch.no_grad():
        expected = stock.vae.encode(images).latent_dist
    assert torch.allclose(backbone.encode_images(images), expected.mean * 0.5, atol=1e-6)
    first = backbone.encode_images(images, torch.Generator().manual_seed(3))
    again = backbone.encode_images(images, torch.Generator().manual_seed(3))
    assert torch.equal(first, again)
    noise = _randn(*first.shape, seed=3)
    assert torch.allclose(first, (expected.mean + expected.std * noise) * 0.5, atol=1e-6)


def test_decoding_undoes_the_scale_and_passes_gradients(backbone: Backbone, stock: StableDiffusionPipeline) -> None:
    latents = _randn(2, 4, 8, 8).requires_grad_()
    pictures = backbone.decode(latents)
    with torch.no_grad():
        assert torch.allclose(pictures, stock.vae.decode(latents / 0.5).sample, atol=1e-6)
    pictures[0].square().sum().backward()
    assert latents.grad is not None and latents.grad[0].abs().max() > 0 and latents.grad[1].abs().max() == 0


def test_text_is_what_the_stock_pipeline_gives_the_unet(backbone: Backbone, stock: StableDiffusionPipeline) -> None:
    prompts = ["a photo of a person", "", "x" * 200]
    with torch.no_grad():
        expected, _ = stock.encode_prompt(prompts, "cpu", 1, do_classifier_free_guidance=False)
        assert torch.allclose(backbone.encode_prompts(prompts).sequence, expected, atol=1e-6)


def test_text_with_tokens_is_that_of_diffusers_textual_inversion(backbone: Backbone, stock: StableDiffusionPipeline) -> None:
    for seed, token in enumerate(("[V1]", "[V2]")):
        backbone.tokens.add(token, _randn(32, seed=seed))
        stock.load_textual_inversion({token: _randn(32, seed=seed)})
    prompts = ["a [V1] person in the [V2] style", "a person"]
    with torch.no_grad():
        expected, _ = stock.encode_prompt(prompts, "cpu", 1, do_classifier_free_guidance=False)
        assert torch.allclose(backbone.encode_prompts(prompts).sequence, expected, atol=1e-6)


def test_what_does_not_fit_is_named(backbone: Backbone) -> None:
    assert backbone.cut_off("a" * 38) == ""
    assert backbone.cut_off("a" * 38 + " bcd") == "bcd"
    ids = backbone.token_ids(["a" * 38 + " bcd"])
    assert ids.shape == (1, 40) and ids[0, -1] == backbone.tokenizer.eos_token_id


def _gradients(backbone: Backbone, checkpointing: bool) -> dict[str, Tensor]:
    """Gradients of the latents and of a token through the UNet, through a captured query, and through the decoder."""
    backbone.gradient_checkpointing(checkpointing)
    token = backbone.tokens.add("[V1]", _randn(32, seed=5))
    token.grad = None
    captured: list[Tensor] = []
    layer = backbone.unet.up_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k
    handle = layer.register_forward_hook(lambda module, inputs, output: captured.append(output))
    latents = _randn(2, 4, 8, 8, seed=6).requires_grad_()
    prediction = backbone.predict(latents, torch.tensor([10, 500]), backbone.encode_prompts(["a [V1]", "[V1] b"]))
    handle.remove()
    found = {}
    captured[0].square().mean().backward(retain_graph=True)
    found["captured"] = token.grad.clone()
    backbone.decode(prediction).square().mean().backward()
    found["token"], found["latents"] = token.grad.clone(), latents.grad.clone()
    return found


def test_checkpointing_changes_no_gradient_and_keeps_the_graph_of_captured_tensors(backbone: Backbone) -> None:
    plain, checkpointed = _gradients(backbone, False), _gradients(backbone, True)
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0, name  # the original code's captured maps had none
        assert torch.allclose(gradient, checkpointed[name], rtol=1e-4, atol=1e-8), name


def test_checkpointing_recomputes_and_can_be_switched_off(backbone: Backbone) -> None:
    counts = []
    for enabled in (True, False):
        backbone.gradient_checkpointing(enabled)
        calls: list[str] = []
        hooks = [  # before a layer: recomputation stops early, so what comes last in a block is not called again
            block.resnets[0].conv1.register_forward_pre_hook(lambda *_, calls=calls: calls.append("called"))
            for block in (backbone.unet.down_blocks[0], backbone.vae.decoder.mid_block)
        ]
        latents = _randn(1, 4, 8, 8).requires_grad_()
        backbone.decode(backbone.predict(latents, torch.tensor([3]), Text(_randn(1, 40, 32)))).sum().backward()
        for hook in hooks:
            hook.remove()
        counts.append(len(calls))
    assert counts == [4, 2]


def test_bf16_networks_give_fp32_tensors_close_to_fp32(pack: Pack, backbone: Backbone) -> None:
    small = load_backbone(pack, precision="bf16")
    assert {p.dtype for p in small.unet.parameters()} == {torch.bfloat16}
    vector = small.tokens.add("[V1]", _randn(32))
    backbone.tokens.add("[V1]", _randn(32))
    assert vector.dtype == torch.float32
    text = small.encode_prompts(["a [V1]"])
    latents = small.encode_images(_randn(1, 3, 32, 32))
    prediction = small.predict(latents, torch.tensor([300]), text)
    assert {t.dtype for t in (text.sequence, latents, prediction, small.decode(latents))} == {torch.float32}
    reference = backbone.predict(backbone.encode_images(_randn(1, 3, 32, 32)), torch.tensor([300]), backbone.encode_prompts(["a [V1]"]))
    assert torch.nn.functional.cosine_similarity(prediction.flatten(), reference.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("token", ["[V1]", "[V2]"])
def test_positions_of_a_token(backbone: Backbone, token: str) -> None:
    for name in ("[V1]", "[V2]"):
        backbone.tokens.add(name, _randn(32))
    found = backbone.token_positions(["a [V1] b [V2]", "[V2][V2]", "ab"], token)
    expected = {"[V1]": [[2], [], []], "[V2]": [[4], [1, 2], []]}[token]
    assert [row.nonzero().flatten().tolist() for row in found] == expected
