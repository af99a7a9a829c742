"""Placeholders are single tokens with vectors of their own; the vocabulary's matrix is left alone."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline

from magicapture.backbones import Backbone


def _vector(seed: int, width: int = 32) -> torch.Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prompt", ["a [V1] person", "[V1]", "a photo of[V1],x", "A PHOTO OF [V1]person", "([V1])", "a\n[V1]\tb"])
def test_a_placeholder_is_one_token_although_the_tokenizer_lower_cases(backbone: Backbone, prompt: str) -> None:
    backbone.tokens.add("[V1]", _vector(1))
    backbone.tokens.add("[V2]", _vector(2))
    ids = backbone.token_ids([prompt])[0].tolist()
    assert ids.count(backbone.tokens.ids["[V1]"]) == 1
    assert backbone.tokens.ids["[V1]"] != backbone.tokens.ids["[V2]"]
    # the bracket's own characters are gone: nothing of the placeholder was split off
    bracket = backbone.tokenizer.convert_tokens_to_ids(["[", "v", "1", "]", "[</w>", "]</w>"])
    assert not set(bracket) & set(ids)


def test_ids_equal_those_of_diffusers_textual_inversion(backbone: Backbone, stock: StableDiffusionPipeline) -> None:
    for number, token in enumerate(("[V1]", "[V2]")):
        backbone.tokens.add(token, _vector(number))
        stock.load_textual_inversion({token: _vector(number)})
    prompts = ["a photo of a [V1] person in the [V2] style", "[v1]", "[V2],[V1]"]
    expected = stock.tokenizer(prompts, padding="max_length", max_length=40, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(backbone.token_ids(prompts), expected)


def test_vectors_take_the_placeholders_place(backbone: Backbone) -> None:
    vector = backbone.tokens.add("[V1]", _vector(3))
    ids = backbone.token_ids(["a [V1] b"])
    embedded = backbone.text_encoder.get_input_embeddings()(ids)
    place = backbone.token_positions(["a [V1] b"], "[V1]")
    assert place.sum() == 1
    assert torch.equal(embedded[place][0], vector)
    assert torch.equal(embedded[~place], backbone.tokens.embedding.weight[ids[~place]])


def test_only_the_vectors_named_in_the_prompt_get_gradients(backbone: Backbone) -> None:
    rows = len(backbone.tokens.embedding.weight)
    first, second = backbone.tokens.add("[V1]", _vector(1)), backbone.tokens.add("[V2]", _vector(2))
    backbone.encode_prompts(["a [V1] person"]).sequence.square().sum().backward()
    assert first.grad is not None and first.grad.abs().max() > 0
    assert second.grad is None or second.grad.abs().max() == 0
    assert [name for name, p in backbone.text_encoder.named_parameters() if p.requires_grad] == [
        "embeddings.token_embedding.vectors.[V1]",
        "embeddings.token_embedding.vectors.[V2]",
    ]
    assert len(backbone.tokens.embedding.weight) == rows and backbone.tokens.embedding.weight.grad is None


def test_statistics_are_those_of_the_vocabulary(backbone: Backbone, stock: StableDiffusionPipeline) -> None:
    weight = stock.text_encoder.get_input_embeddings().weight.detach()
    backbone.tokens.add("[V1]", 100 * _vector(1))
    assert backbone.tokens.median_norm == pytest.approx(float(weight.norm(dim=1).median()))
    assert backbone.tokens.std == pytest.approx(float(weight.std()))


def test_adding_again_sets_the_same_parameter(backbone: Backbone) -> None:
    first = backbone.tokens.add("[V1]", _vector(1))
    again = backbone.tokens.add("[V1]", _vector(2))
    assert again is first and torch.equal(first, _vector(2))
    assert len(backbone.tokens.ids) == 1


def test_the_vector_of_a_word_is_the_mean_of_its_pieces(backbone: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    backbone.tokens.vector_of("b")
    assert not caplog.text
    ids = backbone.tokenizer.convert_tokens_to_ids(["a", "b</w>"])
    assert torch.allclose(backbone.tokens.vector_of("ab"), backbone.tokens.embedding.weight[ids].mean(0))
    assert "'ab' is 2 tokens of the vocabulary (a, b</w>): the mean of their vectors is taken" in caplog.text
    for words in ("", "é"):
        with pytest.raises(ValueError, match=f"no vector for '{words}': expected words of the tokenizer's vocabulary"):
            backbone.tokens.vector_of(words)


def test_a_vector_of_another_width_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match=r"shape \(768,\), expected \(32,\)"):
        backbone.tokens.add("[V1]", _vector(1, 768))


@pytest.mark.parametrize("token", ["a", "A", "a</w>", "<|endoftext|>"])
def test_what_the_vocabulary_holds_is_no_placeholder(backbone: Backbone, token: str) -> None:
    with pytest.raises(ValueError, match="in the tokenizer's vocabulary already; choose a placeholder that is not a word"):
        backbone.tokens.add(token, _vector(1))
    assert not backbone.tokens.ids


def test_a_tokenizer_that_was_saved_with_the_placeholder_is_named(backbone: Backbone) -> None:
    """Its text encoder has a row for it, learnt by someone else."""
    backbone.tokenizer.add_tokens("[V1]")
    with pytest.raises(ValueError, match=r"'\[V1\]' is in the tokenizer's vocabulary already"):
        backbone.tokens.add("[V1]", _vector(1))


def test_a_token_of_several_vectors_is_spelt_out_as_stock_diffusers_reads_it(backbone: Backbone, stock: StableDiffusionPipeline) -> None:
    for number, token in enumerate(("[V1]", "[V1]_1", "[V1]_2", "[V2]")):
        backbone.tokens.add(token, _vector(number))
        stock.load_textual_inversion({token: _vector(number)})
    prompts = ["a [V1] person in the [V2] style", "[V1],[V1]", "[V2]"]
    whole = "[V1] [V1]_1 [V1]_2"  # stock diffusers spells lower-case tokens out by itself, these have to be written so
    converted = [f"a {whole} person in the [V2] style", f"{whole},{whole}", "[V2]"]
    expected = stock.tokenizer(converted, padding="max_length", max_length=40, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(backbone.token_ids(prompts), expected)
    assert backbone.token_positions(prompts, "[V1]").sum(1).tolist() == [3, 6, 0]
    assert backbone.token_positions(prompts, "[V2]").sum(1).tolist() == [1, 0, 1]
    assert backbone.tokens.parts("[V1]") == ["[V1]", "[V1]_1", "[V1]_2"] and backbone.tokens.parts("[V2]") == ["[V2]"]
    assert torch.equal(backbone.token_ids(["a [v1] person"]), backbone.token_ids(["a [V1] person"]))


def test_concepts_with_names_are_placeholders_of_their_own_and_as_stock_diffusers_reads_them(
    backbone: Backbone, stock: StableDiffusionPipeline
) -> None:
    tokens = ("[V1:Ann]", "[V1:ann-2]", "[V1:ann_2]", "[V1:Ann]_1", "[V2:noir]")
    for number, token in enumerate(tokens):
        backbone.tokens.add(token, _vector(number))
        stock.load_textual_inversion({token: _vector(number)})
    prompts = ["[v1:ann] and a[V1:ann-2]person,[V1:ann_2]", "a person in the [V2:NOIR] style"]
    converted = [prompts[0].replace("[v1:ann]", "[V1:Ann] [V1:Ann]_1"), prompts[1]]
    expected = stock.tokenizer(converted, padding="max_length", max_length=40, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(backbone.token_ids(prompts), expected)
    counts = [backbone.token_positions(prompts, token).sum(1).tolist() for token in (*tokens[:3], tokens[4])]
    assert counts == [[2, 0], [1, 0], [1, 0], [0, 1]]
