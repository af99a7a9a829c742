"""The command line of the quality gate: ``magicapture check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magicapture.cli.arguments import PLACE, Json, Set

if TYPE_CHECKING:
    from magicapture.references.check import Checked


def check(
    folder: Annotated[str, typer.Argument(help=f"Photos of one person, or of a sub-folder for each of several: {PLACE}.")],
    style: Annotated[bool, typer.Option("--style", help="They are images of a look, not photos of a person.")] = False,
    preset: Annotated[str, typer.Option("--preset", help="Preset by whose pack and knobs they are judged; for photographs sd15.")] = "mini",
    knobs: Set = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="Write an HTML page with boxes, key points and masks here.")] = None,
    as_json: Json = False,
) -> None:
    """Judge photos (or images of a look) before training, as training will. Exit status: 0 all usable, 1 some set aside, 2 the check could
    not be made, 3 too few remain to train."""
    import logging

    from magicapture.artifacts import write_text
    from magicapture.config import load_config
    from magicapture.references.check import check as judge

    logging.getLogger("magicapture.references").setLevel(logging.ERROR)  # all of it is said below
    checked = judge(folder, load_config(preset, knobs or ()), "reference" if style else "source")
    if sheet is not None:
        write_text(sheet, checked.sheet())
    if as_json:
        typer.echo(json.dumps(checked.to_json() | {"sheet": None if sheet is None else str(sheet)}, indent=2))
    else:
        _tell(checked, sheet)
    if not checked.enough:
        raise typer.Exit(3)
    if checked.counts["set aside"]:
        raise typer.Exit(1)


def _tell(checked: Checked, sheet: Path | None) -> None:
    for verdict in checked.verdicts:
        typer.echo(f"{verdict.word:<9}  {verdict.name}" + (f": {verdict.reason}" if verdict.reason else ""))
    for sentence in (*checked.warnings, *checked.advice):
        typer.echo(f"{'advice':<9}  {sentence}")
    counts = checked.counts
    typer.echo(f"{counts['use'] + counts['warn']} usable, {counts['warn']} of them with a warning; {counts['set aside']} set aside")
    if sheet is not None:
        typer.echo(f"sheet: {sheet}")
