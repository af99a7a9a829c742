from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicapture.world.captions import VOCABULARY
from magicapture.world.tokenizer import END, START, _apply, _merges, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return build_tokenizer(tmp_path_factory.mktemp("tokenizer"), 32)


def test_every_word_of_the_captions_is_one_token(tokenizer) -> None:
    for word in VOCABULARY:
        assert tokenizer.tokenize(word) == [word + "</w>"]


def test_unknown_words_fall_back_to_characters(tokenizer) -> None:
    assert tokenizer.tokenize("Xqz9") == ["x", "q", "z</w>", "9</w>"]
    assert tokenizer.unk_token_id not in tokenizer("xqz9!", add_special_tokens=False).input_ids


def test_special_tokens_and_length(tokenizer) -> None:
    ids = tokenizer("a photo of a person", padding="max_length", truncation=True).input_ids
    assert len(ids) == tokenizer.model_max_length == 32
    assert ids[0] == tokenizer.convert_tokens_to_ids(START)
    assert set(ids[6:]) == {tokenizer.convert_tokens_to_ids(END)} == {tokenizer.pad_token_id}


def test_placeholders_survive_lower_casing(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path, 32)
    tokenizer.add_tokens(["[V1]", "[V2]"])
    first, second = tokenizer.convert_tokens_to_ids(["[V1]", "[V2]"])
    ids = tokenizer("a photo of a [V1] person in the [V2] style", add_special_tokens=False).input_ids
    assert ids.count(first) == ids.count(second) == 1
    assert len(ids) == 10


@settings(max_examples=60, deadline=None)
@given(st.sets(st.text("abcd", min_size=1, max_size=6), min_size=1, max_size=12))
def test_rules_make_any_set_of_words_whole(words: set[str]) -> None:
    ranks = {pair: rank for rank, pair in enumerate(_merges(words))}
    for word in words:
        assert _apply([*word[:-1], word[-1] + "</w>"], ranks) == [word + "</w>"]


def test_a_word_that_clip_would_split_is_refused() -> None:
    with pytest.raises(ValueError, match="t-shirt"):
        _merges(["t-shirt"])
