"""The losses for objects against slow numpy versions, their properties, and their gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magicapture.training import losses

seeds = st.integers(0, 2**32 - 1)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def keys(seed: int, batch: int, patches: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.random.default_rng(seed).normal(size=(2, batch, patches, width))
    return first, second


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / float(np.sqrt(a @ a) * np.sqrt(b @ b))


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 3), st.integers(1, 7), st.integers(2, 6))
def test_self_similarity_equals_the_slow_version(seed: int, batch: int, patches: int, width: int) -> None:
    a, b = keys(seed, batch, patches, width)
    expected = []
    for row in range(batch):
        total = 0.0
        for i in range(patches):
            for j in range(patches):
                total += (cosine(a[row, i], a[row, j]) - cosine(b[row, i], b[row, j])) ** 2
        expected.append(total / patches**2)
    found = losses.self_similarity(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 3), st.integers(1, 7), st.integers(2, 6), st.sampled_from([0.07, 0.5, 1.0]))
def test_patch_contrast_equals_the_slow_version(seed: int, batch: int, patches: int, width: int, temperature: float) -> None:
    a, b = keys(seed, batch, patches, width)
    expected = []
    for row in range(batch):
        total = 0.0
        for i in range(patches):
            scores = [np.exp(cosine(a[row, i], b[row, j]) / temperature) for j in range(patches)]
            total -= np.log(scores[i] / sum(scores))
        expected.append(total / patches)
    found = losses.patch_contrast(torch.from_numpy(a), torch.from_numpy(b), temperature)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 20))
def test_appearance_equals_the_slow_version(seed: int, batch: int, width: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, batch, width))
    expected = [sum((x - y) ** 2 for x, y in zip(*row, strict=True)) / width for row in zip(a, b, strict=True)]
    np.testing.assert_allclose(losses.appearance(torch.from_numpy(a), torch.from_numpy(b)).numpy(), expected, atol=1e-9)


def test_the_mean_of_several_looks_pulls_as_each_of_them_on_average() -> None:
    looks = torch.randn(5, 8, dtype=torch.float64)
    cls = torch.randn(1, 8, dtype=torch.float64, requires_grad=True)
    (to_mean,) = torch.autograd.grad(losses.appearance(cls, looks.mean(dim=0, keepdim=True)).sum(), cls)
    (to_each,) = torch.autograd.grad(losses.appearance(cls.expand(5, -1), looks).mean(), cls)
    torch.testing.assert_close(to_mean, to_each)


def test_structure_is_not_what_patches_look_like_but_which_are_alike() -> None:
    a = torch.randn(2, 6, 4, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    torch.testing.assert_close(losses.self_similarity(3 * a @ turn, a), torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (losses.self_similarity(a.flip(1), a) > 0.01).all()


def test_contrast_is_least_where_each_patch_is_at_its_place() -> None:
    a = torch.eye(6, dtype=torch.float64)[None]
    right, moved = losses.patch_contrast(a, a), losses.patch_contrast(a.roll(1, dims=1), a)
    assert right < 0.01 < 10 < moved
    flat = torch.ones(1, 6, 4)
    torch.testing.assert_close(losses.patch_contrast(torch.randn(1, 6, 4), flat), torch.tensor([np.log(6)], dtype=torch.float32))


@pytest.mark.parametrize("loss", [losses.self_similarity, losses.patch_contrast])
def test_a_row_does_not_depend_on_its_neighbours_and_half_precision_is_not_used(loss: Loss) -> None:
    a, b = (torch.from_numpy(x).half() for x in keys(0, 4, 5, 3))
    together = loss(a, b)
    assert together.dtype == torch.float32 and together.shape == (4,)
    torch.testing.assert_close(together, torch.cat([loss(a[i : i + 1], b[i : i + 1]) for i in range(4)]))
    with pytest.raises(ValueError, match=r"keys \(4, 5, 3\) and \(4, 4, 3\): expected \(batch, patches, width\) twice"):
        loss(a, b[:, :4])


@pytest.mark.parametrize("loss", [losses.self_similarity, losses.patch_contrast, lambda a, b: losses.appearance(a[:, 0], b[:, 0])])
def test_gradients_are_those_of_finite_differences(loss: Loss) -> None:
    a, b = (torch.from_numpy(x) for x in keys(3, 2, 4, 3))
    assert torch.autograd.gradcheck(lambda x: loss(x, b), a.requires_grad_(True))
