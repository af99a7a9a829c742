"""Names of concepts in prompts: every concept is called exactly once, and nothing else of a prompt changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicapture.faces.concepts import NAME, TOKENS, called, named, of_side, spread, tokens_of

names = st.lists(st.from_regex(NAME, fullmatch=True), min_size=1, max_size=4, unique_by=str.lower).map(sorted)
words = st.lists(st.sampled_from(["a", "[V1]", "[V2]", "[v1]", "person", "in the", "[V7]", "style ,"]), max_size=8).map(" ".join)


@given(names, names)
def test_a_sides_tokens_are_found_again_in_order_whatever_vectors_stand_between(subjects: list[str], looks: list[str]) -> None:
    first, second = tokens_of(subjects, "[V1]"), tokens_of(looks, "[V2]")
    assert len({token.lower() for token in (*first, *second)}) == len(subjects) + len(looks)
    everything = [part for token in (*second, *first[::-1]) for part in (token, f"{token}_1")]
    assert (of_side(everything, "[V1]"), of_side(everything, "[V2]")) == (list(first), list(second))


@given(words, names, names)
def test_a_prompt_is_spread_over_every_concept_it_may_mean_and_changes_nowhere_else(
    prompt: str, subjects: list[str], looks: list[str]
) -> None:
    tokens = [*tokens_of(subjects, "[V1]"), *tokens_of(looks, "[V2]")]
    found = spread(prompt, tokens)
    wanted = (len(subjects) if "[v1]" in prompt.lower() else 1) * (len(looks) if "[V2]" in prompt else 1)
    assert len(set(found)) == len(found) == wanted
    assert {re.sub(r":[^\]]*\]", "]", one) for one in found} == {prompt.replace("[v1]", "[V1]")}
    for one in found:
        assert set(named(one)) <= set(tokens) and spread(one, tokens) == [one]


@given(words)
def test_one_subject_and_one_look_leave_a_prompt_as_it_is(prompt: str) -> None:
    assert spread(prompt, TOKENS) == [prompt.replace("[v1]", "[V1]")] and named(prompt) == []
    assert called(prompt, *TOKENS) == prompt


def test_tokens_that_name_a_concept_are_spelt_as_they_were_learnt() -> None:
    tokens = ["[V1:Anna]", "[V1:ben]", "[V2]"]
    assert spread("a [v1:anna] person and a [V1:BEN] person in the [v2] style", tokens) == [
        "a [V1:Anna] person and a [V1:ben] person in the [V2] style"
    ]
    assert named("[V1:ben] and [V1:anna] and [V1:ben] in [V2:noir]") == ["[V1:ben]", "[V1:anna]", "[V2:noir]"]


@pytest.mark.parametrize("name", ["", "-a", "a b", "a.b", "a]", "ännchen", "a:b", ".hidden"])
def test_what_cannot_stand_in_a_prompt_is_no_name(name: str) -> None:
    assert NAME.fullmatch(name) is None
