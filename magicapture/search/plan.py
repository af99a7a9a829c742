"""Which candidates there are, and at which steps they are compared: successive halving over seeds and a grid of knobs."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from magicapture.config import Config, ConfigError, Search, load_config

#: Knobs that say by which pictures a candidate is scored: candidates that differ in one cannot be compared.
_SCORING = ("training.class_word", "tuning.samples")
_SECTIONS = ("training", "inversion", "tuning")


@dataclass(frozen=True)
class Candidate:
    """One adapter to try: ``knobs`` are what it has of the grid, ``config`` is whole; ``tokens``: whose inversion, by name, it shares."""

    name: str
    seed: int
    knobs: dict[str, Any]
    config: Config
    tokens: str


def candidates(config: Config) -> list[Candidate]:
    """Every combination of ``search.grid`` with every seed of ``search.seeds``; those of equal inversion share its tokens.

    Inversion is learnt once, with the first seed: the tokens go on training with each candidate, while an inversion for each would cost
    more than all of the tuning that halving saves (paper: 4 x 1200 of 2700 steps).

    Where no validation comes before the first check, ``tuning.sample_every`` becomes the steps up to it: nothing else can be compared.

    Raises ConfigError for a seed or a knob that cannot be searched, before anything has run.
    """
    plain = config.model_copy(update={"search": Search()})
    found: list[Candidate] = []
    inversions: dict[str, str] = {}
    grid, trained = list(_combinations(config.search.grid)), seeds(config.search)
    first = min((share for share, _ in rounds(len(grid) * len(trained), config.search.reduction)), default=0)
    for knobs in grid:
        chosen = load_config(plain, [f"{name}={json.dumps(value)}" for name, value in knobs.items()]) if knobs else plain
        before, every = max(1, int(first * chosen.tuning.steps)), chosen.tuning.sample_every
        if first and not 0 < every <= before:
            chosen = load_config(chosen, [f"tuning.sample_every={before}"])
        label = "".join(f"-{name.rpartition('.')[2]}-{value}" for name, value in knobs.items())
        for seed in trained:
            name = re.sub(r"[^\w.-]+", "_", f"seed-{seed}{label}")
            tokens = inversions.setdefault(chosen.digest("training", "inversion"), name)
            found.append(Candidate(name, seed, knobs, chosen, tokens))
    if len({candidate.name for candidate in found}) < len(found):
        raise ConfigError(f"search.grid: two combinations of {', '.join(config.search.grid)} give folders of the same name; try them apart")
    return found


def seeds(search: Search) -> tuple[int, ...]:
    """The training seeds, the first of which is the inversion's too. Raises ConfigError."""
    wanted = tuple(range(search.seeds)) if isinstance(search.seeds, int) else search.seeds
    if not wanted or min(wanted) < 0 or len(set(wanted)) < len(wanted):
        raise ConfigError(f"search.seeds = {search.seeds!r}: expected how many (1 or more), or a list of different seeds from 0 on")
    return wanted


def rounds(count: int, reduction: int) -> list[tuple[float, int]]:
    """(share of the steps, candidates that go on) of each check: ``reduction`` times fewer each time, the last at 1/reduction.

    Of 4 with reduction 2: [(0.25, 2), (0.5, 1)], in all 2 times the steps of one. None for one candidate, or for reduction 1.
    """
    left: list[int] = []
    while count > 1 and reduction > 1:
        count = math.ceil(count / reduction)
        left.append(count)
    return [(reduction ** (i - len(left)), going) for i, going in enumerate(left)]


def planned(config: Config) -> list[tuple[Candidate, int]]:
    """Every candidate and how many steps are planned for it, as if those that come last were the ones that stop."""
    going, found = candidates(config), list[tuple[Candidate, int]]()
    for share, left in rounds(len(going), config.search.reduction):
        found += [(candidate, check_step(candidate.config, share)) for candidate in going[left:]]
        going = going[:left]
    return [(candidate, candidate.config.tuning.steps) for candidate in going] + found


def check_step(config: Config, share: float) -> int:
    """The step of tuning at which a share of the steps is done: the last validation before it, or the end."""
    every = config.tuning.sample_every
    return config.tuning.steps if share == 1 else max(1, int(share * config.tuning.steps)) // every * every


def _combinations(grid: dict[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for name, values in grid.items():
        if name.partition(".")[0] not in _SECTIONS or name in _SCORING:
            raise ConfigError(
                f"search.grid has {name!r}: expected a knob of {', '.join(_SECTIONS)} that changes what is learnt, not how it is scored"
            )
        if not values or any(value in values[:i] for i, value in enumerate(values)):
            raise ConfigError(f"search.grid: {name} = {list(values)!r}: expected a list of one or more different values")
    return (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
