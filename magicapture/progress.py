"""Progress of long work, on stderr: a bar with the time left on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

LINE_EVERY = 10.0  # seconds between lines where there is no terminal
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed} gone, {remaining} left{postfix}"


def progress(iterable: Iterable[Any] | None = None, *, total: int | None = None, what: str, unit: str, done: int = 0) -> tqdm:
    """A tqdm bar over ``iterable``, or one to ``update()``; ``done`` of ``total`` were there before.

    Where stderr is no terminal: a line every :data:`LINE_EVERY` seconds and one at the end, none of work that is over before the first.
    """
    if sys.stderr.isatty():
        return tqdm(iterable, total=total, desc=what, unit=unit, initial=done, mininterval=0.2)
    plain = {"mininterval": LINE_EVERY, "delay": LINE_EVERY, "bar_format": _LINE, "file": _Lines()}
    return tqdm(iterable, total=total, desc=what, unit=unit, initial=done, **plain)


class _Lines:
    """A file for tqdm: what it would draw over the line before becomes a line of its own, where it says that more is done."""

    def __init__(self) -> None:
        self.done = ""

    def write(self, text: str) -> None:
        done = text.strip().partition(",")[0]
        if done and done != self.done:
            sys.stderr.write(f"{text.strip()}\n")
            self.done = done

    def flush(self) -> None:
        sys.stderr.flush()
