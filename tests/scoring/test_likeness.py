from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicapture.scoring.likeness import LEAST_GAP, assigned, cosines, csim, genuine, normalised, separable

SOURCES = np.array([[1.0, 0, 0], [0, 2.0, 0]])


def test_csim_is_the_mean_over_pairs() -> None:
    generated = np.array([[3.0, 0, 0], [1, 1, 0], [0, 0, 5]])
    assert csim(generated, SOURCES) == pytest.approx([0.5, np.sqrt(0.5), 0])
    assert cosines(generated, SOURCES)[0] == pytest.approx([1, 0])


def test_csim_ranks_like_the_cosine_to_the_mean_embedding() -> None:
    generator = np.random.default_rng(0)
    generated, sources = generator.normal(size=(50, 8)), generator.normal(size=(5, 8))
    centre = (sources / np.linalg.norm(sources, axis=1, keepdims=True)).mean(0, keepdims=True)
    assert (np.argsort(csim(generated, sources)) == np.argsort(cosines(generated, centre)[:, 0])).all()


@pytest.mark.parametrize("generated, sources", [(np.ones((2, 3)), np.ones((2, 4))), (np.ones((2, 3)), np.ones((0, 3)))])
def test_unlike_sets_are_refused(generated: np.ndarray, sources: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected embeddings"):
        csim(generated, sources)


def test_genuine_leaves_each_picture_itself_out() -> None:
    assert genuine(SOURCES) == pytest.approx(0)
    assert genuine(np.array([[1.0, 0], [1, 0], [0, 1]])) == pytest.approx(1 / 3)
    assert genuine(SOURCES[:1]) is None


@given(st.floats(-1, 0.4), st.floats(0.051, 0.6), st.floats(-1, 1))
def test_normalised_puts_strangers_at_0_and_the_person_at_1(stranger: float, gap: float, s: float) -> None:
    value = normalised(np.array([stranger, stranger + gap, s]), stranger + gap, stranger)
    assert value[:2] == pytest.approx([0, 1])
    assert value[2] == pytest.approx((s - stranger) / gap, rel=1e-6, abs=1e-9)


def test_levels_too_near_or_unknown_give_no_likeness() -> None:
    assert separable(0.5, 0.4)
    assert not separable(0.4, 0.4 - 0.9 * LEAST_GAP) and not separable(0.3, 0.5)
    assert not separable(None, 0.1) and not separable(0.5, None)
    with pytest.raises(ValueError, match="cannot be normalised"):
        normalised(np.zeros(2), 0.3, 0.3)


def test_faces_are_given_to_people_so_that_all_together_fit_best() -> None:
    greedy_is_wrong = np.array([[0.9, 0.8], [0.7, 0.1]])  # the first face is most like the first person, yet 0.8 + 0.7 > 0.9 + 0.1
    assert assigned(greedy_is_wrong).tolist() == [1, 0]
    table = np.random.default_rng(0).uniform(-1, 1, (4, 4))
    order = assigned(table)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    everyone = [np.random.default_rng(i).permutation(4) for i in range(200)]
    assert all(table[order, range(4)].sum() >= table[other, range(4)].sum() for other in everyone)
    assert assigned(np.array([[0.3]])).tolist() == [0]
    with pytest.raises(ValueError, match="as many faces as people"):
        assigned(np.zeros((2, 3)))
