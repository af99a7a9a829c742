"""Adapters on disk, in the formats of stock diffusers; hashes of their tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
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

LORA_FILE = "pytorch_lora_weights.safetensors"
TOKENS_FILE = "tokens.safetensors"
WEIGHTS_FILE = "weights.safetensors"  # in place of LoRA: the model's own weights that were trained, none where only tokens were
_METADATA = "lora_adapter_metadata"  # the header diffusers reads rank and alpha from; without it alpha is taken to be the rank
_CONFIG = ("r", "lora_alpha", "target_modules", "bias", "use_rslora", "use_dora")


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
    given = {name: tensor for name, tensor in mapping.items() if _of_network(name)}
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
    """Write the attached adapter (at scale 1) and the tokens: two files, each atomically, loadable by stock diffusers.

    Without LoRA: what was trained of the model's own weights, and the tokens.

    Of a model with two text encoders every token is also written alone ("V1.safetensors", "V1-anna.safetensors" with clip_l and clip_g,
    (n, D) each), the form in which other programs take such embeddings; ``load`` does not read it.
    """
    folder = Path(folder)
    if not lora.attached(backbone) and not backbone.untuned and not backbone.tokens.vectors:
        raise AdapterError("the backbone carries no adapter; call adapters.attach first")
    everything = tensors(backbone)
    save_tokens(folder / TOKENS_FILE, {name: everything[name] for name in backbone.tokens.vectors})
    _export_tokens(folder, backbone)
    if not lora.attached(backbone):
        write_bytes(folder / WEIGHTS_FILE, serialise({name: everything[name].contiguous() for name in weights.changed(backbone)}))
        return
    metadata = {}
    for prefix, network in lora.networks(backbone).items():
        config = network.peft_config[lora.NAME].to_dict()
        config["target_modules"] = sorted(config["target_modules"])
        metadata.update({f"{prefix}.{name}": config[name] for name in _CONFIG})
    trained = {name: everything[name].contiguous() for name, _ in _weights(backbone)}
    # One entry only: safetensors writes several in any order, and equal adapters shall be equal files.
    header = {_METADATA: json.dumps(metadata, indent=2, sort_keys=True)}
    write_bytes(folder / LORA_FILE, serialise(trained, header))


def read(folder: str | Path) -> Stored:
    """Read an adapter folder without a backbone; raises AdapterError for missing or damaged files."""
    tokens = Path(folder) / TOKENS_FILE
    if (Path(folder) / WEIGHTS_FILE).is_file():
        return Stored({**_read_tensors(Path(folder) / WEIGHTS_FILE), **load_tokens(tokens)}, 0, 0.0)
    file = Path(folder) / LORA_FILE
    trained = _read_tensors(file)
    with safe_open(file, "pt") as opened:
        metadata: dict[str, Any] = json.loads((opened.metadata() or {}).get(_METADATA, "{}"))
    if "unet.r" not in metadata:
        raise AdapterError(f"{file} does not say its rank and alpha; expected an adapter that MagiCapture wrote")
    return Stored({**trained, **load_tokens(tokens)}, int(metadata["unet.r"]), float(metadata["unet.lora_alpha"]))


def load(folder: str | Path, backbone: Backbone, unet_scale: float = 1.0, text_scale: float = 1.0) -> Stored:
    """Put an adapter folder's LoRA (or own weights) and tokens on a backbone for inference (frozen), in place of any it carries.

    The scales weigh the LoRA of UNet and text encoder apart (``lora.set_scales``); own weights are as trained. Raises AdapterError.
    """
    stored = read(folder)
    if lora.attached(backbone):
        lora.detach(backbone)
    weights.put_back(backbone)
    groups = lora.attach(backbone, stored.rank, stored.alpha, dropout=0.0, seed=0) if stored.rank else lora.Groups([], [])
    try:
        if not stored.rank:
            weights.make_room(backbone, {name: tensor for name, tensor in stored.tensors.items() if _of_network(name)})
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


def _export_tokens(folder: Path, backbone: Backbone) -> None:
    if len(backbone.tokens.encoders) == 1:
        return
    vectors = backbone.tokens.vectors
    for token in (token for token in backbone.tokens.ids if not token.rpartition("_")[2].isdigit()):
        suffixes = [name.removeprefix(f"{token}.") for name in vectors if name.startswith(f"{token}.")]
        stacked = {suffix: torch.stack([vectors[f"{part}.{suffix}"] for part in backbone.tokens.parts(token)]) for suffix in suffixes}
        save_tokens(folder / f"{token.strip('[]<>').replace(':', '-')}.safetensors", stacked)  # no file system minds a dash


def _weights(backbone: Backbone) -> Iterator[tuple[str, nn.Parameter]]:
    """LoRA parameters by their names on disk, sorted.

    transformers 5 dropped CLIP's ``text_model.`` level; files keep it, since older diffusers and ComfyUI look for it (newer
    ones strip it). UNet names stay peft's: diffusers' own conversion leaves GEGLU keys out, and its loader then guesses.
    """
    for prefix, network in lora.networks(backbone).items():
        inner = "text_model." if prefix != "unet" and not hasattr(network, "text_model") else ""
        for name, parameter in sorted(network.named_parameters()):
            if ".lora_" in name:
                yield f"{prefix}.{inner}{name.replace(f'.{lora.NAME}.', '.')}", parameter


def _of_network(name: str) -> bool:
    """Whether a tensor is a network's, not a token's vector."""
    return name.startswith(("unet.", "text_encoder"))


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise AdapterError(f"{file} is missing; expected the folder of a tuned adapter ({LORA_FILE}, {TOKENS_FILE})")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise AdapterError(f"{file} is damaged ({error}); tune again, or restore the file") from None
