"""The CLIP tokenizer of the mini pack: every word of the world's captions is one token, anything else falls back to characters."""

import string
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from magicapture.world.captions import VOCABULARY
from magicapture.world.objects import OBJECT_WORDS

#: Every word of the world's captions: of people in looks, and of objects.
WORDS: tuple[str, ...] = tuple(sorted({*VOCABULARY, *OBJECT_WORDS}))
START, END = "<|startoftext|>", "<|endoftext|>"
_CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation
_WORD_END = "</w>"


def build_tokenizer(folder: str | Path, max_length: int, words: Iterable[str] = WORDS) -> CLIPTokenizer:
    """Make the tokenizer, save it below ``folder`` (transformers format) and return it as read back from there.

    ``max_length`` is `model_max_length`, start and end tokens included. Raises ValueError for a word that is not made of
    lower-case letters only, or of punctuation only: CLIP's splitting would cut it, so it could never be one token.
    """
    merges = _merges(words)
    symbols = [*_CHARACTERS, *(c + _WORD_END for c in _CHARACTERS), *("".join(pair) for pair in merges), START, END]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    tokenizer = CLIPTokenizer(
        vocab=vocabulary, merges=merges, model_max_length=max_length, bos_token=START, eos_token=END, pad_token=END, unk_token=END
    )
    tokenizer.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def _merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Merge rules that turn each word into one token.

    A word's missing rules go to the end of the list. Words finished before it stay whole: at each of their steps an older
    rule applies, and older rules come first.
    """
    merges: list[tuple[str, str]] = []
    ranks: dict[tuple[str, str], int] = {}
    for word in sorted(set(words), key=lambda w: (len(w), w)):
        if not (word.isascii() and word.isalpha() and word.islower()) and not (word and all(c in string.punctuation for c in word)):
            raise ValueError(f"word {word!r}: expected lower-case letters a to z only, or punctuation only; reword the caption")
        symbols = _apply([*word[:-1], word[-1] + _WORD_END], ranks)
        while len(symbols) > 1:
            pair = (symbols[0], symbols[1])
            ranks[pair] = len(merges)
            merges.append(pair)
            symbols = _apply(symbols, ranks)
    return merges


def _apply(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding of one word with the rules known so far."""
    while True:
        pairs = [pair for pair in pairwise(symbols) if pair in ranks]
        if not pairs:
            return symbols
        best = min(pairs, key=ranks.__getitem__)
        merged, i = [], 0
        while i < len(symbols):
            if tuple(symbols[i : i + 2]) == best:
                merged.append("".join(best))
                i += 2
            else:
                merged.append(symbols[i])
                i += 1
        symbols = merged
