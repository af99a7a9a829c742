"""Learnt tokens as a small parameter of their own: the vocabulary's embedding matrix is neither trained nor resized."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from itertools import count as count_from
from typing import Any

import torch
from torch import Tensor, nn

_log = logging.getLogger(__name__)


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
    def encoders(self) -> tuple[TokenEmbedding, ...]:
        """One a text encoder: of a single one, itself."""
        return (self,)

    @property
    def width(self) -> int:
        """D: entries of a vector."""
        return int(self.embedding.weight.shape[1])

    def parts(self, token: str) -> list[str]:
        """The placeholders that a concept's token stands for: itself, and what diffusers names its further vectors, "[V1]_1", "[V1]_2".

        Raises KeyError for a token that was never added.
        """
        return parts_of(token, self.ids)

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
        if self._known(token):
            raise ValueError(f"{token!r} is in the tokenizer's vocabulary already; choose a placeholder that is not a word, such as [V1]")
        self.tokenizer.add_tokens(token)  # a plain string, as diffusers' load_textual_inversion does
        self.ids[token] = self.tokenizer.convert_tokens_to_ids(token)
        self.vectors[token] = nn.Parameter(value)
        return self.vectors[token]

    def vector_of(self, words: str) -> Tensor:
        """The vocabulary's vector (D,) fp32 of a word; the mean over its tokens, and a warning, where it has several.

        Raises ValueError for words without a token, or with one that is not in the vocabulary.
        """
        ids = self.tokenizer(words, add_special_tokens=False).input_ids
        if not ids or any(i >= self.embedding.num_embeddings or i == self.tokenizer.unk_token_id for i in ids):
            raise ValueError(f"no vector for {words!r}: expected words of the tokenizer's vocabulary, such as 'person'")
        if len(ids) > 1:
            pieces = ", ".join(self.tokenizer.convert_ids_to_tokens(ids))
            _log.warning("%r is %d tokens of the vocabulary (%s): the mean of their vectors is taken", words, len(ids), pieces)
        return self.embedding.weight.detach()[ids].float().mean(0)

    def _known(self, token: str) -> bool:
        """Whether the tokenizer has a token of its own for it: as it is written, or as the word that it becomes (CLIP lower-cases)."""
        ids = self.tokenizer(token, add_special_tokens=False).input_ids
        return token in self.tokenizer.get_vocab() or (len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id)

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


def parts_of(token: str, known: Mapping[str, int]) -> list[str]:
    """``token`` and its further vectors among the known placeholders, in order."""
    if token not in known:
        raise KeyError(token)
    count = next(i for i in count_from(1) if f"{token}_{i}" not in known)
    return [token, *(f"{token}_{i}" for i in range(1, count))]


def spelt_out(prompt: str, known: Mapping[str, int]) -> str:
    """The prompt with every concept's token followed by its further vectors (stock diffusers does so with lower-case tokens only)."""
    for token in known:
        parts = parts_of(token, known)
        if len(parts) > 1:
            pattern = re.compile(re.escape(token) + r"(?!_\d)", re.IGNORECASE)
            prompt = pattern.sub(" ".join(parts).replace("\\", r"\\"), prompt)
    return prompt


class TokenEmbeddings:
    """The placeholders of a model with several text encoders, by the names that other programs know the encoders by.

    A token's vectors are named "[V1].clip_l", "[V1].clip_g", in memory as on disk.
    """

    def __init__(self, **encoders: TokenEmbedding) -> None:
        self._encoders = encoders

    @property
    def encoders(self) -> tuple[TokenEmbedding, ...]:
        """One a text encoder."""
        return tuple(self._encoders.values())

    @property
    def vectors(self) -> dict[str, nn.Parameter]:
        """Named parameters (D of their encoder,), encoder after encoder."""
        return {f"{token}.{name}": vector for name, encoder in self._encoders.items() for token, vector in encoder.vectors.items()}

    @property
    def ids(self) -> dict[str, int]:
        """Placeholder ("[V1]") -> its id in the first tokenizer."""
        return self.encoders[0].ids

    def parts(self, token: str) -> list[str]:
        """As of one encoder: all know the same placeholders."""
        return self.encoders[0].parts(token)

    def add(self, name: str, vector: Tensor) -> nn.Parameter:
        """Add or set one vector: "[V1].clip_l" (D,). A token has to be added to every encoder. Raises ValueError."""
        token, _, encoder = name.rpartition(".")
        if not token or encoder not in self._encoders:
            raise ValueError(
                f"vector {name!r}: expected a token and a text encoder, {' or '.join(f'[V1].{known}' for known in self._encoders)}; "
                "was it learnt on another model?"
            )
        return self._encoders[encoder].add(token, vector)
