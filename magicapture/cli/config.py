"""The command line of the knobs: ``magicapture config show | explain | diff | docs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from magicapture.cli.arguments import Json, Set

if TYPE_CHECKING:
    from magicapture.config import Config

app = typer.Typer(help="Knobs: what is in force, what each does, what presets differ in.", no_args_is_help=True, rich_markup_mode=None)
WHAT = "a preset, a YAML file, the folder of a run, or of an artifact that keeps all its knobs (tokens, adapter, images)"
Source = Annotated[str, typer.Option("--preset", help=f"{WHAT[0].upper()}{WHAT[1:]}.")]


@app.command()
def show(
    sections: Annotated[list[str] | None, typer.Argument(help="Only these knobs or sections: tuning, tuning.lora.rank.")] = None,
    preset: Source = "mini",
    knobs: Set = None,
    as_json: Json = False,
) -> None:
    """Every knob's value in force, as YAML that --preset reads."""
    from magicapture.mappings import flatten

    values = flatten(_load(preset, knobs).model_dump(mode="json"))
    if sections:
        names = [name for wanted in sections for name in _within(wanted, values)]
        values = {name: values[name] for name in dict.fromkeys(names)}
    typer.echo(json.dumps(values, indent=2) if as_json else _yaml(values), nl=as_json)


@app.command()
def explain(
    names: Annotated[list[str], typer.Argument(metavar="KNOB...", help="Dotted name: tuning.steps; or a section, or an option's name.")],
    preset: Source = "mini",
    knobs: Set = None,
    as_json: Json = False,
) -> None:
    """What a knob does: its value in force, its range, its source, and advice on when to move it."""
    from magicapture import knobs as known
    from magicapture.recipe import value_of

    config, every = _load(preset, knobs), list(known.knobs())
    found = [knob for name in names for knob in [k for k in every if k.name.startswith(f"{name}.")] or [known.find(name)]]
    plain = json.loads(json.dumps([{"value": value_of(config, knob.name), **vars(knob)} for knob in found]))
    if as_json:
        typer.echo(json.dumps(plain if len(plain) > 1 else plain[0], indent=2))
        return
    for knob, entry in zip(found, plain, strict=True):
        typer.echo(f"{knob.name} = {json.dumps(entry['value'])}  (default {json.dumps(entry['default'])})")
        typer.echo(f"  range   {knob.type}{f', {knob.range}' if knob.range else ''}")
        typer.echo(f"  source  {knob.source or 'not stated'}")
        typer.echo(f"  advice  {knob.advice}")


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help=f"{WHAT[0].upper()}{WHAT[1:]}.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    as_json: Json = False,
) -> None:
    """The knobs that differ: value in the first, value in the second."""
    from magicapture.mappings import flatten

    old, new = (flatten(_load(source, None).model_dump(mode="json")) for source in (first, second))
    changed = {name: [old[name], new[name]] for name in old if old[name] != new[name]}
    if as_json:
        typer.echo(json.dumps(changed, indent=2))
        return
    width = max(map(len, changed), default=0)
    for name, (before, after) in changed.items():
        typer.echo(f"{name:<{width}}  {json.dumps(before)} -> {json.dumps(after)}")


@app.command()
def docs(options: Annotated[bool, typer.Option("--options", help="The table of docs/migrate.md instead.")] = False) -> None:
    """docs/configuration.md as Markdown, from the knobs' declarations."""
    from magicapture import knobs
    from magicapture.options import markdown

    typer.echo(markdown() if options else knobs.markdown(), nl=False)


def _load(source: str, sets: list[str] | None) -> Config:
    """The configuration of a preset, a file, a run or an artifact, with overrides. Raises ConfigError, ArtifactError."""
    from magicapture.artifacts import MANIFEST, kind_of, read_manifest
    from magicapture.config import ConfigError, load_config
    from magicapture.recipe import base_of, kept

    folder = Path(source)
    run = kept(folder)
    if run is not None:
        return load_config({**base_of(run), **run.knobs}, sets or ())
    if not (folder / MANIFEST).is_file():
        return load_config(source, sets or ())
    made_with = read_manifest(folder, kind_of(folder)).get("config")
    if not made_with or not isinstance(made_with, dict):
        raise ConfigError(f"{folder / MANIFEST} keeps no knobs; expected {WHAT}")
    config = load_config(made_with, sets or (), partial=True)
    # A single knob that is not there is one that came after the artifact was made, and had no part in it.
    missing = [name for name in config.untold if "." not in name]
    if missing:
        raise ConfigError(f"{folder} keeps only {', '.join(made_with)}, not {', '.join(missing)}; expected {WHAT}")
    return config


def _within(wanted: str, names: dict[str, Any]) -> list[str]:
    from magicapture.knobs import find

    return [name for name in names if name.startswith(f"{wanted}.")] or [find(wanted).name]


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    from magicapture.mappings import assign

    nested: dict[str, Any] = {}
    for name, value in values.items():
        assign(nested, name, value)
    return str(yaml.safe_dump(nested, sort_keys=False, allow_unicode=True))
