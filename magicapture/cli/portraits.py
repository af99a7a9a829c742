"""The commands that make portraits: ``magicapture train | generate | evaluate``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from magicapture import exits, options
from magicapture.cli.arguments import PLACE, Set
from magicapture.cli.named import takes

if TYPE_CHECKING:
    from magicapture.config import Config
    from magicapture.recipe import Run

Preset = Annotated[str | None, typer.Option("--preset", help="Preset name or YAML file; default: what the artifact was made with.")]


@takes(options.TRAIN)
def train(
    given: dict[str, Any],
    photos: Annotated[str | None, typer.Argument(help=f"Photos of one person, or of a sub-folder for each of several: {PLACE}.")] = None,
    looks: Annotated[str | None, typer.Argument(help=f"Images of one look, or of a sub-folder for each of several: {PLACE}.")] = None,
    photos_named: Annotated[str | None, typer.Option("--photos", "--instance-data-dir", help="The same as the argument.")] = None,
    looks_named: Annotated[str | None, typer.Option("--looks", "--style-data-dir", help="The same as the argument.")] = None,
    into: Annotated[str | None, typer.Option("--out", "--output-dir", help="Folder for every artifact of this run.")] = None,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="YAML with photos, looks, out, preset, seeds, register, knobs.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Preset name or YAML file; default: mini.")] = None,
    knobs: Set = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="Training seed; repeatable: the best is kept (search.seeds).")
    ] = None,
    search_seeds: Annotated[
        int | None, typer.Option("--search-seeds", min=1, help="Try so many seeds from 0 on; weak ones are stopped early.")
    ] = None,
    register: Annotated[bool, typer.Option("--register", help="Register the best as a model version (MLflow).")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, as it was begun; refused where none is.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and what it needs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: JSON, for programs.")] = False,
) -> None:
    """From photos to evaluated portraits on this machine. Killed and started again, training goes on where it was.

    The named options have the original code's names, with - or _; what each sets: docs/migrate.md.
    """
    from magicapture import recipe as recipes
    from magicapture import search, stages
    from magicapture.estimate import obstacles

    for note in options.notes(options.TRAIN, given):
        typer.echo(f"note: {note}", err=True)
    arguments, named = {"photos": photos, "looks": looks}, {"photos": photos_named, "looks": looks_named}
    told = recipes.from_command_line(arguments, named, out=into, preset=preset, seeds=dict.fromkeys(seed or []), register=register)
    if search_seeds is not None and seed:
        raise options.OptionsError(f"--search-seeds {search_seeds} and --seed {seed[0]}: give how many seeds, or which, not both")
    sets = [*(knobs or ()), *([f"search.seeds={search_seeds}"] if search_seeds is not None else ())]
    run = recipes.plan(recipe, told, given, sets, resume=resume)
    search.candidates(run.config)  # what cannot be searched is refused before anything runs
    if as_json and not dry_run:
        raise options.OptionsError("--json is of --dry-run: a training prints where its artifacts lie")
    if dry_run:
        _tell_plan(run, as_json)
        return
    stops = obstacles(run.config, run.photos, run.looks, run.out)
    if stops:
        raise recipes.RecipeError("; ".join(stops))
    for line in run.begin():
        typer.echo(line, err=True)
    with exits.stoppable(f"To go on: {recipes.resume_command(run.out)}"):
        config, out = run.config, run.out
        prepared = stages.preprocess(run.photos, run.looks, out / "prepared", config)
        found = search.run(prepared, out, config)
        config = found.config
        for line in found.lines():
            typer.echo(line)
        images = stages.generate(found.adapter, found.folder / "images", config)
        portraits = stages.postprocess(images, found.folder / "portraits", config)
        evaluation = stages.evaluate(portraits, prepared, found.folder / "evaluation", config)
        from magicapture.adapters.export import beside

        typer.echo(f"seed {found.seed}: {_result(evaluation)}, model card {beside(found.adapter)}")
        typer.echo(f"best: {found.adapter}")
        if run.register:
            made = {"tokens": found.tokens, "adapter": found.adapter, "images": images, "portraits": portraits, "evaluation": evaluation}
            _tell(stages.promote([{"prepared": prepared, **made}], out / "promotion", config))


@takes(options.GENERATE)
def generate(
    given: dict[str, Any],
    adapter: Annotated[Path | None, typer.Argument(help="An adapter folder that `train` wrote (seed-N/adapter).")] = None,
    adapter_named: Annotated[Path | None, typer.Option("--adapter", "--lora-path", help="The same as the argument.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "--output-folder-prefix", help="Folder for images/ and portraits/; needed.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="[V1]: the person, or [V1:name]; [V2]: the look; repeatable.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", min=0, help="One picture per prompt and seed; repeatable.")] = None,
    count: Annotated[
        int | None, typer.Option("--count", "--of", min=1, help="So many pictures per prompt: seeds from the first --seed on.")
    ] = None,
    best: Annotated[
        int | None,
        typer.Option("--best", min=1, help="Keep so many of each prompt, the best with one face; scores in evaluation/, all in drawn/."),
    ] = None,
    prepared: Annotated[Path | None, typer.Option("--prepared", help="For --best: the prepared folder; default: that of the run.")] = None,
    post: Annotated[bool, typer.Option("--postprocess/--no-postprocess", help="Upscale and restore; denied: images/ alone.")] = True,
    preset: Preset = None,
    knobs: Set = None,
) -> None:
    """Portraits from a trained adapter, upscaled and restored."""
    from magicapture import search, stages

    folder = options.one("the adapter", adapter, adapter_named)
    if folder is None or out is None:
        raise options.OptionsError("expected an adapter folder and --out FOLDER")
    if not post:
        options.refuse(options.GENERATE, given, ("upscale", "restore", "fidelity"), "--no-postprocess")
    overrides = options.overrides(options.GENERATE, given, knobs or ())
    config = _config(folder, "adapter", preset, overrides)
    seeds = options.seeds(seed or [], count, config.generation.seeds)
    again = f"Folders that were finished stay in {out}; the same command makes them anew"
    if best is not None:
        if not post:
            raise options.OptionsError("--best finishes the portraits that it keeps; leave --no-postprocess out")
        photos = prepared or folder.resolve().parent.parent / "prepared"  # where `train` puts it
        with exits.stoppable(again):
            typer.echo(f"portraits: {search.best_of(folder, photos, out, config, best, prompt, seeds)}")
        typer.echo(f"report {out / 'evaluation' / 'report.html'}")
        return
    if prepared is not None:
        raise options.OptionsError("--prepared is what --best scores against; give --best too, or leave --prepared out")
    with exits.stoppable(again):
        images = stages.generate(folder, out / "images", config, prompt, seeds)
        typer.echo(f"portraits: {stages.postprocess(images, out / 'portraits', config)}" if post else f"images: {images}")


def evaluate(
    images: Annotated[Path, typer.Argument(help="A portraits folder (or images folder) that `train` or `generate` wrote.")],
    prepared: Annotated[Path, typer.Argument(help="The prepared folder of the person.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for scores.json and report.html.")],
    preset: Preset = None,
    knobs: Set = None,
) -> None:
    """Score and rank portraits against the person's photos, with a report."""
    from magicapture import stages
    from magicapture.artifacts import kind_of

    kind = "images" if kind_of(images) == "images" else "portraits"
    with exits.stoppable(f"Nothing was written to {out}; the same command begins anew"):
        evaluation = stages.evaluate(images, prepared, out, _config(images, kind, preset, knobs))
    typer.echo(_result(evaluation))


def _config(folder: Path, kind: str, preset: str | None, knobs: list[str] | None) -> Config:
    """The preset's knobs, or those an artifact was made with; overrides on top. Says which of those that the command reads nobody told."""
    from magicapture.artifacts import read_manifest
    from magicapture.config import load_config

    made_with: dict[str, Any] = read_manifest(folder, kind)["config"]
    if preset:
        return load_config(preset, knobs or ())
    config = load_config(made_with, knobs or (), partial=True)
    read = ("generation", "postprocessing", "evaluation") if kind == "adapter" else ("evaluation",)
    unknown = [name for name in config.untold if name.partition(".")[0] in read]
    if unknown:
        typer.echo(f"note: {folder} does not say {', '.join(unknown)}: as by default; --preset names what it was made with", err=True)
    return config


def _result(evaluation: Path) -> str:
    from magicapture.evaluation.gallery import selection_of

    selection = selection_of(evaluation)
    text = f"selection {selection:.4f}" if selection > float("-inf") else "no portrait has a face that the judge can find"
    return f"{text}, report {evaluation / 'report.html'}"


def _tell_plan(run: Run, as_json: bool) -> None:
    """``--dry-run``: what would be done, what it needs, and what stands in its way (exit status 2)."""
    from magicapture.data import local
    from magicapture.estimate import estimate, obstacles
    from magicapture.references.decode import scan_concepts
    from magicapture.references.errors import ReferencesError

    stops = obstacles(run.config, run.photos, run.looks, run.out)
    counts = []
    for place, what in ((run.photos, "photos"), (run.looks, "looks")):
        try:
            with local(place) as folder:
                counts.append([len(found) for found in scan_concepts(folder, what).values()])
        except ReferencesError:  # one of the obstacles
            counts.append([0])
    plan = estimate(run.config, sum(map(sum, counts)), len(counts[0]) * len(counts[1]))
    if as_json:
        told = {"photos": run.photos, "looks": run.looks, "out": str(run.out), "seeds": run.seeds, "register": run.register}
        typer.echo(json.dumps({**told, **asdict(plan), "obstacles": stops}, indent=2))
        raise typer.Exit(exits.UNUSABLE if stops else 0)
    typer.echo(f"would train on {run.photos} (person) and {run.looks} (look) into {run.out}, seeds {', '.join(map(str, run.seeds))}")
    for work in plan.stages:
        time = "" if work.seconds is None else f"{work.seconds:.0f} s"
        typer.echo(f"  {work.stage:<15}{time:>7}  {work.does} -> {run.out / work.files}")
    if plan.times != 1:
        typer.echo(f"search: {plan.times:.2f} times the training steps of one run")
    if plan.seconds is not None:
        unit = "min of one core" if plan.unit.startswith("CPU") else "min"
        typer.echo(f"together {plan.seconds / 60:.1f} {unit}, {plan.memory:.1f} GB of memory")
    typer.echo(f"estimate: {plan.how}")
    for stop in stops:
        typer.echo(f"cannot start: {stop}", err=True)
    if stops:
        raise typer.Exit(exits.UNUSABLE)


def _tell(promotion: Path) -> None:
    from magicapture.artifacts import read_manifest

    content = read_manifest(promotion, "promotion")["content"]
    typer.echo(f"{content['model']} version {content['version']}, {content['outcome'] or 'not registered'} ({content['reason']})")
