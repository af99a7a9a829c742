"""LoRA arithmetic: scale, merge, and fewer ranks by singular values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from magicapture.adapters.layers import Layer


class Kept(NamedTuple):
    """What a truncated adapter is."""

    rank: int
    share: float  # of the energy (sum of squared singular values) of all layers' updates together, 0..1
    least: float  # the same of the layer that lost most


def scaled(layers: Mapping[str, Layer], unet: float, text: float) -> dict[str, Layer]:
    """The updates times a factor, of UNet and text encoders apart; rank and alpha stay."""
    return {name: layer._replace(up=layer.up * (unet if name.startswith("unet.") else text)) for name, layer in layers.items()}


def merged(parts: Sequence[tuple[float, Mapping[str, Layer]]]) -> dict[str, Layer]:
    """The weighted sum of adapters' updates, exactly: ranks add up. A layer that some lack is the sum over the others."""
    result = {}
    for name in sorted({name for _, layers in parts for name in layers}):
        own = [(weight, layers[name]) for weight, layers in parts if name in layers]
        down = torch.cat([layer.down for _, layer in own])
        up = torch.cat([layer.up * (weight * layer.scale) for weight, layer in own], dim=1)
        result[name] = Layer(down, up, float(down.shape[0]))
    return result


def resized(layers: Mapping[str, Layer], rank: int | None = None, keep: float | None = None) -> tuple[dict[str, Layer], Kept]:
    """The nearest updates (least squares) of one rank: the one given, or the least that keeps a share ``keep`` (0..1) of the energy.

    A rank above a layer's own loses nothing. Raises ValueError unless one of the two is given, in range.
    """
    if (rank is None) == (keep is None) or (rank is not None and rank < 1) or (keep is not None and not 0 < keep <= 1):
        raise ValueError(f"rank {rank}, share to keep {keep}: expected either a rank from 1 or a share above 0, at most 1")
    parts = {name: _svd(layer) for name, layer in layers.items()}
    energies = {name: values.square() for name, (_, values, _) in parts.items()}
    total = sum(float(energy.sum()) for energy in energies.values())
    most = max(len(energy) for energy in energies.values())
    if rank is None:
        shares = (_share(energies, total, number) for number in range(1, most + 1))
        # The last share is 1 but for rounding.
        rank = next((number for number, share in enumerate(shares, 1) if share >= min(keep or 1.0, 1 - 1e-9)), most)
    least = min((_share({name: energy}, float(energy.sum()), rank) for name, energy in energies.items()), default=1.0)
    return {name: _cut(layers[name], parts[name], rank) for name in layers}, Kept(rank, _share(energies, total, rank), least)


def _share(energies: Mapping[str, Tensor], total: float, rank: int) -> float:
    return sum(float(energy[:rank].sum()) for energy in energies.values()) / total if total else 1.0


def _svd(layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """U (out, r), singular values (r,) and V^T (r, in) of the update, fp64; never forms the (out, in) matrix."""
    left, a = torch.linalg.qr(layer.up.flatten(1).double() * layer.scale)
    right, b = torch.linalg.qr(layer.down.flatten(1).double().T)
    u, values, v = torch.linalg.svd(a @ b.T, full_matrices=False)
    return left @ u, values, v @ right.T


def _cut(layer: Layer, parts: tuple[Tensor, Tensor, Tensor], rank: int) -> Layer:
    """The first ``rank`` parts, their singular values shared evenly between both halves; zeros where there are fewer."""
    u, values, v = (parts[0][:, :rank], parts[1][:rank], parts[2][:rank])
    root, missing = values.sqrt(), rank - len(values)
    down = torch.cat([root[:, None] * v, v.new_zeros(max(missing, 0), v.shape[1])])
    up = torch.cat([u * root, u.new_zeros(u.shape[0], max(missing, 0))], dim=1)
    return Layer(down.reshape(rank, *layer.down.shape[1:]).float(), up.reshape(-1, rank, *layer.up.shape[2:]).float(), float(rank))
