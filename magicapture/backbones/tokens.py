"""Learnt tokens as a small parameter of their own: the vocabulary's embedding matrix is neither trained nor resized."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """Stands in for a text encoder's input embedding and puts placeholder vectors where placeholder ids stand.

    The original code trained (and kept AdamW state for) all 49,408 x 768 entries and restored the frozen rows by hand.
    """

    def __init__(self, embedding: nn.Embedding, tokenizer: Any) -> None:
        super().__init__()
        self.embedding = embedding
        self.tokenizer = tokenizer
        #: Placeholder -> fp32 parameter (D,): the only trainable part.
        self.vectors = nn.ParameterDict()
        #: Placeholder -> its id in the tokenizer.
        self.ids: dict[str, int] = {}
        weight = embedding.weight.detach().float()
        #: Median Euclidean norm of the vocabulary's rows (about 0.4 for the CLIP of Stable Diffusion 1.x).
        self.median_norm = float(weight.norm(dim=1).median())
        #: Standard deviation of the vocabulary's entries (paper: sigma 0.017).
        self.std = float(weight.std())
        self.eval()

    @property
    def width(self) -> int:
        """D: entries of a vector."""
        return int(self.embedding.weight.shape[1])

    def add(self, token: str, vector: Tensor) -> nn.Parameter:
        """Add a placeholder ("[V1]") with its vector (D,), or set the vector of one already there (in place, same parameter)."""
        if vector.shape != (self.width,):
            raise ValueError(
                f"vector of {token}: shape {tuple(vector.shape)}, expected ({self.width},), the width of this text encoder; "
                "was it learnt on another model?"
            )
        value = vector.detach().to(self.embedding.weight.device, torch.float32).clone()
        if token in self.ids:
            with torch.no_grad():
                self.vectors[token].copy_(value)
            return self.vectors[token]
        if token in self.tokenizer.get_vocab() and token not in self.tokenizer.get_added_vocab():
            raise ValueError(f"{token!r} is an ordinary word of the vocabulary; choose another placeholder")
        self.tokenizer.add_tokens(token)  # a plain string, as diffusers' load_textual_inversion does
        self.ids[token] = self.tokenizer.convert_tokens_to_ids(token)
        self.vectors[token] = nn.Parameter(value)
        return self.vectors[token]

    def vector_of(self, words: str) -> Tensor:
        """The vocabulary's vector (D,) fp32 of a word; the mean over its pieces where it has several. Raises ValueError for none."""
        ids = self.tokenizer(words, add_special_tokens=False).input_ids
        if not ids or any(i >= self.embedding.num_embeddings for i in ids):
            raise ValueError(f"no vector for {words!r}: expected words of the tokenizer's vocabulary")
        return self.embedding.weight.detach()[ids].float().mean(0)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, L) -> embeddings (B, L, D) in the encoder's dtype."""
        masks = {token: ids == id_ for token, id_ in self.ids.items()}
        ordinary = ids
        for mask in masks.values():
            ordinary = ordinary.masked_fill(mask, 0)  # placeholder ids lie beyond the matrix
        result = self.embedding(ordinary)
        for token, mask in masks.items():
            result = torch.where(mask[..., None], self.vectors[token].to(result.dtype), result)
        return result
