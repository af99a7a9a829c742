"""The commands of versioned pictures: ``magicapture data add-subject | add-style``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from magicapture.cli.arguments import Set

app = typer.Typer(help="Versioned pictures: add those of a subject or a style.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="Letters, digits, - and _; git keeps it for ever, so best a pseudonym.")]
Pictures = Annotated[list[Path], typer.Argument(help="Pictures, and folders of pictures.")]
GatePreset = Annotated[str, typer.Option("--preset", help="Preset by whose pack and knobs the pictures are judged; for photographs sd15.")]
DataRepository = Annotated[Path, typer.Option("--repository", help="The git repository with DVC that keeps them.")]
Remote = Annotated[str, typer.Option("--remote", help="DVC remote they are pushed to; default: the repository's own default.")]
Extend = Annotated[bool, typer.Option("--extend", help="Put them beside those that are there under this name.")]


@app.command("add-subject")
def add_subject(
    name: Name,
    photos: Pictures,
    preset: GatePreset = "mini",
    knobs: Set = None,
    repository: DataRepository = Path(),
    remote: Remote = "",
    extend: Extend = False,
) -> None:
    """Photos of a person into subjects/NAME: judged, upright, in sRGB, without metadata, tracked by DVC. Says what to commit."""
    _add("subject", name, photos, preset, knobs, repository, remote, extend)


@app.command("add-style")
def add_style(
    name: Name,
    pictures: Pictures,
    preset: GatePreset = "mini",
    knobs: Set = None,
    repository: DataRepository = Path(),
    remote: Remote = "",
    extend: Extend = False,
) -> None:
    """Pictures of a look into styles/NAME: as add-subject does."""
    _add("style", name, pictures, preset, knobs, repository, remote, extend)


def _add(
    kind: Literal["subject", "style"],
    name: str,
    pictures: list[Path],
    preset: str,
    knobs: list[str] | None,
    repository: Path,
    remote: str,
    extend: bool,
) -> None:
    from magicapture.config import load_config
    from magicapture.references.intake import add

    added = add(kind, name, pictures, load_config(preset, knobs or ()), repository, extend=extend, remote=remote)
    for file, picture in added.kept.items():
        typer.echo(f"{added.folder}/{file}  {picture}")
    for label, reason in added.set_aside:
        typer.echo(f"set aside  {label}: {reason}")
    for warning in added.warnings:
        typer.echo(f"warning    {warning}")
    typer.echo(f"{added.folder}: {len(added.kept)} pictures added, {len(added.set_aside)} set aside. To publish them, in {added.root}:")
    for command in added.commands:
        typer.echo(f"  {command}")
