"""The command line of adapters: ``magicapture adapter export | import | info | scale | merge | resize | convert``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from magicapture.cli.arguments import Json, Set

if TYPE_CHECKING:
    from magicapture.adapters.base import Base

app = typer.Typer(help="Adapters: to and from other tools' files, and arithmetic on them.", no_args_is_help=True, rich_markup_mode=None)
Adapter = Annotated[Path, typer.Argument(help="An adapter folder: what `train` wrote (seed-N/adapter), or a command here.")]
Out = Annotated[Path, typer.Option("--out", help="A new folder; one that an earlier call wrote is replaced.")]
PackOption = Annotated[str | None, typer.Option("--pack", help="Pack of the base; default: the published base of those sizes.")]


@app.command("export")
def export_(
    adapter: Adapter,
    out: Out,
    to: Annotated[
        Literal["diffusers", "kohya", "pipeline"],
        typer.Option("--to", help="kohya: AUTOMATIC1111 and ComfyUI too; pipeline: a whole diffusers model, the adapter merged in."),
    ],
    name: Annotated[str, typer.Option("--name", help="Of files, and of the words that stand for the tokens there.")] = "magicapture",
    unet_scale: Annotated[float | None, typer.Option("--unet-scale", help="Strength in the UNet; default: generation.unet_scale.")] = None,
    text_scale: Annotated[float | None, typer.Option("--text-scale", help="In the text encoder; default: generation.text_scale.")] = None,
    evaluation: Annotated[Path | None, typer.Option("--evaluation", help="For the card: scores and pictures; default: the run's.")] = None,
    prepared: Annotated[Path | None, typer.Option("--prepared", help="Prepared folder: its hash; default: as the adapter says.")] = None,
) -> None:
    """Write the adapter as other tools load it, with a model card (README.md) that says how."""
    from magicapture.adapters.export import export

    scales = {"unet_scale": unet_scale, "text_scale": text_scale}
    export(adapter, out, to, name, **scales, evaluation=evaluation, prepared=prepared)
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.parent.name != "pictures"):
        typer.echo(f"{path}  {path.stat().st_size:,} bytes")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A LoRA file of diffusers or kohya, or a folder that `export --to diffusers` wrote.")],
    out: Out,
    embedding: Annotated[
        list[str] | None,
        typer.Option("--embedding", metavar="[TOKEN=]FILE", help="A learnt token, as '[V1]=anna.safetensors'; repeatable."),
    ] = None,
    without_tokens: Annotated[bool, typer.Option("--without-tokens", help="It was trained on words alone.")] = False,
    preset: Annotated[str, typer.Option("--preset", help="Preset or YAML file whose pack is the base it was trained on.")] = "mini",
    knobs: Set = None,
) -> None:
    """Make an adapter folder of another tool's files; what is not understood is listed and refused."""
    from magicapture.adapters.operations import import_lora
    from magicapture.config import load_config

    pairs = [_embedding(text) for text in embedding or ()]
    import_lora(source, out, load_config(preset, knobs or ()), pairs, without_tokens=without_tokens)
    _tell(out)


@app.command()
def info(
    place: Annotated[Path, typer.Argument(help="An adapter folder, or a LoRA file of diffusers or kohya.")],
    pack: PackOption = None,
    as_json: Json = False,
) -> None:
    """Base, rank, alpha, tokens, steps, hash and size."""
    from magicapture.adapters.operations import describe

    found = describe(place, _base(pack))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        if value not in (None, [], {}):
            typer.echo(f"{name:<12} {_text(value)}")


@app.command()
def scale(
    adapter: Adapter,
    out: Out,
    unet: Annotated[float, typer.Option("--unet", help="Factor on the LoRA of the UNet.")] = 1.0,
    text: Annotated[float, typer.Option("--text", help="Factor on the LoRA of the text encoders.")] = 1.0,
) -> None:
    """Make an adapter weaker or stronger for good; the scales that it is generated with still apply on top."""
    from magicapture.adapters import operations

    operations.scale(adapter, out, unet, text)
    _tell(out)


@app.command()
def merge(
    adapters: Annotated[list[Path], typer.Argument(help="Two or more adapter folders of one base.")],
    out: Out,
    weight: Annotated[
        list[float] | None, typer.Option("--weight", help="One for each adapter, in order; default: equal, in sum 1.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="One for each adapter: its [V1] becomes [V1:NAME]; where both know [V1].")
    ] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", min=1, help="Cut down to this rank by SVD; default: exact, the sum of ranks.")
    ] = None,
) -> None:
    """The weighted sum of several adapters."""
    from magicapture.adapters import operations

    kept = operations.merge(adapters, out, weight or (), name or (), rank)
    _tell(out, kept)


@app.command()
def resize(
    adapter: Adapter,
    out: Out,
    rank: Annotated[int | None, typer.Option("--rank", min=1, help="The new rank.")] = None,
    keep: Annotated[
        float | None, typer.Option("--keep", help="Or: the share of the energy to keep, such as 0.95; least rank that does.")
    ] = None,
) -> None:
    """Change the rank by SVD; says how much of the energy (sum of squared singular values) is kept."""
    from magicapture.adapters import operations

    _tell(out, operations.resize(adapter, out, rank, keep))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN.safetensors", help="A LoRA file of diffusers or kohya.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The same in the other's form.")],
    pack: PackOption = None,
) -> None:
    """A LoRA file from diffusers' form to kohya's, or back. (Embedding files need none: all read the same.)"""
    from magicapture.adapters.formats import convert as convert_file

    form, base, layers = convert_file(source, target, _base(pack))
    typer.echo(f"{target}: {form}, {layers} layers, {base.family}, {target.stat().st_size:,} bytes")


def _embedding(text: str) -> tuple[str, Path]:
    """Token, "" where none is named, and file. A token has no "=", a path may: what is a file as a whole names no token."""
    token, sign, file = text.partition("=")
    return (token, Path(file)) if sign and not Path(text).is_file() else ("", Path(text))


def _base(pack: str | None) -> Base | None:
    from magicapture.adapters.base import of_pack
    from magicapture.packs import load_pack

    return None if pack is None else of_pack(load_pack(pack))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items() if each is not None)
    return ", ".join(map(_text, value)) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else str(value)


def _tell(out: Path, kept: tuple[int, float, float] | None = None) -> None:
    from magicapture.artifacts import read_manifest

    lora = read_manifest(out, "adapter")["content"]["lora"]
    energy = f"; {kept[1]:.2%} of the energy kept, {kept[2]:.2%} in the layer that lost most" if kept and kept[1] < 1 - 1e-9 else ""
    typer.echo(f"{out}: rank {lora['rank']}, alpha {lora['alpha']:g}{energy}")
