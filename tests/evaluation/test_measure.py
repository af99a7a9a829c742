"""Marker faces: who is in a picture is known exactly, so is what the recognisers must say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from magicapture.evaluation.measure import Measurer
from magicapture.faces.prepared import PreparedItem, PreparedSet
from magicapture.packs import Pack, PackError, load_pack
from tests.evaluation import artifacts
from tests.faces import tinypack


@pytest.fixture(scope="module")
def measurer(pack: Pack, marker_set: Path) -> Measurer:
    return Measurer(pack, PreparedSet.load(marker_set))


def _picture(who: int | None, size: int = 128, seed: int = 9) -> np.ndarray:
    return tinypack.draw(size, size, [] if who is None else [(size / 2, size / 2, size * 7 / 16, who)], seed)


def test_the_person_scores_high_a_stranger_low_nobody_none(measurer: Measurer) -> None:
    person, stranger, nobody = measurer.measure([_picture(0), _picture(1), _picture(None)])
    assert person.face and stranger.face and not nobody.face
    assert person.identity is not None and stranger.identity is not None and person.referee is not None
    assert person.identity > 0.8 and person.referee > 0.8 and stranger.identity < 0.2
    assert nobody.identity is None and nobody.referee is None and nobody.likeness is None
    assert np.isfinite([nobody.style, nobody.aesthetic]).all()


def test_likeness_is_the_referees_cosine_between_stranger_and_genuine(measurer: Measurer) -> None:
    levels = measurer.levels
    assert levels.genuine_from == "photos" and levels.stranger == -0.25
    assert levels.genuine is not None and levels.genuine > 0.9
    (scores,) = measurer.measure([_picture(1)])
    assert scores.referee is not None
    assert scores.likeness == pytest.approx((scores.referee + 0.25) / (levels.genuine + 0.25))


def test_the_largest_face_counts(measurer: Measurer) -> None:
    both = tinypack.draw(256, 256, [(60, 60, 52, 1), (170, 150, 112, 0)], 3)
    (scores,) = measurer.measure([both])
    assert scores.identity is not None and scores.identity > 0.8


def test_faces_are_counted_down_to_a_share_of_the_largest(pack: Pack, marker_set: Path) -> None:
    both = tinypack.draw(256, 256, [(60, 60, 52, 1), (170, 150, 112, 0)], 3)
    for share, count in ((0.3, 2), (0.9, 1)):
        found = Measurer(pack, PreparedSet.load(marker_set), second_face=share).measure([both, _picture(0), _picture(None)])
        assert [scores.face_count for scores in found] == [count, 1, 0]


def test_the_head_is_the_persons_whatever_is_around_it(measurer: Measurer) -> None:
    person, stranger, nobody = _picture(0), _picture(1), _picture(None)
    _, _, (head,) = measurer.find([person])
    elsewhere = np.where(head[..., None], person, 255 - person // 3)
    same, other, none, moved = measurer.measure([person, stranger, nobody, elsewhere])
    assert same.head is not None and other.head is not None and moved.head is not None and none.head is None
    assert same.head > other.head
    assert abs(moved.head - same.head) < 0.1 * (same.head - other.head) and moved.style != same.style


def test_style_does_not_see_the_face(measurer: Measurer) -> None:
    styles = [scores.style for scores in measurer.measure([_picture(0), _picture(3)])]
    assert styles[0] == pytest.approx(styles[1], abs=1e-4)


def test_style_hides_the_faces_of_looks_whatever_training_leaves_out(measurer: Measurer, monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = measurer.measure([_picture(0)])
    monkeypatch.setattr(PreparedItem, "mask", lambda self: np.ones(self.parsing().shape, bool))
    (after,) = measurer.measure([_picture(0)])
    assert after.style == before.style


def test_one_photo_takes_the_packs_genuine_level(pack: Pack, tmp_path: Path) -> None:
    levels = Measurer(pack, PreparedSet.load(artifacts.marker_prepared(tmp_path / "one", photos=1))).levels
    assert (levels.genuine, levels.genuine_from) == (0.9, "pack")


def test_without_a_stranger_level_likeness_is_null(pack: Pack, marker_set: Path) -> None:
    role = pack.role("referee")
    silent = pack.model_copy(update={"roles": {**pack.roles, "referee": role.model_copy(update={"settings": {"size": 112}})}})
    (scores,) = Measurer(silent, PreparedSet.load(marker_set)).measure([_picture(0)])
    assert scores.referee is not None and scores.likeness is None


def test_a_corrupt_role_is_refused(marker_set: Path, tmp_path: Path) -> None:
    pack = artifacts.marker_pack(tmp_path)
    pack.path("referee").write_bytes(b"not a model")
    with pytest.raises(PackError, match="referee"):
        Measurer(load_pack(tmp_path), PreparedSet.load(marker_set))
