"""Evaluation: pictures are measured, ranked and reported (artifact ``evaluation/1``).

`evaluation.run(images, prepared, out, config)` writes

- ``scores.json``: ``protocol``, ``scorer``, ``levels`` (genuine and stranger cosine of the referee), ``items`` (file, before, kind,
  prompt, seed, identity, referee, likeness, style, aesthetic, face, selection, rank) and ``sets`` (kind -> measure ->
  mean, low, high, n);
- ``report.html``: one self-contained page;
- ``images/`` and, after post-processing, ``before/``: the pictures it speaks of.

The manifest's content holds what the promotion gate compares: ``protocol``, ``selection``, ``identity``, ``best``, ``adapter``, ``sets``.
"""

from __future__ import annotations

from magicapture.evaluation.stage import run

__all__ = ["run"]
