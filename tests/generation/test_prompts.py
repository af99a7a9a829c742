"""Baseline prompts read like prompts a person would write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicapture.generation import attributes_prompt, base_prompt
from magicapture.generation.prompts import without_tokens


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a photo of a [V1] person in the [V2] style", "a photo of a person"),
        ("a photo of [V1] person", "a photo of a person"),
        ("A photo of a [V1] person with style [V2]", "A photo of a person"),
        ("a photo of a person in the [V2] style", "a photo of a person"),
        ("a portrait of [V1] at the beach, in the style of [V2]", "a portrait of a person at the beach"),
        ("a photo of the [V1] person, in [V2] style, smiling", "a photo of the person, smiling"),
        ("a [V2] style photo of a [V1] woman", "a photo of a woman"),
        ("a photo of a [V1] old man", "a photo of an old man"),
        ("[V1]", "a person"),
        ("[V1]'s face", "a person's face"),
        ("[V2]", "a photo of a person"),
        ("", "a photo of a person"),
        ("a photo of a [v1] person in the [v2] style", "a photo of a person"),
        ("a photo of a dog", "a photo of a dog"),
        ("a photo of a person , with light skin , in the noir style", "a photo of a person , with light skin , in the noir style"),
        ("[V1] and a dog in the [V2] look", "a person and a dog"),
        ("a dog with a [V2] hat", "a dog with a hat"),
        ("a [V1] person in [V2] at the beach", "a person at the beach"),
    ],
)
def test_tokens_are_taken_out_tidily(prompt: str, expected: str) -> None:
    assert base_prompt(prompt) == expected


@given(st.lists(st.sampled_from(["[V1]", "[V2]", "a", "photo", "in the", "style", ",", "person", "of", "[v2]"]), max_size=9))
def test_no_token_and_no_loose_end_is_left(words: list[str]) -> None:
    found = base_prompt(" ".join(words))
    assert "[" not in found and "  " not in found and found == found.strip(" ,") and found
    assert base_prompt(found) == found


@pytest.mark.parametrize(
    ("person", "look", "expected"),
    [
        (
            "a person with light skin , long hair",
            "in the beach style",
            "a photo of a person with light skin , long hair , in the beach style",
        ),
        ("with light skin", "wearing a hat.", "a photo of a person with light skin , wearing a hat"),
        ("A photo of a man with a beard.\n", None, "A photo of a man with a beard"),
        ("", "in the noir style", "a photo of a person in the noir style"),
        (None, None, None),
        (" \n", "", None),
    ],
)
def test_descriptions_become_one_prompt(person: str | None, look: str | None, expected: str | None) -> None:
    assert attributes_prompt(person, look) == expected


def test_world_descriptions_give_the_worlds_own_prompt() -> None:
    from magicapture.world import captions
    from magicapture.world.looks import Look
    from magicapture.world.people import Person

    person, look = Person.sample(3), Look.sample(5)
    whole = captions.attribute_prompt(person, look)
    described = captions.attribute_prompt(person).removeprefix("a photo of ")
    style = captions.attribute_prompt(person, look).removeprefix(captions.attribute_prompt(person) + " , ")
    assert attributes_prompt(described, style) == whole


def test_prompts_that_name_nothing_learnt_are_told_the_template() -> None:
    named = ["a [V1] person", "in the [v2] style", "[V1:anna] and [V1:ben]"]
    assert without_tokens(named) == []
    warnings = without_tokens([*named, "a photo of <sks> person", "a photo of <sks> person"], "vase")
    assert len(warnings) == 1
    assert "'a photo of <sks> person'" in warnings[0]
    assert "'a photo of a [V1] vase in the [V2] style'" in warnings[0]
