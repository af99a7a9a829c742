"""The command ``magicapture doctor``."""

from __future__ import annotations

import json

import typer

from magicapture.cli.arguments import Json


def doctor(as_json: Json = False) -> None:
    """What is installed, which packs, which device, what is missing and what to do about it; exit status 1 if something needed is."""
    from magicapture.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'MISS' if finding.needed else '-   '} {finding.what:<{width}}  {finding.found}")
            if finding.remedy:
                typer.echo(f"     {'':<{width}}  -> {finding.remedy}")
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(1)
