from __future__ import annotations

import numpy as np
import pytest

from magicapture.packs import Pack
from magicapture.scoring.style import StyleScorer


def _none(images: list[np.ndarray]) -> list[np.ndarray]:
    return [np.zeros(image.shape[:2], bool) for image in images]


def test_a_picture_is_its_own_style(pack: Pack, pictures: list[np.ndarray]) -> None:
    scorer = StyleScorer(pack)
    assert scorer.score(pictures[:1], _none(pictures[:1]), pictures[:1], _none(pictures[:1])) == pytest.approx([1], abs=1e-5)


def test_mean_over_references(pack: Pack, pictures: list[np.ndarray]) -> None:
    scorer = StyleScorer(pack)
    each = [scorer.score(pictures[:1], _none(pictures[:1]), [r], _none([r]))[0] for r in pictures[1:]]
    together = scorer.score(pictures[:1], _none(pictures[:1]), pictures[1:], _none(pictures[1:]))
    assert together == pytest.approx([np.mean(each)], abs=1e-6)


def test_the_face_does_not_count_on_either_side(pack: Pack) -> None:
    generator = np.random.default_rng(5)
    image = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    face = np.zeros((64, 64), bool)
    face[16:48, 20:44] = True
    other = image.copy()
    other[face] = generator.integers(0, 256, (int(face.sum()), 3), dtype=np.uint8)
    assert StyleScorer(pack).score([image], [face], [other], [face]) == pytest.approx([1], abs=1e-5)


def test_no_reference_is_refused(pack: Pack, pictures: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        StyleScorer(pack).score(pictures, _none(pictures), [], [])
