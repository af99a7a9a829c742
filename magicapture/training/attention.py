"""Where the special tokens look: their cross-attention maps, formed only in the layers that Attention Refocusing reads.

The network keeps its fused attention. While :meth:`AttentionMaps.recording` is open, the queries and keys of every
cross-attention pass by; afterwards the softmax over the (short) text is formed from those of the wanted resolution, and only
the special tokens' columns are kept. Nothing is computed inside the network, so under non-reentrant gradient checkpointing the maps
have their graph and the recomputation, which runs after the recording has closed, records nothing. There the maps are checkpointed too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from magicapture.backbones import Backbone
from magicapture.faces.concepts import TOKENS, of_side


class AttentionMaps:
    """Cross-attention maps of ``side`` x ``side`` cells of one UNet (diffusers: every module named ``attn2``).

    The pack names the side: cells that cover 32 px at 512 px, which is 16 in SD 1.5 (5 layers x 8 heads = 40 maps).
    """

    def __init__(self, unet: nn.Module, side: int) -> None:
        self.side = side
        self._unet = unet
        self._layers: dict[str, Any] = {name: module for name, module in unet.named_modules() if name.endswith(".attn2")}
        self._queries: dict[str, Tensor] = {}
        self._keys: dict[str, Tensor] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the queries and keys of the one forward pass made inside; what was recorded before is dropped.

        The hooks sit on the projections as they are now, so an adapter attached since the construction is seen.
        """
        self._queries.clear()
        self._keys.clear()
        handles = []
        for name, layer in self._layers.items():
            handles.append(layer.to_q.register_forward_hook(self._keep(self._queries, name, self.side**2)))
            handles.append(layer.to_k.register_forward_hook(self._keep(self._keys, name, None)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def of(self, positions: Tensor) -> Tensor:
        """Maps of several tokens from the recorded pass.

        Args:
            positions: (batch, tokens, text length) bool, where each token stands in each row's prompt.

        Returns:
            (batch, tokens, maps, side, side) float32, softmax probabilities with their graph, one map a layer and head; a token that
            stands several times is averaged over its places, one that is absent from a prompt has maps of 0.

        Raises:
            ValueError: nothing was recorded at this resolution.
        """
        if not self._queries:
            raise ValueError(
                f"no cross-attention of {self.side} x {self.side} cells was recorded ({len(self._layers)} cross-attention layers watched); "
                "set the pack's attention_resolution to the side of one of the UNet's cross-attention blocks"
            )
        weights = positions.float()
        weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1)
        layers = [(self._layers[name].heads, query, self._keys[name], weights) for name, query in self._queries.items()]
        saving = torch.is_grad_enabled() and self._unet.is_gradient_checkpointing
        with torch.autocast(positions.device.type, enabled=False):
            maps = [checkpoint(self._map, *layer, use_reentrant=False) if saving else self._map(*layer) for layer in layers]
        return torch.cat(maps, dim=2)

    def release(self) -> None:
        """Forget the recorded pass, so that its memory can go."""
        self._queries.clear()
        self._keys.clear()

    def _map(self, heads: int, query: Tensor, key: Tensor, weights: Tensor) -> Tensor:
        batch, cells, width = query.shape
        query = query.float().view(batch, cells, heads, width // heads).transpose(1, 2)
        key = key.float().view(batch, -1, heads, width // heads).transpose(1, 2)
        scores = query @ key.transpose(-1, -2) * (width // heads) ** -0.5
        columns = scores.softmax(dim=-1) @ weights.transpose(1, 2).unsqueeze(1)  # (batch, heads, cells, tokens)
        return columns.permute(0, 3, 1, 2).reshape(batch, -1, heads, self.side, self.side)

    @staticmethod
    def _keep(store: dict[str, Tensor], name: str, length: int | None) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if length is None or output.shape[1] == length:
                store[name] = output

        return hook


def side_positions(backbone: Backbone, prompts: Sequence[str]) -> Tensor:
    """Where the token of a subject, and where that of a look, stands in each prompt, whichever it is: (prompts, 2, text length) bool."""
    sides = [[backbone.token_positions(prompts, token) for token in of_side(backbone.tokens.ids, plain)] for plain in TOKENS]
    return torch.stack([torch.stack(side).any(dim=0) for side in sides], dim=1)
