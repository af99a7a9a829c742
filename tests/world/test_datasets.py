from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from magicapture.world.datasets import PLANS, Plan, Samples, load_samples, person_of, picture_of, publish
from magicapture.world.splits import seeds

_WORDS = ("skin", "hair_style", "hair_colour", "beard", "glasses")


def test_people_of_a_group_share_words_and_nothing_else(groups: Samples) -> None:
    for group in range(2):
        people = [person_of(groups.plan, group * 3 + i) for i in range(3)]
        assert len({tuple(getattr(p, word) for word in _WORDS) for p in people}) == 1
        assert len({(p.eye_x, p.nose_y, p.jaw) for p in people}) == 3
    assert groups.people.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert groups.groups.tolist() == [0] * 6 + [1] * 6


def test_pictures_are_the_same_again_and_at_every_size(groups: Samples) -> None:
    again = picture_of(groups.plan, 5)
    assert np.array_equal(again.image, groups.images[5]) and np.array_equal(again.parsing, groups.parsing[5])
    large = picture_of(groups.plan, 5, 128)
    np.testing.assert_allclose(large.keypoints, 2 * groups.keypoints[5], atol=0.1)


def test_shards_are_kept_and_missing_ones_rendered(work: Path, groups: Samples) -> None:
    shard = next((work / "data").glob("groups-*/000000"))
    stamp = shard.stat().st_mtime_ns
    assert np.array_equal(load_samples(work, "groups", groups.plan).images, groups.images)
    assert shard.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("name", ["recogniser", "judge", "referee", "general"])
def test_nobody_is_trained_on_and_measured(name: str) -> None:
    plan = PLANS[name]
    for held in ("verification", "check"):
        assert set(seeds("people", plan.people)).isdisjoint(seeds("people", PLANS[held].people))
        assert set(seeds("looks", plan.looks)).isdisjoint(seeds("looks", PLANS[held].looks))


def test_recognisers_train_on_different_people() -> None:
    sets = [set(seeds("people", PLANS[name].people)[: PLANS[name].groups]) for name in ("recogniser", "judge", "referee")]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert Plan("train", "train", 64, 3, 4, 2).count == 30


def test_of_two_trainings_that_render_the_same_shard_one_is_kept(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "images.npy").write_text(name)
        publish(tmp_path / name, tmp_path / "000000")
    assert (tmp_path / "000000" / "images.npy").read_text() == "first" and [p.name for p in tmp_path.iterdir()] == ["000000"]
    with pytest.raises(OSError):
        publish(tmp_path / "lost", tmp_path / "000001")
