"""The command line of the model registry: ``magicapture registry list | show | promote | rollback``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from magicapture.cli.arguments import Json

if TYPE_CHECKING:
    from magicapture.registry import Decision

app = typer.Typer(
    help="Registered models: who is champion, why, and changing that. MLFLOW_TRACKING_URI says where.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="Registered model: <model_name>.<subject>.<style>.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Every registered model with its champion and challenger."""
    from magicapture import registry

    models = registry.list_models()
    if as_json:
        typer.echo(json.dumps(models, indent=2))
        return
    for model in models:
        held = ", ".join(f"{alias} {model[alias] or '-'}" for alias in ("champion", "challenger"))
        typer.echo(f"{model['name']}  {held}, {model['versions']} version(s)  {_numbers(model['scores'])}".rstrip())


@app.command()
def show(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="One version; default: all, newest first.")] = None,
    as_json: Json = False,
) -> None:
    """Versions of a model: verdict and reason, scores; of a single version its lineage too."""
    from magicapture import registry

    model = registry.show_model(name, version)
    if as_json:
        typer.echo(json.dumps(model, indent=2))
        return
    typer.echo(f"{model['name']}  champion {model['champion'] or '-'}, challenger {model['challenger'] or '-'}; champions so far: "
               f"{', '.join(model['history']) or 'none'}")  # fmt: skip
    for entry in model["versions"]:
        typer.echo(f"{entry['version']:>4}  {entry['decision'] or 'not judged'}: {entry['reason'] or 'no reason on record'}")
        typer.echo(f"      {_numbers(entry['scores'])}  lineage {entry['tags'].get('lineage', '-')}, run {entry['run']}")
        if version is not None:
            for tag, value in entry["tags"].items():
                typer.echo(f"      {tag}: {value}")


@app.command()
def promote(
    name: Name,
    version: Annotated[str | None, typer.Option("--version", help="Default: the challenger.")] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="YAML with keys of promotion.policy; default: the version's own.")] = None,
    prepared: Annotated[
        Path | None, typer.Option("--prepared", help="Prepared set of the version's run; a champion of another protocol is scored on it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Whatever the policy says; wants --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why it is forced; kept with the version.")] = "",
) -> None:
    """Judge a version by the policy, and make it champion if it passes; exit status 1 if it does not."""
    from magicapture import registry, stages
    from magicapture.artifacts import read_manifest

    if force and not reason.strip():
        raise registry.RegistryError("--force overrules the policy: say why with --reason, which is kept with the version")
    if prepared is not None:
        read_manifest(prepared, "prepared")
    rules = registry.read_policy(policy) if policy is not None else None
    if force:
        decision = registry.force(name, version, reason)
    else:
        decision = registry.promote_version(name, version, rules, prepared, stages.score_again)
    _tell(decision)
    if not decision.champion:
        raise typer.Exit(1)


@app.command()
def rollback(
    name: Name,
    to: Annotated[str | None, typer.Option("--to", help="An earlier champion; default: the one before.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the version that is taken back.")] = "",
) -> None:
    """Make the champion before this one champion again; the one taken back is not promoted again by the policy."""
    from magicapture import registry

    _tell(registry.rollback(name, to, reason))


def track(folder: Annotated[Path, typer.Argument(help="The promotion folder of a run whose tracking server was down.")]) -> None:
    """Send what a run kept while the tracking server was down."""
    from magicapture import registry

    typer.echo(registry.track(folder))


def _tell(decision: Decision) -> None:
    typer.echo(f"{decision.model} version {decision.version}: {decision.outcome} ({decision.reason})")


def _numbers(scores: dict[str, Any]) -> str:
    return ", ".join(f"{measure} {value:.3f}" for measure, value in scores.items())
