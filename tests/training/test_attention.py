from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from magicapture import adapters
from magicapture.backbones import Backbone
from magicapture.faces.concepts import TOKENS
from magicapture.training.attention import AttentionMaps
from magicapture.training.prompts import DEFAULT_PROMPT


class Slow(AttnProcessor):
    """diffusers' unfused attention, keeping the full probabilities of cross-attention."""

    def __init__(self, kept: list[torch.Tensor]) -> None:
        super().__init__()
        self.kept = kept

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):  # type: ignore[no-untyped-def]
        if encoder_hidden_states is not None:
            query = attn.head_to_batch_dim(attn.to_q(hidden_states))
            key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
            self.kept.append(attn.get_attention_scores(query, key).unflatten(0, (-1, attn.heads)))
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


@pytest.fixture
def tuned(backbone: Backbone) -> Backbone:
    """With tokens, and an adapter that does something."""
    generator = torch.Generator().manual_seed(0)
    for token in TOKENS:
        backbone.tokens.add(token, torch.randn(backbone.tokens.width, generator=generator))
    groups = adapters.attach(backbone, 2, None, 0.0, 0)
    with torch.no_grad():
        for parameter in [*groups.unet, *groups.text]:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return backbone


def predict(backbone: Backbone, prompts: list[str]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn((len(prompts), 4, 16, 16), generator=generator)
    return backbone.predict(latents, torch.tensor([100 * (i + 1) for i in range(len(prompts))]), backbone.encode_prompts(prompts))


PROMPTS = ["a photo of a [V1] person", DEFAULT_PROMPT]


def positions(backbone: Backbone) -> torch.Tensor:
    return torch.stack([backbone.token_positions(PROMPTS, token) for token in TOKENS], dim=1)


def test_maps_are_the_softmax_columns_of_the_tokens(tuned: Backbone) -> None:
    attention = AttentionMaps(tuned.unet, 8)
    with torch.no_grad(), attention.recording():
        predict(tuned, PROMPTS)
    maps = attention.of(positions(tuned))

    kept: list[torch.Tensor] = []
    tuned.unet.set_attn_processor(Slow(kept))
    with torch.no_grad():
        predict(tuned, PROMPTS)
    full = torch.cat(
        [probabilities for probabilities in kept if probabilities.shape[2] == 64], dim=1
    )  # (batch, layers x heads, cells, text)
    where = positions(tuned)
    for row, token in ((0, 0), (1, 0), (1, 1)):
        column = full[row, :, :, where[row, token].nonzero().item()].unflatten(-1, (8, 8))
        torch.testing.assert_close(maps[row, token], column, rtol=1e-4, atol=1e-6)
    assert maps.shape[2] == full.shape[1] > 1
    assert maps[0, 1].abs().max() == 0  # no [V2] in the first prompt


def test_recording_leaves_the_prediction_alone_and_takes_its_hooks_off(tuned: Backbone) -> None:
    attention = AttentionMaps(tuned.unet, 16)
    with torch.no_grad():
        plain = predict(tuned, PROMPTS)
        with attention.recording():
            recorded = predict(tuned, PROMPTS)
    assert torch.equal(plain, recorded)
    assert not any(module._forward_hooks for module in tuned.unet.modules())


def test_a_side_that_no_layer_has_is_named(tuned: Backbone) -> None:
    attention = AttentionMaps(tuned.unet, 5)
    with torch.no_grad(), attention.recording():
        predict(tuned, PROMPTS)
    with pytest.raises(ValueError, match="5 x 5 cells.*attention_resolution"):
        attention.of(positions(tuned))


def gradients(backbone: Backbone, checkpointing: bool) -> list[torch.Tensor]:
    backbone.gradient_checkpointing(checkpointing)
    attention = AttentionMaps(backbone.unet, 8)
    with attention.recording():
        prediction = predict(backbone, PROMPTS)
    maps = attention.of(positions(backbone))
    recorded = dict(attention._queries)
    parameters = [parameter for parameter in (*backbone.unet.parameters(), *backbone.tokens.parameters()) if parameter.requires_grad]
    found = torch.autograd.grad((maps.square() * torch.linspace(0, 1, 8)).sum() + 0 * prediction.sum(), parameters)
    assert all(attention._queries[name] is query for name, query in recorded.items())  # recomputation recorded nothing
    return list(found)


def test_the_maps_have_an_equal_gradient_with_and_without_checkpointing(tuned: Backbone) -> None:
    plain, checkpointed = gradients(tuned, False), gradients(tuned, True)
    assert max(float(gradient.abs().max()) for gradient in plain) > 1e-6
    for a, b in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_the_backward_pass_keeps_of_the_maps(tuned: Backbone, checkpointing: bool) -> None:
    """Probabilities of every cell and word are gigabytes of a large model: with checkpointing they are formed again."""
    tuned.gradient_checkpointing(checkpointing)
    attention, kept = AttentionMaps(tuned.unet, 8), []
    with attention.recording():
        predict(tuned, PROMPTS)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: (kept.append(tuple(tensor.shape)), tensor)[1], lambda tensor: tensor):
        attention.of(positions(tuned))
    assert any(shape[-2:] == (64, tuned.text_length) for shape in kept) == (not checkpointing)
