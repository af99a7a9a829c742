from __future__ import annotations

import numpy as np

from magicapture.config import Augment
from magicapture.training.augment import augmented, flipped_keypoints, is_flipped
from tests.training.tinymodel import keypoints, picture

IMAGE = picture("a", 3).image


def test_the_first_version_is_the_picture_itself() -> None:
    assert np.array_equal(augmented(IMAGE, 0, Augment()), IMAGE.astype(np.float32))


def test_versions_differ_within_the_ranges_and_are_a_function_of_content() -> None:
    config = Augment(flip=False)
    versions = [augmented(IMAGE, version, config) for version in range(1, 9)]
    means = [float(version.mean()) for version in versions]
    assert len(set(means)) == 8
    assert all(0.85 * IMAGE.mean() < mean < 1.15 * IMAGE.mean() for mean in means)
    assert all(np.array_equal(augmented(IMAGE.copy(), version, config), versions[version - 1]) for version in range(1, 9))
    assert not np.array_equal(augmented(IMAGE, 1, Augment(flip=False, brightness=0.0)), versions[0])


def test_every_second_version_is_mirrored() -> None:
    config = Augment(brightness=0.0, contrast=0.0)
    assert np.allclose(augmented(IMAGE, 1, config), IMAGE[:, ::-1], atol=1e-3)
    assert np.allclose(augmented(IMAGE, 2, config), IMAGE, atol=1e-3)
    assert [is_flipped(version, config) for version in range(4)] == [False, True, False, True]
    assert not any(is_flipped(version, Augment(flip=False)) for version in range(4))


def test_key_points_are_mirrored_with_left_and_right_swapped() -> None:
    points = keypoints((10, 12))
    mirrored = flipped_keypoints(points, 32)
    assert mirrored[0, 0] < mirrored[1, 0] and mirrored[3, 0] < mirrored[4, 0]  # left in the picture stays left
    assert np.allclose(mirrored[[0, 1, 2, 3, 4]], (points * (-1, 1) + (32, 0))[[1, 0, 2, 4, 3]])
    assert np.allclose(flipped_keypoints(mirrored, 32), points, atol=1e-5)
