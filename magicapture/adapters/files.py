"""Adapters on disk, in the formats of stock diffusers; hashes of their tensors."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from magicapture.adapters import lora, weights
from magicapture.artifacts import write_bytes
from magicapture.backbones import Backbone
from magicapture.backbones.tokens import parts_of

LORA_FILE = "pytorch_lora_weights.safetensors"
TOKENS_FILE = "tokens.safetensors"
WEIGHTS_FILE = "weights.safetensors"  # in place of LoRA: the model's own weights that were trained, none where only tokens were
METADATA = "lora_adapter_metadata"  # the entry of a file's header that diffusers reads
_PLAIN = {"bias": "none", "use_rslora": False, "use_dora": False}  # the peft settings that are not ours to choose


_SUFFIX, _PART = re.compile(r"\.clip_[lg]$"), re.compile(r"_\d+$")


class AdapterError(ValueError):
    """Adapter files that cannot be used: names the file, what is wrong, what to do."""


class Stored(NamedTuple):
    """An adapter as it lies on disk."""

    #: LoRA weights ("unet.<layer>.lora_A.weight", ...) or own weights ("unet.<layer>.weight", ...), and token vectors ("[V1]"; with
    #: two text encoders "[V1].clip_l" and "[V1].clip_g"), as ``tensors`` names them.
    tensors: dict[str, Tensor]
    rank: int  # 0: no LoRA
    alpha: float


def tensor_hash(mapping: Mapping[str, Tensor]) -> str:
    """Hex sha256 over sorted names, dtypes, shapes and bytes: equal tensors, equal hash, whatever the file around them."""
    digest = hashlib.sha256()
    for name in sorted(mapping):
        tensor = mapping[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def tensors(backbone: Backbone) -> dict[str, Tensor]:
    """Everything learnt, named as on disk: LoRA or own weights and, by their own names, token vectors. Fresh fp32 copies on the CPU."""
    found = dict(_weights(backbone)) | weights.changed(backbone)
    found.update(backbone.tokens.vectors.items())
    return {name: parameter.detach().cpu().clone() for name, parameter in found.items()}


def restore(backbone: Backbone, mapping: Mapping[str, Tensor]) -> None:
    """Copy what ``tensors`` gave into the attached adapter (in place, same parameters) and its tokens.

    Raises AdapterError unless the weights' names and shapes are exactly those of the backbone's adapter.
    """
    targets = dict(_weights(backbone)) | weights.changed(backbone)
    given = {name: tensor for name, tensor in mapping.items() if of_network(name)}
    strange = sorted(set(given) ^ set(targets)) or [name for name, target in targets.items() if target.shape != given[name].shape]
    if strange:
        raise AdapterError(
            f"adapter does not fit this model: {len(strange)} tensors differ, the first is {strange[0]}; "
            "was it trained on another model or with another rank?"
        )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(given[name])
    for token in sorted(mapping.keys() - given.keys()):
        backbone.tokens.add(token, mapping[token])
    known = [sorted(encoder.ids) for encoder in backbone.tokens.encoders]
    if any(tokens != known[0] for tokens in known):
        raise AdapterError(
            f"the text encoders know different tokens: {' and '.join(map(str, known))}; expected a vector of every token in each"
        )


def save(folder: str | Path, backbone: Backbone) -> None:
    """Write the attached adapter (at scale 1) and the tokens, as :func:`write` does.

    Without LoRA: what was trained of the model's own weights, and the tokens. Raises AdapterError where there is neither.
    """
    if not lora.attached(backbone) and not backbone.untuned and not backbone.tokens.vectors:
        raise AdapterError("the backbone carries no adapter; call adapters.attach first")
    configs = [network.peft_config[lora.NAME] for network in lora.networks(backbone).values() if lora.layers(network)]
    rank, alpha = (int(configs[0].r), float(configs[0].lora_alpha)) if configs else (0, 0.0)
    write(folder, Stored(tensors(backbone), rank, alpha))


def write(folder: str | Path, stored: Stored) -> None:
    """Write an adapter: two files, each atomically, loadable by stock diffusers (``read`` reads them).

    Of a model with two text encoders every token is also written alone ("V1.safetensors", "V1-anna.safetensors" with clip_l and clip_g,
    (n, D) each), the form in which other programs take such embeddings; ``read`` does not read it.
    """
    folder = Path(folder)
    trained = {name: tensor.contiguous() for name, tensor in sorted(stored.tensors.items()) if of_network(name)}
    tokens = {name: tensor for name, tensor in stored.tensors.items() if not of_network(name)}
    save_tokens(folder / TOKENS_FILE, tokens)
    alone = {token: vectors for token, vectors in stacked(tokens).items() if len(vectors) > 1}
    for token, name in file_names(alone).items():
        save_tokens(folder / f"{name}.safetensors", alone[token])
    if not stored.rank:
        write_bytes(folder / WEIGHTS_FILE, serialise(trained))
        return
    write_bytes(folder / LORA_FILE, serialise(trained, lora_header(stored)))


def lora_header(stored: Stored) -> dict[str, str]:
    """The metadata of a LoRA file from which diffusers takes rank, alpha and layers; without it alpha is taken to be the rank."""
    modules: dict[str, list[str]] = {}
    for name in stored.tensors:
        if name.endswith(".lora_A.weight"):
            prefix, _, module = name.removesuffix(".lora_A.weight").partition(".")
            # peft matches ends of names: this way with and without CLIP's text_model level.
            modules.setdefault(prefix, []).append(module.removeprefix("text_model."))
    settings: dict[str, Any] = {}
    for prefix, names in modules.items():
        config = {"r": stored.rank, "lora_alpha": stored.alpha, "target_modules": sorted(names), **_PLAIN}
        settings |= {f"{prefix}.{key}": value for key, value in config.items()}
    # One entry only: safetensors writes several in any order, and equal adapters shall be equal files.
    return {METADATA: json.dumps(settings, indent=2, sort_keys=True)}


def read(folder: str | Path) -> Stored:
    """Read an adapter folder without a backbone; raises AdapterError for missing or damaged files."""
    tokens = Path(folder) / TOKENS_FILE
    if (Path(folder) / WEIGHTS_FILE).is_file():
        return Stored({**_read_tensors(Path(folder) / WEIGHTS_FILE), **load_tokens(tokens)}, 0, 0.0)
    file = Path(folder) / LORA_FILE
    trained = _read_tensors(file)
    with safe_open(file, "pt") as opened:
        metadata: dict[str, Any] = json.loads((opened.metadata() or {}).get(METADATA, "{}"))
    prefix = next((name.removesuffix(".r") for name in metadata if name.endswith(".r")), None)
    if prefix is None:
        raise AdapterError(
            f"{file} does not say its rank and alpha; expected an adapter that MagiCapture wrote (adapter import takes others)"
        )
    return Stored({**trained, **load_tokens(tokens)}, int(metadata[f"{prefix}.r"]), float(metadata[f"{prefix}.lora_alpha"]))


def load(folder: str | Path, backbone: Backbone, unet_scale: float = 1.0, text_scale: float = 1.0) -> Stored:
    """Put an adapter folder's LoRA (or own weights) and tokens on a backbone for inference (frozen), in place of any it carries.

    The scales weigh the LoRA of UNet and text encoder apart (``lora.set_scales``); own weights are as trained. Raises AdapterError, also
    for a backbone that knows a token which the folder lacks: no tokenizer forgets one, and ``save`` would write it as this adapter's.
    """
    stored = read(folder)
    others = sorted(backbone.tokens.vectors.keys() - stored.tensors.keys())
    if others:
        raise AdapterError(f"{folder} lacks {', '.join(others)}, which this backbone knows from another adapter; load it on a fresh one")
    if lora.attached(backbone):
        lora.detach(backbone)
    weights.put_back(backbone)
    modules = _modules(backbone, stored)
    groups = lora.attach(backbone, stored.rank, stored.alpha, 0.0, seed=0, modules=modules) if stored.rank else lora.Groups([], [])
    try:
        if not stored.rank:
            weights.make_room(backbone, {name: tensor for name, tensor in stored.tensors.items() if of_network(name)})
        restore(backbone, stored.tensors)
    except ValueError as error:
        if stored.rank:
            lora.detach(backbone)
        weights.put_back(backbone)
        raise AdapterError(f"{folder}: {error}") from None
    for parameter in [*groups.unet, *groups.text, *backbone.tokens.vectors.values()]:
        parameter.requires_grad_(False)
    lora.set_scales(backbone, unet_scale, text_scale)
    return stored


def save_tokens(file: str | Path, vectors: Mapping[str, Tensor]) -> None:
    """Write token vectors {"[V1]": (D,)}, named as ``backbone.tokens.vectors`` names them, as fp32 safetensors, atomically."""
    write_bytes(Path(file), serialise({name: vector.detach().cpu().float().contiguous() for name, vector in sorted(vectors.items())}))


def load_tokens(file: str | Path) -> dict[str, Tensor]:
    """Token vectors of a tokens.safetensors; raises AdapterError for a missing or damaged file."""
    return _read_tensors(Path(file))


def stacked(tokens: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Token -> text encoder ("", or "clip_l" and "clip_g") -> its vectors (n, D), "[V1]_1" after "[V1]"."""
    encoders = sorted({name.rpartition(".")[2] if _SUFFIX.search(name) else "" for name in tokens})
    names = {_SUFFIX.sub("", name): 0 for name in sorted(tokens)}
    found: dict[str, dict[str, Tensor]] = {}
    for token in (name for name in names if not (_PART.search(name) and _PART.sub("", name) in names)):
        ends = {encoder: f".{encoder}" if encoder else "" for encoder in encoders}
        found[token] = {
            encoder: torch.stack([tokens[f"{part}{end}"] for part in parts_of(token, names)])
            for encoder, end in ends.items()
            if f"{token}{end}" in tokens
        }
    return found


def unstacked(token: str, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ``stacked`` gives of a token -> its vectors by their names on disk; a single vector may be (D,)."""
    return {
        f"{token}{f'_{index}' if index else ''}{f'.{encoder}' if encoder else ''}": vector
        for encoder, rows in vectors.items()
        for index, vector in enumerate(rows.reshape(-1, rows.shape[-1]))
    }


def inversion_steps(manifest: Mapping[str, Any]) -> int | None:
    """How many steps the tokens that an adapter was tuned from were learnt in; older adapters tell it by their knobs alone, or not."""
    knobs: Mapping[str, Any] = manifest["config"].get("inversion") or {}
    steps: int | None = manifest["content"].get("inversion_steps", knobs.get("steps"))
    return steps


def file_name(token: str) -> str:
    """A token as a file's name: "V1", "V1-anna" of "[V1:anna]". Raises AdapterError for one that would lead out of its folder."""
    name = token.strip("[]<>").replace(":", "-")  # no file system minds a dash
    if not name.isprintable() or name.startswith(".") or not name or set(name) & {"/", "\\"}:
        raise AdapterError(
            f"token {token!r} cannot name a file; expected a word such as [V1] or <style>, without slashes, control characters or a dot in "
            "front; do not use it, or have its maker give it another name"
        )
    return name


def file_names(tokens: Iterable[str]) -> dict[str, str]:
    """Token -> its name as a file. Raises AdapterError for two that would be one file where the case of letters does not count."""
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for token in tokens:
        names[token] = file_name(token)
        other = taken.setdefault(names[token].casefold(), token)
        if other != token:
            raise AdapterError(
                f"tokens {other!r} and {token!r} would be written as one file, {names[token]!r}; have their maker rename one"
            )
    return names


def check_tokens(file: Path, names: Iterable[str]) -> None:
    """Raise AdapterError for a token, by its name on disk, that cannot name a file: whose file it is may be anybody."""
    for name in names:
        try:
            file_name(_SUFFIX.sub("", name))
        except AdapterError as error:
            raise AdapterError(f"{file}: {error}") from None


def _weights(backbone: Backbone) -> Iterator[tuple[str, nn.Parameter]]:
    """LoRA parameters by their names on disk, sorted.

    transformers 5 dropped CLIP's ``text_model.`` level; files keep it, since older diffusers and ComfyUI look for it (newer
    ones strip it). UNet names stay peft's: diffusers' own conversion leaves GEGLU keys out, and its loader then guesses.
    """
    for prefix, network in lora.networks(backbone).items():
        inner = _level(prefix, network)
        for name, parameter in sorted(network.named_parameters()):
            if ".lora_" in name:
                yield f"{prefix}.{inner}{name.replace(f'.{lora.NAME}.', '.')}", parameter


def _modules(backbone: Backbone, stored: Stored) -> dict[str, list[str]]:
    """The modules, network by network, that an adapter has LoRA for; what the backbone lacks is left to ``restore`` to refuse."""
    found = {}
    for prefix, network in lora.networks(backbone).items():
        known, level = dict(network.named_modules()), _level(prefix, network)
        names = (name.removeprefix(f"{prefix}.{level}").removesuffix(".lora_A.weight") for name in stored.tensors)
        found[prefix] = [name for name in names if name in known]
    return found


def _level(prefix: str, network: nn.Module) -> str:
    return "text_model." if prefix != "unet" and not hasattr(network, "text_model") else ""


def of_network(name: str) -> bool:
    """Whether a tensor is a network's, not a token's vector."""
    return name.startswith(("unet.", "text_encoder"))


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise AdapterError(f"{file} is missing; expected the folder of a tuned adapter ({LORA_FILE}, {TOKENS_FILE})")
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise AdapterError(f"{file} is damaged ({error}); tune again, or restore the file") from None
    check_tokens(file, (name for name in tensors if not of_network(name)))
    return tensors
