"""Every loss against a slow numpy version, and the properties design.md asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from magicapture.training import losses

seeds = st.integers(0, 2**32 - 1)


def arrays(seed: int, batch: int, channels: int, side: int, mask_side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prediction, target = rng.normal(size=(2, batch, channels, side, side)).astype(np.float32)
    share = rng.uniform(0, 1, (batch, 1, 1, 1)) * rng.integers(0, 2, (batch, 1, 1, 1))  # some masks are empty
    return prediction, target, (rng.uniform(size=(batch, 1, mask_side, mask_side)) < share).astype(np.float32)


def nearest(mask: np.ndarray, side: int) -> np.ndarray:
    step = mask.shape[-1] / side
    index = [int(np.floor((i + 0.5) * step)) for i in range(side)]  # the pixel in the middle of each cell
    return mask[np.ix_(index, index)] > 0.5


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 5), st.sampled_from([2, 4, 8]), st.sampled_from([1, 2, 4]))
def test_masked_reconstruction_equals_the_slow_version(seed: int, batch: int, channels: int, side: int, factor: int) -> None:
    prediction, target, mask = arrays(seed, batch, channels, side, side * factor)
    expected = []
    for row in range(batch):
        small = nearest(mask[row, 0], side)
        total = 0.0
        for y in range(side):
            for x in range(side):
                if small[y, x]:
                    total += float(((prediction[row, :, y, x].astype(np.float64) - target[row, :, y, x]) ** 2).sum())
        expected.append(total / (small.sum() * channels) if small.any() else 0.0)
    found = losses.masked_reconstruction(*map(torch.from_numpy, (prediction, target, mask)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 3), st.integers(1, 6), st.sampled_from([2, 4, 8]), st.sampled_from([1, 4]))
def test_attention_refocusing_equals_the_slow_version(seed: int, batch: int, count: int, side: int, factor: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.uniform(0, 1, (batch, count, side, side)).astype(np.float32)
    maps[:, 0] *= rng.integers(0, 2)  # flat at times
    mask = (rng.uniform(size=(batch, 1, side * factor, side * factor)) < rng.uniform()).astype(np.float32)
    expected = []
    for row in range(batch):
        small = nearest(mask[row, 0], side)
        total = 0.0
        for one in maps[row].astype(np.float64):
            span = one.max() - one.min()
            scaled = (one - one.min()) / span if span else one * 0
            total += float((scaled**2)[~small].sum())
        expected.append(total / (count * side * side) if small.any() else 0.0)
    found = losses.attention_refocusing(torch.from_numpy(maps), torch.from_numpy(mask))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 5), st.integers(2, 64))
def test_identity_equals_the_slow_version(seed: int, batch: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, batch, width))
    expected = [1 - float(x @ y) / float(np.sqrt(x @ x) * np.sqrt(y @ y)) for x, y in zip(a, b, strict=True)]
    found = losses.identity(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(losses.identity(torch.from_numpy(a), torch.from_numpy(3 * a)).numpy(), 0, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from(losses.PREDICTION_TYPES), st.lists(st.floats(1e-3, 0.999), min_size=1, max_size=4))
def test_predicted_clean_inverts_the_noising(seed: int, kind: str, alphas: list[float]) -> None:
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn((2, len(alphas), 3, 4, 4), generator=generator, dtype=torch.float64)
    alpha = torch.tensor(alphas, dtype=torch.float64)
    a, b = alpha.sqrt().view(-1, 1, 1, 1), (1 - alpha).sqrt().view(-1, 1, 1, 1)
    noisy = a * clean + b * noise
    right = noise if kind == "epsilon" else a * noise - b * clean
    torch.testing.assert_close(losses.predicted_clean(noisy, right, alpha, kind), clean, rtol=1e-6, atol=1e-9)


def test_predicted_clean_refuses_an_unknown_prediction_type() -> None:
    with pytest.raises(ValueError, match="'flow'.*epsilon, v_prediction"):
        losses.predicted_clean(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.ones(1), "flow")


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_what_lies_outside_the_mask_does_not_count(seed: int) -> None:
    prediction, target, mask = map(torch.from_numpy, arrays(seed, 3, 2, 8, 8))
    disturbed = prediction + 100 * (1 - mask)
    torch.testing.assert_close(
        losses.masked_reconstruction(disturbed, target, mask), losses.masked_reconstruction(prediction, target, mask)
    )


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_a_row_does_not_depend_on_its_neighbours(seed: int) -> None:
    prediction, target, mask = map(torch.from_numpy, arrays(seed, 4, 2, 8, 16))
    together = losses.masked_reconstruction(prediction, target, mask)
    alone = torch.cat([losses.masked_reconstruction(prediction[i : i + 1], target[i : i + 1], mask[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone)
    maps = prediction.abs()
    apart = torch.cat([losses.attention_refocusing(maps[i : i + 1], mask[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(losses.attention_refocusing(maps, mask), apart)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float32, (1, 2, 4, 4), elements=st.floats(0, 1, width=16)), st.floats(0.5, 4), st.floats(-1, 1))
def test_attention_refocusing_ignores_scale_and_shift_of_a_map(maps: np.ndarray, scale: float, shift: float) -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    first = losses.attention_refocusing(torch.from_numpy(maps).double(), mask)
    second = losses.attention_refocusing(torch.from_numpy(maps).double() * scale + shift, mask)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-9)


def test_attention_is_free_inside_the_mask_and_worst_when_all_of_it_is_outside() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    assert losses.attention_refocusing(mask.clone(), mask).item() == 0
    assert losses.attention_refocusing(1 - mask, mask).item() == pytest.approx(0.5)


def test_masks_are_binary_after_resizing() -> None:
    soft = torch.full((1, 1, 8, 8), 0.4)
    soft[..., 4:] = 0.6
    assert losses.resized_mask(soft, (4, 4)).unique().tolist() == [0, 1]
    assert losses.resized_mask(torch.ones(1, 1, 8, 8, dtype=torch.bool), (4, 4)).mean() == 1


@pytest.mark.parametrize("loss", [losses.masked_reconstruction, lambda a, b, m: losses.attention_refocusing(a, m)])
def test_an_empty_mask_gives_zero_with_zero_gradient(loss) -> None:  # type: ignore[no-untyped-def]
    prediction = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = loss(prediction, torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 8, 8))
    assert value.tolist() == [0, 0]
    value.sum().backward()
    assert prediction.grad is not None and prediction.grad.abs().max() == 0


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        losses.masked_reconstruction(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="do not belong together"):
        losses.attention_refocusing(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))


def test_gradients_are_the_numerical_ones() -> None:
    generator = torch.Generator().manual_seed(3)
    maps = torch.rand((2, 2, 3, 3), generator=generator, dtype=torch.float64).requires_grad_()
    mask = (torch.rand((2, 1, 3, 3), generator=generator) < 0.5).double()
    target = torch.zeros_like(maps)
    assert torch.autograd.gradcheck(lambda x: losses.attention_refocusing(x, mask), maps)
    assert torch.autograd.gradcheck(lambda x: losses.masked_reconstruction(x, target, mask), maps)
