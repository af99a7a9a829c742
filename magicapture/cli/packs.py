"""The command line of the packs of weights: ``magicapture packs list | fetch | convert | verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from magicapture import exits
from magicapture.cli.arguments import Json

app = typer.Typer(help="The packs of weights: list, fetch, convert, verify.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """The packs: which are there, their roles and licences, and whether commercial use is allowed."""
    from magicapture.packs import load_pack, pack_names

    packs = [load_pack(name) for name in pack_names()]
    if as_json:
        shown = [{**pack.model_dump(mode="json"), "embedded": pack.embedded, "missing": pack.missing()} for pack in packs]
        typer.echo(json.dumps(shown, indent=2))
        return
    for pack in packs:
        name = pack.name
        missing = set(pack.missing())
        needed = [role for role in missing if not pack.roles[role].optional]
        state = "embedded" if pack.embedded else "fetched" if not needed else f"not there: {len(missing)} of {len(pack.roles)} roles"
        fetch = f"; `magicapture packs fetch {name}`" if any(pack.roles[role].hub for role in missing) else ""
        typer.echo(f"{pack.name} {pack.version} ({pack.resolution} px): {pack.description} [{state}{fetch}]")
        for role, entry in sorted(pack.roles.items()):
            use = "commercial use" if entry.commercial else "NOT for commercial use"
            source = f", from {entry.hub}" if entry.hub else ", laid down by hand" if entry.by_hand else ""
            source += ", optional" if entry.optional else ""
            typer.echo(f"  {role:<17} {entry.path:<26} {entry.licence}, {use}{source}{', missing' if role in missing else ''}")


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Pack name, or a folder with a pack.yaml.")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder; default: the user's pack folder (MAGICAPTURE_PACKS).")] = None,
) -> None:
    """Fetch a pack's files from the model hub. Cut off and started again, it goes on where it was."""
    from magicapture.packs.fetch import fetch

    with exits.stoppable("The same command goes on where it was"):
        pack = fetch(name, to, typer.echo)
    for role, entry in sorted(pack.roles.items()):
        if not entry.commercial:
            typer.echo(f"NOT for commercial use: {role} ({entry.licence})")
    typer.echo(f"fetched: {pack.folder}" + (f"; use it with --set pack={pack.folder}" if to else ""))


@app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN.pth", help="backbone.pth as arcface_torch publishes it (IResNet-18, 50, 100).")],
    target: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write, in the pack's folder.")],
) -> None:
    """Published weights of a recogniser, a pickle, to the safetensors file that a pack holds. Runs nothing that is in the pickle."""
    from magicapture.artifacts import sha256_file
    from magicapture.backbones.convert import convert

    architecture = convert(source, target)
    typer.echo(f"wrote {target} ({architecture}, sha256 {sha256_file(target)})")
    typer.echo("The role of pack.yaml that names this file (NAME_torch, for tuning.recogniser=NAME) has to say:")
    typer.echo(f"    sha256:\n      {target.name}: {sha256_file(target)}\n    settings:\n      architecture: {architecture}")


@app.command("verify")
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Pack names or folders; default: all that are there.")] = None,
    as_json: Json = False,
) -> None:
    """Check every weight file's sha256; exit status 1 if one is missing or altered."""
    from magicapture.packs import load_pack, pack_names

    bad: dict[str, None] = {}
    states: dict[str, dict[str, str] | None] = {}
    for pack in map(load_pack, names or pack_names()):
        fetched = bool(names) or len(pack.missing()) < len(pack.roles) or pack.embedded
        states[pack.name] = found = pack.verify() if fetched else None
        bad |= {f"{role}: {pack.remedy(role)}": None for role, state in (found or {}).items() if state != "ok"}
        if as_json:
            continue
        if found is None:
            typer.echo(f"{pack.name}  not fetched")
            continue
        for role, state in found.items():
            typer.echo(f"{pack.name}  {role:<17} {state}")
    if as_json:
        typer.echo(json.dumps(states, indent=2))
    for remedy in bad:
        typer.echo(remedy, err=True)
    if bad:
        raise typer.Exit(1)
