"""The command ``magicapture gallery``: several runs on one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def gallery(
    runs: Annotated[list[Path], typer.Argument(help="Folders of `train` or `pipeline.py run`, single seeds, or evaluation folders.")],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("gallery.html"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, for programs; no page is written.")] = False,
) -> None:
    """Compare runs: scores with intervals, pictures of the same prompts and seeds, and the knobs in which they differ."""
    from magicapture.artifacts import write_text
    from magicapture.evaluation import gallery

    compared = gallery.compare(runs)
    if as_json:
        typer.echo(json.dumps(compared, indent=2))
        return
    write_text(out, gallery.render(compared))
    for run in compared["runs"]:
        scores = ", ".join(f"{measure} {cell['mean']:.3f}" for measure, cell in run["scores"].items())
        typer.echo(f"{run['name']}  {scores}")
    if not compared["comparable"]:
        typer.echo(f"not comparable: {'; '.join(compared['reasons'])}")
    typer.echo(f"gallery: {out}")
