"""The command line: ``magicapture train | generate | evaluate | gallery | data | packs | registry | doctor | track``.

Rooms are imported inside the commands: ``magicapture --help`` answers at once, and a command loads only what it uses.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from magicapture import gallery_cli, registry_cli

if TYPE_CHECKING:
    from magicapture.config import Config

app = typer.Typer(
    name="magicapture",
    help="Personalised portraits: photos of a person and images of a look in; ranked, measured portraits and a registered model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
packs = typer.Typer(help="The packs of weights: list, fetch, convert, verify.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(packs, name="packs")
data = typer.Typer(help="Versioned pictures: add those of a subject or a style.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data")
app.add_typer(registry_cli.app, name="registry")
app.command("gallery")(gallery_cli.gallery)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Set a knob, for example tuning.steps=50; repeatable.")]
PLACE = "a folder, or git+URL@REVISION#FOLDER"
Preset = Annotated[str | None, typer.Option("--preset", help="Preset name or YAML file; default: what the artifact was made with.")]


@app.command()
def train(
    photos: Annotated[str, typer.Argument(help=f"Photos of one person, or of a sub-folder for each of several: {PLACE}.")],
    looks: Annotated[str, typer.Argument(help=f"Images of one look, or of a sub-folder for each of several: {PLACE}.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for every artifact of this run.")],
    preset: Annotated[str, typer.Option("--preset", help="Preset name or YAML file.")] = "mini",
    knobs: Set = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", min=0, help="Training seed; repeatable, the judge picks the best.")] = None,
    register: Annotated[bool, typer.Option("--register", help="Register the best as a model version (MLflow).")] = False,
) -> None:
    """From photos to evaluated portraits on this machine. Killed and started again, training goes on where it was."""
    from magicapture import stages
    from magicapture.config import load_config

    config = load_config(preset, knobs or ())
    prepared = stages.preprocess(photos, looks, out / "prepared", config)
    candidates: list[dict[str, Path]] = []
    for number in dict.fromkeys(seed or [0]):
        folder = out / f"seed-{number}"
        checkpoints = folder / "checkpoints"
        tokens = stages.invert(prepared, folder / "tokens", config, number, checkpoints / "inversion")
        adapter = stages.tune(prepared, tokens, folder / "adapter", config, number, checkpoints / "tuning")
        images = stages.generate(adapter, folder / "images", config)
        portraits = stages.postprocess(images, folder / "portraits", config)
        evaluation = stages.evaluate(portraits, prepared, folder / "evaluation", config)
        made = {"tokens": tokens, "adapter": adapter, "images": images, "portraits": portraits, "evaluation": evaluation}
        candidates.append({"prepared": prepared, **made})
        typer.echo(f"seed {number}: {_result(evaluation)}")
    best = max(candidates, key=lambda candidate: _selection(candidate["evaluation"]))
    typer.echo(f"best: {best['adapter']}")
    if register:
        _tell(stages.promote(candidates, out / "promotion", config))


@app.command()
def generate(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder that `train` wrote (seed-N/adapter).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for images/ and portraits/.")],
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="[V1]: the person, or [V1:name]; [V2]: the look; repeatable.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", min=0, help="One picture per prompt and seed; repeatable.")] = None,
    preset: Preset = None,
    knobs: Set = None,
) -> None:
    """Portraits from a trained adapter, upscaled and restored."""
    from magicapture import stages

    config = _config(adapter, "adapter", preset, knobs)
    images = stages.generate(adapter, out / "images", config, prompt, seed)
    typer.echo(f"portraits: {stages.postprocess(images, out / 'portraits', config)}")


@app.command()
def evaluate(
    images: Annotated[Path, typer.Argument(help="A portraits folder (or images folder) that `train` or `generate` wrote.")],
    prepared: Annotated[Path, typer.Argument(help="The prepared folder of the person.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for scores.json and report.html.")],
    preset: Preset = None,
    knobs: Set = None,
) -> None:
    """Score and rank portraits against the person's photos, with a report."""
    from magicapture import stages
    from magicapture.artifacts import MANIFEST

    kind = "images" if (images / MANIFEST).is_file() and _schema(images) == "images" else "portraits"
    evaluation = stages.evaluate(images, prepared, out, _config(images, kind, preset, knobs))
    typer.echo(_result(evaluation))


@app.command()
def track(folder: Annotated[Path, typer.Argument(help="The promotion folder of a run whose tracking server was down.")]) -> None:
    """Send what a run kept while the tracking server was down."""
    from magicapture import registry

    typer.echo(registry.track(folder))


@app.command()
def doctor() -> None:
    """What is installed, which packs, which device, what is missing and what to do about it."""
    from magicapture.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.ok else 'MISS' if finding.needed else '-   '} {finding.what:<{width}}  {finding.found}")
        if finding.remedy:
            typer.echo(f"     {'':<{width}}  -> {finding.remedy}")
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(1)


Name = Annotated[str, typer.Argument(help="Letters, digits, - and _; git keeps it for ever, so best a pseudonym.")]
Pictures = Annotated[list[Path], typer.Argument(help="Pictures, and folders of pictures.")]
GatePreset = Annotated[str, typer.Option("--preset", help="Preset by whose pack and knobs the pictures are judged; for photographs sd15.")]
DataRepository = Annotated[Path, typer.Option("--repository", help="The git repository with DVC that keeps them.")]
Remote = Annotated[str, typer.Option("--remote", help="DVC remote they are pushed to; default: the repository's own default.")]
Extend = Annotated[bool, typer.Option("--extend", help="Put them beside those that are there under this name.")]


@data.command("add-subject")
def data_add_subject(
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


@data.command("add-style")
def data_add_style(
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


@packs.command("list")
def packs_list() -> None:
    """The packs: which are there, their roles and licences, and whether commercial use is allowed."""
    from magicapture.packs import load_pack, pack_names

    for name in pack_names():
        pack = load_pack(name)
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


@packs.command("fetch")
def packs_fetch(
    name: Annotated[str, typer.Argument(help="Pack name, or a folder with a pack.yaml.")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder; default: the user's pack folder (MAGICAPTURE_PACKS).")] = None,
) -> None:
    """Fetch a pack's files from the model hub. Cut off and started again, it goes on where it was."""
    from magicapture.packs.fetch import fetch

    pack = fetch(name, to, typer.echo)
    for role, entry in sorted(pack.roles.items()):
        if not entry.commercial:
            typer.echo(f"NOT for commercial use: {role} ({entry.licence})")
    typer.echo(f"fetched: {pack.folder}" + (f"; use it with --set pack={pack.folder}" if to else ""))


@packs.command("convert")
def packs_convert(
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


@packs.command("verify")
def packs_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Pack names or folders; default: all that are there.")] = None,
) -> None:
    """Check every weight file's sha256; exit status 1 if one is missing or altered."""
    from magicapture.packs import load_pack, pack_names

    bad: dict[str, None] = {}
    for pack in map(load_pack, names or pack_names()):
        if not names and len(pack.missing()) == len(pack.roles) and not pack.embedded:
            typer.echo(f"{pack.name}  not fetched")
            continue
        for role, state in pack.verify().items():
            typer.echo(f"{pack.name}  {role:<17} {state}")
            if state != "ok":
                bad[f"{role}: {pack.remedy(role)}"] = None
    for remedy in bad:
        typer.echo(remedy, err=True)
    if bad:
        raise typer.Exit(1)


def main() -> None:
    """Entry point: errors a person can act on are one line on stderr and exit status 2; others keep their traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("magicapture").setLevel(logging.INFO)
    try:
        app()
    except Exception as error:
        if not type(error).__module__.startswith("magicapture."):
            raise
        typer.echo(f"magicapture: {error}", err=True)
        sys.exit(2)


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
    typer.echo(f"{added.folder}: {len(added.kept)} pictures added, {len(added.set_aside)} set aside. To publish them, in {added.root}:")
    for command in added.commands:
        typer.echo(f"  {command}")


def _config(folder: Path, kind: str, preset: str | None, knobs: list[str] | None) -> Config:
    """The preset's knobs, or those an artifact was made with; overrides on top."""
    from magicapture.artifacts import read_manifest
    from magicapture.config import load_config

    made_with: dict[str, Any] = read_manifest(folder, kind)["config"]
    return load_config(preset or made_with, knobs or ())


def _schema(folder: Path) -> str:
    from magicapture.artifacts import MANIFEST

    return str(json.loads((folder / MANIFEST).read_text()).get("schema", "")).partition("/")[0]


def _selection(evaluation: Path) -> float:
    """The ranking's score; lowest of all where the judge found no face."""
    from magicapture.artifacts import read_manifest

    selection = read_manifest(evaluation, "evaluation")["content"]["selection"]
    return float("-inf") if selection is None else float(selection)


def _result(evaluation: Path) -> str:
    selection = _selection(evaluation)
    text = f"selection {selection:.4f}" if selection > float("-inf") else "no portrait has a face that the judge can find"
    return f"{text}, report {evaluation / 'report.html'}"


def _tell(promotion: Path) -> None:
    from magicapture.artifacts import read_manifest

    content = read_manifest(promotion, "promotion")["content"]
    typer.echo(f"{content['model']} version {content['version']}, {content['outcome'] or 'not registered'} ({content['reason']})")
