"""Room for the person's hair in the pictures of the look."""

from __future__ import annotations

import numpy as np

from magicapture.faces.prepared import Picture
from magicapture.references.room import widened

POINTS = np.array([[24.0, 30], [40, 30], [32, 38], [26, 46], [38, 46]])


def _picture(mask: np.ndarray, keypoints: np.ndarray | None = POINTS) -> Picture:
    return Picture("p.png", np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8), mask, keypoints)


def _block(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_the_region_of_the_photo_moves_and_grows_with_the_face() -> None:
    """A photo twice as large in the face, 5 px to the right: its block comes back at half the size in the right place."""
    look = _picture(_block(28, 36, 28, 36))
    photo = _picture(_block(10, 50, 20, 60), (POINTS - 32) * 2 + 32 + [5, 0])
    mask = widened(look, [photo]).mask
    wanted = look.mask | _block(21, 41, 24, 44)
    assert (mask ^ wanted).mean() < 0.02 and (mask & look.mask).sum() == look.mask.sum()
    assert np.array_equal(look.mask, _block(28, 36, 28, 36))  # the given picture is left as it was


def test_all_photos_count() -> None:
    look = _picture(_block(28, 36, 28, 36))
    photos = [_picture(_block(0, 20, 10, 20)), _picture(_block(40, 60, 40, 50)), _picture(_block(0, 64, 0, 64), None)]
    assert np.array_equal(widened(look, photos).mask, look.mask | photos[0].mask | photos[1].mask)


def test_a_look_without_a_face_stays_as_it_is() -> None:
    look = _picture(np.zeros((64, 64), bool), None)
    assert widened(look, [_picture(_block(0, 20, 10, 20))]) is look
