"""The command line of erasing a person: ``magicapture purge SUBJECT``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magicapture.artifacts import legible
from magicapture.cli.arguments import Json

if TYPE_CHECKING:
    from magicapture.purge import Plan, Report

SHOWN = 40


def purge(
    subject: Annotated[str, typer.Argument(help="Name of the person: of the photos' folder or sub-folder, or promotion.subject.")],
    folders: Annotated[
        list[Path] | None,
        typer.Option("--in", help="Where runs, checkpoints and photos are; repeatable. Default: runs. Nothing else is touched."),
    ] = None,
    photos: Annotated[
        list[Path] | None, typer.Option("--photos", help="Photos of this person, to find by them what carries no name; repeatable.")
    ] = None,
    repository: Annotated[
        Path | None, typer.Option("--repository", help="The git repository with DVC that keeps photos; default: the one here.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what was found; without it nothing is changed.")] = False,
    as_json: Json = False,
) -> None:
    """Find all that is of a person, and with --yes erase it and look again. MLFLOW_TRACKING_URI says where MLflow is, and behind a server
    MLFLOW_BACKEND_STORE_URI its database.

    Exit status 0: nothing is left of what can be reached (or: a dry run found something); 3: something is left, and said; 2: an error,
    or nothing is of that name.
    """
    from magicapture.purge import erase, find

    where = [Path("runs")] if folders is None and Path("runs").is_dir() else folders or []
    plan = find(subject, where, photos or (), repository)
    report = erase(plan) if yes else None
    if as_json:
        typer.echo(json.dumps(_data(plan, report), indent=2))
    else:
        _tell(plan, report)
    if report is not None and report.left:
        raise typer.Exit(3)


def _data(plan: Plan, report: Report | None) -> dict[str, object]:
    tracked = plan.tracked
    data: dict[str, object] = {
        "subject": plan.subject, "in": [str(root) for root in plan.roots], "removed": report is not None,
        "kinds": report.kinds if report else plan.kinds(), "paths": {str(path): kind for path, kind in plan.paths.items()},
        "mlflow": {"runs": tracked.runs, "logged_models": tracked.models, "versions": tracked.versions, "models": tracked.registered}
        if tracked else None,
        "others": plan.others, "groups_of_photos": plan.people, "mentions": plan.mentions,
        "retained": report.retained if report else plan.retained,
    }  # fmt: skip
    return data | ({"files": report.files, "bytes": report.bytes, "left": report.left} if report else {})


def _tell(plan: Plan, report: Report | None) -> None:
    say = _say
    say(f"{'Erased' if report else 'Found'} of {plan.subject!r} below {', '.join(map(str, plan.roots))}:")
    for kind, count in (report.kinds if report else plan.kinds()).items():
        say(f"  {count:>5} {kind}")
    if report:
        say(f"  {report.files} files, {report.bytes / 1e6:.1f} MB")
    if plan.others:
        say(f"Sets of several people go as a whole; also in them: {', '.join(plan.others)} (their photos stay).")
    if plan.people > 1:
        say(
            f"CAUTION: under this name lie {plan.people} groups of photos that have none in common. If they are of different people, --yes "
            "erases them all."
        )
    if report is None:
        _some([f"{path}  {kind}" for path, kind in plan.paths.items()], "")
        if plan.tracked:
            _some([f"{name} version {number}" for name, number in plan.tracked.versions], "Model versions:")
            _some(plan.tracked.registered, "Registered models, which go whole:")
            _some(plan.tracked.runs, "Runs of MLflow:")
        _some(
            [f"{path}  {where}" for path, where in plan.mentions],
            "What may be this person's (the name stands in it, or photos are shared) is not known to be, and stays; look at it:",
        )
    else:
        _some(report.left, "STILL THERE:")
    for what, remedy in report.retained if report else plan.retained:
        say(f"Retained: {what}\n    to clear: {remedy}")
    if report is None:
        say("Nothing was changed. To erase it, stop what is running of this person and give the same command with --yes.")
    elif not report.left:
        say("A second look, by name and by hash, found nothing.")


def _say(line: str) -> None:
    """A line with names of files in it, which need not be UTF-8."""
    typer.echo(legible(line))


def _some(lines: list[str], title: str) -> None:
    if lines and title:
        _say(title)
    for line in lines[:SHOWN]:
        _say(f"  {line}")
    if len(lines) > SHOWN:
        _say(f"  ... and {len(lines) - SHOWN} more: --json lists all")
