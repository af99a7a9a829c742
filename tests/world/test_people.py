"""People, what age and hats make of them: what identity is read from stays in the picture."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from magicapture.world.figure import Figure
from magicapture.world.looks import HATS, Look
from magicapture.world.nuisance import EXPRESSIONS, Nuisance
from magicapture.world.people import AGES, HAIR_STYLES, Person, matched_stranger
from magicapture.world.render import render

PEOPLE = [Person.sample(seed) for seed in range(600)]
PLAIN = replace(Look.sample(3, "passport"), hat="none", sunglasses=False)
BROWS_EYES = (2, 3, 4, 5)


def _with(style: str) -> Person:
    return next(p for p in PEOPLE if p.hair_style == style)


def _count(parsing: np.ndarray, *classes: int) -> int:
    return int(np.isin(parsing, classes).sum())


def test_equal_seeds_are_equal_people():
    assert [Person.sample(seed) for seed in range(40)] == PEOPLE[:40] and len(set(PEOPLE[:40])) == 40


@pytest.mark.parametrize("hat", HATS[1:])
def test_hats_leave_brows_and_eyes(hat):
    for k, style in enumerate(HAIR_STYLES):
        person, nuisance = _with(style), Nuisance.sample(k)
        bare = render(person, PLAIN, nuisance, 128).parsing
        worn = render(person, replace(PLAIN, hat=hat), nuisance, 128).parsing
        assert _count(worn, 18) > 800 and _count(bare, 18) == 0
        for classes in BROWS_EYES:
            # the head is framed a little smaller under a hat, and a brow that hair hides is a few pixels
            assert _count(worn, classes) >= 0.7 * _count(bare, classes) - 4, (hat, style, classes)
        assert _count(worn, 4) > 12 and _count(worn, 5) > 12
        # and no hair sticks out of the crown
        f = Figure(person, replace(PLAIN, hat=hat), nuisance)
        crown = int(f.head((0, -0.95))[1] * 128)
        assert not (worn[: max(crown, 1)] == 17).any(), (hat, style)


def test_hats_stay_above_raised_brows():
    for person, hat, expression in zip(PEOPLE[:60], HATS[1:] * 15, EXPRESSIONS * 10):
        nuisance = Nuisance(expression=expression)
        bare, worn = (render(person, replace(PLAIN, hat=h), nuisance, 128).parsing for h in ("none", hat))
        assert all(_count(worn, c) >= 0.7 * _count(bare, c) - 4 for c in BROWS_EYES), (person.seed, hat)


def test_sunglasses_cover_the_eyes_and_are_no_trait():
    for person in PEOPLE[:40]:
        picture = render(person, replace(PLAIN, sunglasses=True), Nuisance())
        for x, y in picture.keypoints[:2]:
            assert picture.parsing[int(y), int(x)] == 6
        assert _count(picture.parsing, 4, 5) <= 4
        bare = render(person, PLAIN, Nuisance())
        assert picture.attributes == bare.attributes and (6 in bare.parsing) == (person.glasses != "none")


def test_ages_are_spread_and_consistent():
    share = {age: np.mean([p.age == age for p in PEOPLE]) for age in AGES}
    assert 0.14 < share["young"] < 0.26 and 0.14 < share["elderly"] < 0.26
    for person in PEOPLE:
        assert person.attributes()["age"] == person.age
        if person.age == "young":
            assert person.beard == "none" and person.wrinkles == 0 and person.hair_colour not in ("grey", "white")
    grey = {age: np.mean([p.hair_colour in ("grey", "white") for p in PEOPLE if p.age == age]) for age in AGES}
    assert grey["elderly"] > 0.5 > grey["adult"]


def test_strangers_keep_the_age_and_age_shows():
    for k, person in enumerate(PEOPLE[:30]):
        stranger = matched_stranger(person, 5000 + k)
        assert stranger.age == person.age and (stranger.wrinkles > 0.7) == (person.age == "elderly")
    # the same draws at another age are another face, at 64 pixels too
    changes = []
    for person in [p for p in PEOPLE if p.age == "adult"][:10]:
        pictures = [render(matched_stranger(replace(person, age=age), 9), PLAIN, Nuisance()).image.astype(float) for age in AGES]
        changes.append([np.abs(a - b)[20:56, 14:50].mean() for a, b in pairwise(pictures)])
    # of few people only does hair or a dark lens hide most of it
    assert (np.quantile(changes, 0.2, axis=0) > 2.5).all() and np.min(changes) > 1


@pytest.mark.parametrize("mark", [{"scar": (0.4, 0.3, 0.8)}, {"birthmark": (-0.42, 0.38, 0.14)}, {"dimples": 1.0}, {"freckles": 1.0}])
def test_marks_show_without_changing_classes(mark):
    clean = replace(_with("short"), scar=None, birthmark=None, dimples=0.0, freckles=0.0)
    for hat in ("none", "cap"):
        before, after = (render(p, replace(PLAIN, hat=hat), Nuisance(), 128) for p in (clean, replace(clean, **mark)))
        assert np.array_equal(before.parsing, after.parsing)
        assert np.abs(before.image.astype(float) - after.image).max() > 25


@pytest.mark.parametrize("style, age", product(HAIR_STYLES[-5:], AGES))
def test_striking_styles_are_worn_at_every_age(style, age):
    assert any(p.hair_style == style and p.age == age for p in map(Person.sample, range(2000)))
