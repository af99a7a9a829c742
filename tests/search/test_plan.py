from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicapture.config import ConfigError, Search, load_config, preset_names
from magicapture.search.plan import candidates, check_step, rounds

MINI = load_config("mini")


def test_every_combination_with_every_seed() -> None:
    config = load_config("mini", ["search.seeds=[3, 5]", "search.lambda_id=[0.25, 0.5]", "search.grid={inversion.steps: [10, 20]}"])
    found = candidates(config)
    assert len(found) == len({candidate.name for candidate in found}) == 8
    assert {(c.seed, c.config.tuning.lambda_identity, c.config.inversion.steps) for c in found} == {
        (seed, weight, steps) for seed in (3, 5) for weight in (0.25, 0.5) for steps in (10, 20)
    }
    assert {(c.config.inversion.steps, c.tokens) for c in found} == {
        (steps, f"seed-3-lambda_identity-0.25-steps-{steps}") for steps in (10, 20)
    }  # shared where it is the same, the first's
    assert found[0].name == "seed-3-lambda_identity-0.25-steps-10"
    assert all(c.config.search == load_config("mini").search for c in found)


def test_one_seed_is_a_run_as_ever() -> None:
    config = load_config("mini")
    (only,) = candidates(config)
    assert (only.name, only.seed, only.config, only.tokens) == ("seed-0", 0, config, "seed-0")
    assert rounds(1, 2) == []


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("search.seeds=0", "search.seeds = 0"),
        ("search.seeds=[1, 1]", "different seeds"),
        ("search.seeds=[-1]", "from 0 on"),
        ("search.seeds=[]", "1 or more"),
        ("search.grid={tuning.stepz: [1]}", "unknown knob 'tuning.stepz'"),
        ("search.grid={tuning.steps: [0]}", "tuning.steps = 0"),
        ("search.grid={generation.steps: [1, 2]}", "'generation.steps'"),
        ("search.grid={tuning.samples: [1, 2]}", "not how it is scored"),
        ("search.grid={tuning.steps: []}", "one or more different values"),
        ("search.steps=[7, 7]", "one or more different values"),
        ("search.grid={inversion.source_initialiser: [a b, a_b]}", "folders of the same name"),
    ],
)
def test_what_cannot_be_searched_is_refused(override: str, part: str) -> None:
    with pytest.raises(ConfigError, match=r".") as caught:
        candidates(load_config("mini", [override]))
    assert part in str(caught.value)


def test_a_knob_and_its_short_name_contradict() -> None:
    with pytest.raises(ConfigError, match=r"tuning\.steps, and so has its short name"):
        load_config("mini", ["search.steps=[7]", "search.grid={tuning.steps: [8]}"])
    assert load_config(load_config("mini", ["search.steps=[7]"]).model_dump(mode="json")).search.grid == {"tuning.steps": (7,)}


@given(st.integers(1, 64), st.integers(1, 16))
def test_checks_come_later_and_keep_fewer_until_one_is_left(count: int, reduction: int) -> None:
    found = rounds(count, reduction)
    shares, left = [share for share, _ in found], [count, *(going for _, going in found)]
    assert (left[-1] == 1) is (count == 1 or reduction > 1)
    assert shares == sorted(set(shares)) and all(0 < share <= 0.5 for share in shares)
    assert all(after * reduction >= before > after for before, after in pairwise(left))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3000), st.integers(0, 400), st.integers(2, 9))
def test_a_check_is_at_a_validation(steps: int, every: int, count: int) -> None:
    tuning = MINI.tuning.model_copy(update={"steps": steps, "sample_every": every, "warmup_steps": 0})
    config = MINI.model_copy(update={"tuning": tuning, "search": Search(seeds=count)})
    for candidate in (candidates(config)[0], candidates(config)[-1]):
        for share, _ in rounds(count, 2):
            step = check_step(candidate.config, share)
            assert 1 <= step <= max(1, share * steps) and step % candidate.config.tuning.sample_every == 0
        assert check_step(candidate.config, 1) == steps
        assert candidate.config.tuning.sample_every in (every, max(1, int(steps * rounds(count, 2)[0][0])))


@pytest.mark.parametrize("preset", preset_names())
def test_four_seeds_cost_at_most_two_runs(preset: str) -> None:
    """Planned, of every preset; tests/search/test_halving.py counts what is spent."""
    config = candidates(load_config(preset, ["search.seeds=4"]))[0].config
    steps, going, done = config.inversion.steps, 4, 0
    for share, left in [*rounds(4, 2), (1.0, 0)]:
        step = check_step(config, share)
        steps, going, done = steps + going * (step - done), left, step
    assert steps <= 2 * (config.inversion.steps + config.tuning.steps)
