"""LoRA arithmetic against the full matrices that it stands for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from magicapture.adapters.algebra import merged, resized, scaled
from magicapture.adapters.layers import Layer, layers_of, stored_of

UNET, TEXT, CONV = "unet.mid_block.a", "text_encoder.text_model.b", "unet.conv_in"


def _layers(seed: int, rank: int, alpha: float) -> dict[str, Layer]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        UNET: Layer(draw(rank, 7), draw(9, rank), alpha),
        TEXT: Layer(draw(rank, 6), draw(6, rank), alpha),
        CONV: Layer(draw(rank, 2, 3, 3), draw(5, rank, 1, 1), alpha),
    }


def _update(layer: Layer) -> Tensor:
    return layer.alpha / layer.down.shape[0] * layer.up.flatten(1).double() @ layer.down.flatten(1).double()


seeds, ranks, alphas = st.integers(0, 10_000), st.integers(1, 5), st.floats(0.5, 8)


@settings(max_examples=25, deadline=None)
@given(seeds, ranks, ranks, alphas, st.floats(-2, 2))
def test_a_merge_is_the_weighted_sum(seed: int, first: int, second: int, alpha: float, weight: float) -> None:
    one, other = _layers(seed, first, alpha), _layers(seed + 1, second, 3.0)
    del other[TEXT]
    result = merged([(weight, one), (0.25, other)])
    for name in one:
        expected = weight * _update(one[name]) + (0.25 * _update(other[name]) if name in other else 0)
        assert torch.allclose(_update(result[name]), expected, atol=1e-4)
    assert result[UNET].rank == first + second and result[TEXT].rank == first


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(2, 5), alphas, st.integers(1, 7))
def test_a_resize_is_the_nearest_of_its_rank_and_says_what_it_keeps(seed: int, rank: int, alpha: float, to: int) -> None:
    layers = _layers(seed, rank, alpha)
    result, kept = resized(layers, rank=to)
    total = lost = 0.0
    for name, layer in layers.items():
        full = _update(layer)
        values = torch.linalg.svdvals(full)
        error = (full - _update(result[name])).square().sum()
        assert float(error) == pytest.approx(float(values[to:].square().sum()), rel=1e-3, abs=1e-6)  # Eckart-Young
        assert result[name].down.shape == (to, *layer.down.shape[1:]) and result[name].up.shape[1] == to
        total, lost = total + float(values.square().sum()), lost + float(error)
    assert kept.share == pytest.approx(1 - lost / total, abs=1e-5) and kept.least <= kept.share + 1e-9


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0.05, 1))
def test_a_share_is_kept_by_the_least_rank_that_does(seed: int, share: float) -> None:
    layers = _layers(seed, 5, 5.0)
    _, kept = resized(layers, keep=share)
    assert kept.share >= share - 1e-9
    assert kept.rank == 1 or resized(layers, rank=kept.rank - 1)[1].share < share


@pytest.mark.parametrize(("rank", "keep"), [(None, None), (2, 0.5), (0, None), (None, 0.0), (None, 1.5)])
def test_what_cannot_be_asked_for_is_refused(rank: int | None, keep: float | None) -> None:
    with pytest.raises(ValueError, match="expected either a rank from 1 or a share"):
        resized(_layers(0, 2, 2.0), rank, keep)


@settings(max_examples=20, deadline=None)
@given(seeds, ranks, ranks, alphas, st.floats(0, 2), st.floats(0, 2))
def test_one_rank_for_all_layers_changes_no_update(seed: int, one: int, other: int, alpha: float, unet: float, text: float) -> None:
    layers = {**_layers(seed, one, alpha), **{name: layer for name, layer in _layers(seed, other, 1.0).items() if name == TEXT}}
    stored = stored_of(scaled(layers, unet, text), {"[V1]": torch.ones(3)})
    back = layers_of(stored)
    assert stored.rank == max(one, other) and "[V1]" in stored.tensors
    for name, layer in layers.items():
        factor = unet if name.startswith("unet") else text
        assert back[name].rank == stored.rank
        assert torch.allclose(_update(back[name]), factor * _update(layer), atol=1e-4)
