"""Adapter folders from adapter folders and from other programs' files: import, scale, merge, resize; and what a folder or file holds.

All write an ``adapter/1`` artifact that `magicapture generate` takes; its content says what it was made from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from magicapture.adapters import algebra
from magicapture.adapters.base import Base, of_pack
from magicapture.adapters.files import (
    LORA_FILE,
    TOKENS_FILE,
    WEIGHTS_FILE,
    AdapterError,
    Stored,
    inversion_steps,
    read,
    stacked,
    tensor_hash,
    write,
)
from magicapture.adapters.formats import read_embedding, read_lora, read_tensors
from magicapture.adapters.layers import Layer, layers_of, stored_of, tokens_of
from magicapture.artifacts import MANIFEST, ArtifactError, Draft, check_out, lineage_key, read_manifest, subjects_of, writing
from magicapture.config import Config
from magicapture.faces.concepts import NAME
from magicapture.packs import Pack, PackError, load_pack

_PLAIN = re.compile(r"^\[(V\d+)\]")
_KEPT = ("pack", "pack_digest", "diffusion_digest", "trainable", "descriptions", "seed", "inversion_steps", "best_step", "last_step")


def import_lora(
    source: str | Path, out: str | Path, config: Config, embeddings: Sequence[tuple[str, Path]] = (), *, without_tokens: bool = False
) -> Path:
    """A LoRA file of diffusers or kohya, and embedding files, as an adapter of ``config.pack``; writes ``out`` and returns it.

    ``source``: a file, or a folder with ``pytorch_lora_weights.safetensors`` (and ``learned_embeds.safetensors`` in folders of their own,
    as `magicapture adapter export` writes them). ``embeddings``: (token or "", file). ``without_tokens``: it was trained on words alone.
    Raises AdapterError, naming every key that is not understood, for files of another base, and where tokens are missing.
    """
    source, pack = Path(source), load_pack(config.pack)
    file = source / LORA_FILE if source.is_dir() else source
    base = of_pack(pack)
    layers, form, _ = read_lora(file, base)
    files = [*embeddings, *((_token_of(each), each) for each in sorted(source.glob("*/learned_embeds.safetensors")) if not embeddings)]
    tokens: dict[str, Tensor] = {}
    for token, each in files:
        found = read_embedding(each, token)
        twice = sorted(tokens.keys() & found.keys())
        if twice:
            raise AdapterError(f"{each}: {twice[0]} was given already; give each token once, as --embedding 'TOKEN={each}'")
        tokens |= found
    if not tokens and not without_tokens:
        raise AdapterError(
            f"{file}: the tokens it was trained with are missing; give their files "
            "(--embedding '[V1]=FILE'), or say that it was trained on words alone (--without-tokens)"
        )
    base.check_tokens(tokens)
    stored = stored_of(layers, tokens)
    content: dict[str, Any] = {
        "pack": pack.name, "pack_digest": pack.digest(), "diffusion_digest": pack.digest("diffusion"), "recogniser": None,
        "trainable": "lora", "descriptions": {}, "seed": None, "scores": [],
        "made_from": [{"file": file.name, "format": form}],
    }  # fmt: skip
    return _write(out, stored, config.model_dump(mode="json"), content, f"import {form}")


def scale(adapter: str | Path, out: str | Path, unet: float, text: float) -> Path:
    """The adapter with its LoRA made stronger or weaker for good, of UNet and text encoders apart; tokens stay."""
    stored, manifest = open_adapter(adapter)
    layers = algebra.scaled(_layers(adapter, stored), unet, text)
    return _derive(out, [manifest], [stored], layers, tokens_of(stored), f"scale unet {unet:g} text {text:g}")


def resize(adapter: str | Path, out: str | Path, rank: int | None = None, keep: float | None = None) -> algebra.Kept:
    """The adapter at another rank: the one given, or the least that keeps a share of the energy (``algebra.resized``); what was kept."""
    stored, manifest = open_adapter(adapter)
    try:
        layers, kept = algebra.resized(_layers(adapter, stored), rank, keep)
    except ValueError as error:
        raise AdapterError(str(error)) from None
    _derive(out, [manifest], [stored], layers, tokens_of(stored), f"resize rank {kept.rank}, {kept.share:.4f} of the energy")
    return kept


def merge(
    adapters: Sequence[str | Path],
    out: str | Path,
    weights: Sequence[float] = (),
    names: Sequence[str] = (),
    rank: int | None = None,
) -> algebra.Kept:
    """The weighted sum of adapters of one base: exact, its rank the sum of theirs, or the nearest of rank ``rank``. What was kept.

    ``weights``: one each, default 1/n. ``names``: what each adapter's tokens are called from now on, "anna": [V1] becomes [V1:anna];
    needed where adapters know a token by the same name but not by the same vector. Raises AdapterError.
    """
    if len(adapters) < 2:
        raise AdapterError(f"merge: {len(adapters)} adapter given; expected two or more")
    for what, given in (("--weight", weights), ("--name", names)):
        if given and len(given) != len(adapters):
            raise AdapterError(f"merge: {len(given)} x {what} for {len(adapters)} adapters; expected one each, or none")
    bad = [name for name in names if not NAME.fullmatch(name)]
    if bad or len(set(names)) < len(names):
        raise AdapterError(f"merge: names {', '.join(names)}; expected a different one each, of letters, digits, - and _")
    opened = [open_adapter(adapter) for adapter in adapters]
    if len({_base_digest(manifest) for _, manifest in opened}) > 1:
        of = ", ".join(f"{adapter}: pack {m['content']['pack']} {m['content']['pack_digest']}" for adapter, (_, m) in zip(adapters, opened))
        raise AdapterError(f"merge: adapters of different bases cannot be summed ({of}); train them on one")
    tokens: dict[str, Tensor] = {}
    for number, (adapter, (stored, _)) in enumerate(zip(adapters, opened)):
        for name, vector in tokens_of(stored).items():
            name = _PLAIN.sub(rf"[\1:{names[number]}]", name) if names else name
            if name in tokens and not tokens[name].equal(vector):
                raise AdapterError(
                    f"merge: {adapter} knows {name} by another vector than those before it; give each a name (--name anna --name ben): "
                    "[V1] becomes [V1:anna] and [V1:ben]"
                )
            tokens[name] = vector
    shares = list(weights) or [1 / len(adapters)] * len(adapters)
    parts = [(share, _layers(adapter, stored)) for share, adapter, (stored, _) in zip(shares, adapters, opened)]
    layers = algebra.merged(parts)
    kept = algebra.Kept(max(layer.rank for layer in layers.values()), 1.0, 1.0)
    if rank is not None:
        layers, kept = algebra.resized(layers, rank)
    how = f"merge by {', '.join(f'{share:g}' for share in shares)}" + ("" if rank is None else f", rank {rank}")
    _derive(out, [manifest for _, manifest in opened], [stored for stored, _ in opened], layers, tokens, how, names)
    return kept


def describe(place: str | Path, base: Base | None = None) -> dict[str, Any]:
    """What an adapter folder, or a LoRA file of another program, holds: for people and programs. Raises AdapterError, ArtifactError."""
    place = Path(place)
    if place.is_dir():
        stored, manifest = open_adapter(place)
        content, config = manifest["content"], manifest["config"]
        layers, tokens, form, header = layers_of(stored), tokens_of(stored), "adapter", dict[str, str]()
        files = [place / name for name in (LORA_FILE, WEIGHTS_FILE, TOKENS_FILE) if (place / name).is_file()]
        known: dict[str, Any] = {
            "pack": content["pack"], "pack_digest": content["pack_digest"], "trainable": content.get("trainable", "lora"),
            "steps": None if content.get("best_step") is None else {  # of what was imported, nobody knows
                "inversion": inversion_steps(manifest), "tuning": content["best_step"]}, "seed": content.get("seed"),
            "lineage": manifest["lineage"], "made_from": content.get("made_from", []), "scales": {
                "unet": config["generation"]["unet_scale"], "text": config["generation"]["text_scale"]},
        }  # fmt: skip
        digest = tensor_hash(stored.tensors)
        base = base or base_of(manifest)
    else:
        layers, form, base = read_lora(place, base)
        tokens, files, known = {}, [place], {}
        _, header = read_tensors(place)
        digest = tensor_hash(stored_of(layers, {}).tensors)
    ranks = sorted({layer.rank for layer in layers.values()})
    alphas = sorted({layer.alpha for layer in layers.values()})
    return {
        "format": form, "base": base.family if base else None, **known, "rank": ranks[0] if len(ranks) == 1 else ranks or None,
        "alpha": alphas[0] if len(alphas) == 1 else alphas or None,
        "layers": {network: sum(name.startswith(f"{network}.") for name in layers)
                   for network in ("unet", "text_encoder", "text_encoder_2") if any(name.startswith(f"{network}.") for name in layers)},
        "tokens": {token: len(next(iter(vectors.values()))) for token, vectors in stacked(tokens).items()},
        "hash": digest, "bytes": sum(file.stat().st_size for file in files), "files": [file.name for file in files], "header": header,
    }  # fmt: skip


def open_adapter(folder: str | Path) -> tuple[Stored, dict[str, Any]]:
    """An ``adapter/1`` folder's tensors and manifest, its hashes checked. Raises AdapterError, ArtifactError."""
    manifest = read_manifest(folder, "adapter", verify=True)
    return read(folder), manifest


def pack_of(manifest: Mapping[str, Any], folder: str | Path) -> Pack:
    """The pack that an adapter was trained on; raises PackError where there is none, AdapterError where it is another by now."""
    pack, content = load_pack(manifest["config"]["pack"]), manifest["content"]
    if not pack.fits(content):
        raise AdapterError(
            f"{folder} was trained on pack {content['pack']!r} (digest {content['pack_digest']}); the one at hand has digest "
            f"{pack.digest()}: an adapter fits only the weights it was trained on; fetch that pack, or train again"
        )
    return pack


def base_of(manifest: Mapping[str, Any]) -> Base | None:
    """The base of an adapter; None where its pack is not at hand."""
    try:
        return of_pack(load_pack(manifest["config"]["pack"]))
    except ValueError:
        return None


def _base_digest(manifest: Mapping[str, Any]) -> str:
    """What tells an adapter's base from others; of one without ``diffusion_digest`` its pack says it, where that is at hand."""
    content = manifest["content"]
    if content.get("diffusion_digest"):
        return str(content["diffusion_digest"])
    try:
        pack = load_pack(manifest["config"]["pack"])
    except PackError:
        return str(content["pack_digest"])
    return pack.digest("diffusion") if pack.fits(content) else str(content["pack_digest"])


@contextmanager
def new_artifact(
    out: str | Path, schema: str, lineage: str, config: Mapping[str, Any], subjects: Mapping[str, Sequence[str]] | None
) -> Iterator[Draft]:
    """``artifacts.writing`` where there is nothing yet, or what an earlier call wrote; never in the place of other files or a training.

    Raises AdapterError for another ``out``, and for one that cannot be written.
    """
    out, kind = Path(out), schema.partition("/")[0]
    try:
        check_out(out, kind)
    except ArtifactError:
        raise AdapterError(f"{out} exists and is no {kind} of MagiCapture; it is left as it is: name a new folder") from None
    # A trained one's curves, samples and last step would be gone for good.
    if kind == "adapter" and (out / MANIFEST).is_file() and "made_from" not in read_manifest(out, kind)["content"]:
        raise AdapterError(f"{out} is a trained adapter, not one that this command wrote; it is left as it is: name a new folder")
    if out.is_symlink():
        raise AdapterError(f"{out} is a link; name a new folder")
    try:
        with writing(out, schema, lineage=lineage, config=config, subjects=subjects) as draft:
            yield draft
    except OSError as error:
        where = error.filename or out
        if out.absolute().parent not in Path(str(where)).absolute().parents:  # of something that was read; a full disk names no file
            raise
        raise AdapterError(f"cannot write {out}: {error.strerror or error} ({where}); choose a folder that can be written") from None


def _token_of(file: Path) -> str:
    """The token of an embedding in an export's folder: XL's files do not name it, the folder does; "" where the file does."""
    tensors, _ = read_tensors(file)
    return f"[{file.parent.name.replace('-', ':', 1)}]" if set(tensors) == {"clip_l", "clip_g"} else ""


def _layers(adapter: str | Path, stored: Stored) -> dict[str, Layer]:
    layers = layers_of(stored)
    if not layers:
        raise AdapterError(
            f"{adapter} holds no LoRA but a model's own weights, or tokens alone; only LoRA can be scaled, merged and resized"
        )
    return layers


def _derive(
    out: str | Path,
    manifests: Sequence[Mapping[str, Any]],
    sources: Sequence[Stored],
    layers: Mapping[str, Layer],
    tokens: Mapping[str, Tensor],
    how: str,
    names: Sequence[str] = (),
) -> Path:
    """An adapter made of others: it keeps what the first says of its base and training; under ``names`` what each says of its pictures."""
    first = manifests[0]["content"]
    kept = {name: first.get(name) for name in _KEPT}
    contents = [manifest["content"] for manifest in manifests]
    every = [each for own in contents for each in own.get("recognisers") or [own.get("recogniser")] if each]
    recognisers = [each for i, each in enumerate(every) if each not in every[:i]]
    if names:
        kept["descriptions"] = _named_descriptions(names, manifests)
    content = {
        **kept, "recogniser": recognisers[0] if recognisers else None, "scores": [],
        **({"recognisers": recognisers} if len(recognisers) > 1 else {}),  # none of them may judge
        "operation": how,
        "made_from": [{"hash": tensor_hash(each.tensors), "lineage": manifest["lineage"]} for each, manifest in zip(sources, manifests)],
    }  # fmt: skip
    return _write(out, stored_of(layers, tokens), manifests[0]["config"], content, how, subjects_of(*manifests))


def _named_descriptions(names: Sequence[str], manifests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """ "source" of one person -> "source:anna"; of several people, whom ``merge`` leaves their names, as it is."""
    found: dict[str, Any] = {}
    for name, manifest in zip(names, manifests, strict=True):
        for key, text in (manifest["content"].get("descriptions") or {}).items():
            found[key if ":" in key else f"{key}:{name}"] = text
    return found


def _write(
    out: str | Path,
    stored: Stored,
    config: Mapping[str, Any],
    content: Mapping[str, Any],
    how: str,
    subjects: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    digest = tensor_hash(stored.tensors)
    lineage = lineage_key(how, digest, json.dumps(content["made_from"]))
    with new_artifact(out, "adapter/1", lineage, config, subjects) as draft:
        write(draft.path, stored)
        draft.content = {**content, "lora": {"rank": stored.rank, "alpha": stored.alpha}, "best_hash": digest, "last_hash": digest}
    return Path(out)
