"""More portraits than are wanted, and the best of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from magicapture import stages
from magicapture.artifacts import ArtifactError, read_manifest, write_json
from magicapture.config import Config, ConfigError, load_config
from magicapture.search.halving import SearchError

SELECTION = "selection.json"
log = logging.getLogger(__name__)


def best_of(
    adapter: str | Path,
    prepared: str | Path,
    out: str | Path,
    config: Config,
    best: int,
    prompts: Sequence[str] | None,
    seeds: Sequence[int],
) -> Path:
    """Draw portraits of every prompt and seed, keep the ``best`` of each prompt, finish those; returns ``out/portraits``.

    Ranked as evaluation ranks (``evaluation.weight_identity``, ``weight_style``, ``weight_aesthetic``; the judge selects). One that shows
    no face, or more than its prompt names, is not kept. ``out/images`` has all as they were drawn, ``out/drawn`` their scores and
    report, ``out/selection.json`` of each {file, prompt, seed, rank, kept, reason, scores}: nothing is lost. ``out/evaluation`` scores and
    shows the finished ones.

    Raises ConfigError for more than are drawn, ArtifactError for another ``prepared``, SearchError when no portrait can be kept.
    """
    if not 1 <= best <= len(seeds):
        raise ConfigError(f"--best {best} of {len(seeds)}: expected 1 to {len(seeds)}; draw more with --of (or name as many --seed)")
    from magicapture.evaluation.ranking import choose

    try:
        read_manifest(prepared, "prepared")
    except ArtifactError as error:  # before hours of drawing
        raise ArtifactError(f"{error}; --best scores against the prepared folder of the run: name it with --prepared") from None
    out = Path(out)
    drawn = load_config(config, ["evaluation.baseline_images=0"])
    images = stages.generate(adapter, out / "images", drawn, prompts, seeds)
    evaluation = stages.evaluate(images, prepared, out / "drawn", drawn)
    rows = choose(json.loads((evaluation / "scores.json").read_text())["items"], best)
    write_json(out / SELECTION, rows)
    for row in rows:
        log.info("%s: seed %d, %s", row["file"], row["seed"], row["reason"])
    kept = [row["file"] for row in rows if row["kept"]]
    if not kept:
        raise SearchError(
            f"none of {len(rows)} portraits can be kept ({rows[0]['reason']}); look at {evaluation / 'report.html'}, "
            "draw more with --of, or train longer"
        )
    portraits = stages.postprocess(images, out / "portraits", config, kept)
    stages.evaluate(portraits, prepared, out / "evaluation", drawn)
    return portraits
