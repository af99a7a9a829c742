from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicapture.config import Preprocess
from magicapture.faces.analysis import Face
from magicapture.faces.parse import face_mask
from magicapture.faces.prepared import Picture
from magicapture.references.errors import SetAside
from magicapture.references.quality import (
    Measures,
    check_burnt,
    check_place,
    check_size,
    judge,
    measure,
    only_face,
    place,
    sharpness,
    strangers,
    variety,
)
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import Picture as Rendered
from magicapture.world.render import render

KNOBS = Preprocess()


def _face(left: float, top: float, side: float) -> Face:
    return Face(np.array([left, top, left + side, top + side], np.float32), np.zeros((5, 2), np.float32), 0.9)


def test_size() -> None:
    check_size(np.zeros((48, 900, 3), np.uint8), KNOBS)
    with pytest.raises(SetAside, match=r"too small: 900 x 47 px; at least 48 px a side \(preprocess.min_side\)"):
        check_size(np.zeros((47, 900, 3), np.uint8), KNOBS)


def test_a_picture_without_a_face_that_is_burnt_out_says_so() -> None:
    half = np.full((64, 64, 3), 255, np.uint8)
    half[:32] = 100
    check_burnt(half)
    half[32:36] = [255, 251, 30]  # two channels at their end are enough
    half[28:32] = 250
    with pytest.raises(SetAside, match="burnt out: no face found, and 56% of the picture") as refused:
        check_burnt(half)
    assert refused.value.problem == "burnt out"


def test_one_eye_makes_a_face_and_a_nose_alone_does_not() -> None:
    plain = _measures(render(Person.sample(3), Look.sample(3), Nuisance.frontal(), 256))
    hidden = dict.fromkeys(plain.visible, 0.0)
    for part, problem in (("left eye", "covered"), ("nose", "no face"), ("mouth", "no face")):
        assert _problems(replace(plain, visible=hidden | {part: 1.0}))[0] == problem
    assert _problems(replace(plain, visible=hidden | {"nose": 1.0, "mouth": 1.0})) == ["covered"]


def test_only_face() -> None:
    assert only_face([], KNOBS) is None
    large = _face(10, 10, 100)
    assert only_face([large, _face(200, 10, 49)], KNOBS) is large, "a small face behind is no harm"
    assert only_face([large, _face(30, 40, 60)], KNOBS) is large, "one head seen twice"
    with pytest.raises(SetAside, match="3 faces of comparable size"):
        only_face([_face(200, 10, 51), large, _face(300, 10, 70)], KNOBS)


def _measures(shown: Rendered, image: np.ndarray | None = None) -> Measures:
    """Of a render as it is, or of another image of the same view."""
    mask = face_mask(shown.parsing, shown.box)
    return measure(Picture("a", shown.image if image is None else image, shown.parsing, mask, shown.keypoints, shown.box))


def _problems(measures: Measures, **knobs: float) -> list[str]:
    return [finding.problem for finding in judge(measures, Preprocess(min_sharpness=50, **knobs)) if finding.severe]


def test_every_skin_in_ordinary_light_passes_and_bad_light_does_not() -> None:
    for seed in range(20):
        shown = render(Person.sample(seed), Look.sample(seed, "office"), Nuisance.sample(seed), size=64)
        assert _problems(_measures(shown)) == []
        assert _problems(_measures(shown, (shown.image * 0.08).astype(np.uint8)))[:1] == ["too dark"]
        burnt = np.maximum(shown.image, np.where(np.indices((64, 64))[0] % 4 == 0, 240, 255)[:, :, None]).astype(np.uint8)
        assert _problems(_measures(shown, burnt))[:1] == ["burnt out"]
        assert _problems(_measures(shown, cv2.GaussianBlur(shown.image, (0, 0), 6)))[:1] == ["blurred"]


def test_a_coloured_lamp_burns_nothing_out() -> None:
    shown = render(Person.sample(1), Look.sample(1, "office"), Nuisance.frontal(), size=64)
    red = shown.image.copy()
    red[:, :, 0] = 255
    assert _measures(shown, red).burnt == pytest.approx(_measures(shown).burnt, abs=0.05)


@given(st.floats(-170, 170))
@settings(max_examples=30, deadline=None)
def test_tilt_is_the_angle_of_the_eyes(angle: float) -> None:
    shown = render(Person.sample(2), Look.sample(2, "office"), Nuisance.frontal(), size=64)
    a = np.radians(angle)
    turned = (shown.keypoints - 32) @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + 32
    found = measure(Picture("a", shown.image, shown.parsing, face_mask(shown.parsing, shown.box), turned.astype(np.float32), shown.box))
    level = _measures(shown)
    assert (found.tilt - level.tilt - angle + 180) % 360 - 180 == pytest.approx(0, abs=0.01)
    assert found.slant == pytest.approx(level.slant, rel=1e-3)


def test_turn_grows_with_the_head_and_has_its_sign() -> None:
    for seed in range(5):
        turns = [
            _measures(render(Person.sample(seed), Look.sample(seed, "office"), replace(Nuisance.frontal(), yaw=yaw), size=128)).turn
            for yaw in (-2.2, -1, 0, 1, 2.2)
        ]
        assert turns == sorted(turns) and turns[1] < -0.15 < turns[2] < 0.15 < turns[3]
    aside = _measures(render(Person.sample(1), Look.sample(1, "office"), replace(Nuisance.frontal(), yaw=2.2), size=128))
    assert _problems(aside)[:1] == ["turned away"]


@pytest.mark.parametrize("eye", [4, 5])
def test_a_hand_over_one_eye_turns_no_head(eye: int) -> None:
    for seed in range(5):
        for yaw in (-0.5, 0.0, 0.5):
            shown = render(Person.sample(seed), Look.sample(seed, "office"), replace(Nuisance.frontal(), yaw=yaw), size=128)
            labels = shown.parsing.copy()
            labels[np.isin(labels, (eye, eye - 2))] = 1  # that eye and its brow are seen as skin
            hidden = _measures(replace(shown, parsing=labels))
            assert abs(hidden.turn - _measures(shown).turn) < 0.2 and _problems(hidden) == ["covered"]


def test_what_is_covered_is_named() -> None:
    person, look = Person.sample(4), Look.sample(4, "office")
    open_, dark = (render(person, replace(look, sunglasses=worn), Nuisance.frontal(), size=128) for worn in (False, True))
    assert min(_measures(open_).visible.values()) > 0.8 and _problems(_measures(open_)) == []
    hidden = _measures(dark)
    assert hidden.visible["left eye"] < 0.1 and hidden.visible["right eye"] < 0.1 and hidden.visible["mouth"] > 0.8
    (finding,) = judge(hidden, KNOBS)
    assert finding.severe and re.match("covered: of the (left|right) eye 0% can be seen, at least 40%", finding.reason)
    assert judge(hidden, KNOBS, parts=False) == [] and judge(hidden, Preprocess(min_visible=0)) == []


def test_clear_lenses_that_a_parser_calls_glasses_hide_nothing() -> None:
    shown = render(Person.sample(4), Look.sample(4, "office"), Nuisance.frontal(), size=128)
    labels = np.where(np.isin(shown.parsing, (4, 5)), 6, shown.parsing).astype(np.uint8)
    for gain, least in ((1.0, 0.8), (0.2, 0.0)):
        image = np.where((labels == 6)[:, :, None], shown.image.max() * gain, shown.image).astype(np.uint8)
        found = measure(Picture("a", image, labels, face_mask(shown.parsing, shown.box), shown.keypoints, shown.box))
        assert found.visible["left eye"] == pytest.approx(least, abs=0.2)
        strict = measure(Picture("a", image, labels, face_mask(shown.parsing, shown.box), shown.keypoints, shown.box), lenses=False)
        assert strict.visible["left eye"] == 0, "a parser that knows eyes behind lenses saw none"


def test_a_measure_near_its_limit_warns() -> None:
    shown = render(Person.sample(1), Look.sample(1, "office"), Nuisance.frontal(), size=64)
    value = _measures(shown).sharpness
    for limit, severe in ((value * 1.01, [True]), (value / 1.1, [False]), (value / 1.3, [])):
        found = judge(_measures(shown), Preprocess(min_sharpness=limit))
        assert [finding.severe for finding in found] == severe
        assert all(finding.reason.startswith("almost " if not finding.severe else "blurred: ") for finding in found)


def test_place() -> None:
    at = place(_face(100, 1, 200), 400, 600)
    assert (at.rim, at.gap, at.share) == ("top", pytest.approx(0.005), pytest.approx(0.5))
    with pytest.raises(SetAside, match="cut off: the face reaches the top rim"):
        check_place(at, KNOBS)
    check_place(place(_face(100, 50, 200), 400, 600), KNOBS)
    with pytest.raises(SetAside, match=r"face too small: it takes 5% of the picture, at least 6% \(preprocess.far_face\); crop"):
        check_place(place(_face(100, 100, 20), 400, 600), KNOBS)


def test_variety_says_what_is_missing() -> None:
    def photos(looks: list[Look], yaws: list[float]) -> list[str]:
        shown = [
            render(Person.sample(3), look, replace(Nuisance.frontal(), yaw=yaw), size=64) for look, yaw in zip(looks, yaws, strict=True)
        ]
        pictures = [Picture("a", p.image, p.parsing, face_mask(p.parsing, p.box), p.keypoints, p.box) for p in shown]
        return variety([measure(picture) for picture in pictures], pictures, KNOBS)

    assert photos([Look.sample(50 + i, name) for i, name in enumerate(("office", "beach", "night", "noir"))], [-0.8, 0, 0.4, 0.8]) == []
    same = ("look the same way: add a photo turned", "lit the same way: add a photo taken in another light", "the same background")
    for looks, wanted in (
        ([Look.sample(50, "passport")] * 3, same),
        ([Look.sample(50 + i, "passport") for i in range(3)], (same[0], same[2])),  # the light comes from another side
    ):
        said = photos(looks, [0, 0.02, -0.02])
        assert len(said) == len(wanted) and all(text in sentence for text, sentence in zip(wanted, said, strict=True))


def test_sharpness_falls_with_blur_and_survives_edges() -> None:
    picture = render(Person.sample(3), Look.sample(3), Nuisance.sample(3), size=64)
    values = [sharpness(cv2.GaussianBlur(picture.image, (0, 0), s) if s else picture.image, picture.box) for s in (0, 0.7, 1.5, 3)]
    assert values == sorted(values, reverse=True) and values[0] > 10 * values[2]
    assert np.isfinite(sharpness(picture.image, np.array([63.2, 63.5, 64, 64])))


def _around(centre: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    rows = centre + 0.5 * rng.normal(size=(count, len(centre))) / np.sqrt(len(centre))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_strangers() -> None:
    rng = np.random.default_rng(0)
    anna, *others = np.eye(64)[:4]
    assert strangers(_around(anna, 5, rng), 0.1) == {}
    rows = np.concatenate([_around(anna, 2, rng), _around(others[0], 1, rng), _around(anna, 2, rng), _around(others[1], 1, rng)])
    found = strangers(rows, 0.2)
    assert sorted(found) == [2, 5] and max(found.values()) < 0.2
    assert strangers(np.concatenate([_around(anna, 1, rng), _around(others[0], 1, rng)]), 0.1) == {}, "of two, nobody can say who is wrong"
    assert strangers(np.zeros((0, 8), np.float32), 0.1) == {}
