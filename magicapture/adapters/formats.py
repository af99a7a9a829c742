"""LoRA and embedding files of other programs: diffusers', kohya's (which AUTOMATIC1111 and ComfyUI read), read and written.

Sources: kohya's sd-scripts name a layer's tensors ``<layer>.lora_down.weight``, ``.lora_up.weight`` and ``.alpha``; a file's header says
how it was made (``ss_*``) and what it is (``modelspec.*``, Stability's sai_model_spec 1.0.0).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from magicapture.adapters.base import FAMILIES, Base, published
from magicapture.adapters.files import METADATA, AdapterError, check_tokens, lora_header, unstacked
from magicapture.adapters.layers import Layer, kohya_names, stored_of
from magicapture.artifacts import write_bytes

Format = Literal["diffusers", "kohya"]
_END = re.compile(r"\.(?:lora_(?P<ab>[AB])|lora_(?P<ud>up|down)|lora(?:_linear_layer)?\.(?P<old>up|down))\.weight$")
#: What diffusers wrote before peft: "...attn1.processor.to_q_lora.down.weight", "...self_attn.to_q_lora.down.weight".
_OLD = re.compile(r"(?P<stem>.+?)(?:\.processor)?\.to_(?P<part>q|k|v|out)_lora\.(?P<old>up|down)\.weight$")
_SHOWN = 12


def read_lora(file: str | Path, base: Base | None = None) -> tuple[dict[str, Layer], Format, Base]:
    """The layers of a LoRA file of either format, fp32; its format; its base, which is found among the published ones where None.

    Raises AdapterError for a file that is missing or damaged, holds keys that are not LoRA of this base (all are named), lacks half of a
    layer, or was made for a base of other sizes.
    """
    file = Path(file)
    tensors, header = read_tensors(file)
    base = base or _guess(file, tensors)
    halves: dict[str, dict[str, Tensor]] = {}
    unknown: list[str] = []
    for key, tensor in sorted(tensors.items()):
        layer, half = _place(key, base)
        if not half:
            unknown.append(key)
        else:
            halves.setdefault(layer, {})[half] = tensor.float()
    if unknown:
        raise AdapterError(
            f"{file}: {len(unknown)} of {len(tensors)} keys are not LoRA layers of {base.name}, and leaving them out would be another "
            f"adapter: {', '.join(unknown[:_SHOWN])}{', ...' if len(unknown) > _SHOWN else ''}; expected <layer>.lora_down/lora_up/alpha "
            "(kohya) or <layer>.lora_A/lora_B (diffusers); other kinds (DoRA, LyCORIS) have to be merged into a model by their own tool"
        )
    odd = [layer for layer, parts in halves.items() if not {"down", "up"} <= parts.keys() or parts["down"].shape[0] != parts["up"].shape[1]]
    if odd or not halves:
        raise AdapterError(f"{file}: {f'{odd[0]} has no matching pair of down and up' if odd else 'no LoRA layer in it'}; is it cut off?")
    kohya = any(key.endswith(".lora_down.weight") for key in tensors)
    settings = _settings(file, header)
    layers = {name: _layer(name, parts, settings) for name, parts in sorted(halves.items())}
    misfits = base.misfits(layers)
    if misfits:
        raise AdapterError(
            f"{file} is of another base than {base.name}: {len(misfits)} of {len(layers)} layers do not fit, the first: "
            f"{misfits[0]}; name the base that it was trained on"
        )
    fitted = {name: _fitted(layer, base.shapes[name]) for name, layer in layers.items()}
    return fitted, "kohya" if kohya else "diffusers", base


def read_embedding(file: str | Path, token: str = "") -> dict[str, Tensor]:
    """Token vectors of an embedding file, by their names on disk ("[V1]", "[V1].clip_l"), fp32.

    Takes {token: (D,) or (n, D)} (diffusers; several tokens too), {anything: (n, D)} (AUTOMATIC1111, ComfyUI) and {clip_l, clip_g}
    (XL); the last two do not say their token. Raises AdapterError.
    """
    tensors, _ = read_tensors(Path(file))
    check_tokens(Path(file), [token] if token else tensors)
    flat = [name for name, tensor in tensors.items() if tensor.dim() not in (1, 2)]
    if flat or not tensors:
        raise AdapterError(f"{file}: {flat[0] if flat else 'nothing'} in it is no vector of a token; expected (D,) or (n, D)")
    pair, nameless = set(tensors) == {"clip_l", "clip_g"}, set(tensors) <= {"emb_params", "*", "clip_l", "clip_g"}
    if not token and nameless:
        raise AdapterError(f"{file} does not say which token it is of ({', '.join(tensors)}); write --embedding '[V1]={file}'")
    if token and len(tensors) > 1 and not pair:
        raise AdapterError(f"{file} holds several tokens ({', '.join(sorted(tensors))}), not {token} alone; give it without '{token}='")
    if pair:
        return {name: vector.float() for name, vector in unstacked(token, tensors).items()}
    found: dict[str, Tensor] = {}
    for name, rows in tensors.items():
        found |= {key: vector.float() for key, vector in unstacked(token or name, {"": rows}).items()}
    return found


def to_diffusers(layers: Mapping[str, Layer]) -> bytes:
    """A LoRA file as diffusers writes it, rank and alpha in its header."""
    stored = stored_of(layers, {})
    return serialise({name: tensor.contiguous() for name, tensor in stored.tensors.items()}, lora_header(stored))


def to_kohya(layers: Mapping[str, Layer], base: Base, about: Mapping[str, str] | None = None) -> bytes:
    """A LoRA file as kohya's sd-scripts write it. ``about``: more of its header, ``ss_*`` and ``modelspec.*``.

    Equal layers and ``about`` give equal bytes.
    """
    tensors: dict[str, Tensor] = {}
    for name, layer in sorted(layers.items()):
        stem = kohya_names(name, base.xl, base.layers_per_block)[0]
        tensors[f"{stem}.alpha"] = torch.tensor(layer.alpha)
        tensors |= {f"{stem}.lora_down.weight": layer.down.contiguous(), f"{stem}.lora_up.weight": layer.up.contiguous()}
    digest = hashlib.sha256(_body(serialise(tensors))).hexdigest()
    ranks, alphas = ({getattr(layer, name) for layer in layers.values()} for name in ("rank", "alpha"))
    architecture, version = base.architecture(velocity=False)
    header = {
        "ss_network_module": "networks.lora", "ss_base_model_version": version, "ss_v2": str(base.family == FAMILIES[1]),
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": str(alphas.pop()) if len(alphas) == 1 else "Dynamic",
        "sshs_model_hash": digest,
        "modelspec.sai_model_spec": "1.0.0", "modelspec.architecture": f"{architecture}/lora", "modelspec.title": "LoRA",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models" if base.xl else "diffusers",
        "modelspec.hash_sha256": f"0x{digest}",
    }  # fmt: skip
    return _with_header(serialise(tensors), {**header, **(about or {})})


def convert(source: Path, target: Path, base: Base | None = None) -> tuple[Format, Base, int]:
    """Write a LoRA file in the other format; returns the format written, the base and the number of layers.

    Raises AdapterError, also for a ``target`` that exists: whose it is cannot be told from it.
    """
    if target.suffix != ".safetensors" or target.resolve() == source.resolve():
        raise AdapterError(f"cannot write {target}: expected another file that ends in .safetensors")
    if target.exists() or target.is_symlink():
        raise AdapterError(f"{target} exists; it is left as it is: name a new file, or remove it first")
    layers, form, base = read_lora(source, base)
    to: Format = "diffusers" if form == "kohya" else "kohya"
    write_bytes(target, to_diffusers(layers) if to == "diffusers" else to_kohya(layers, base, {"modelspec.title": target.stem}))
    return to, base, len(layers)


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file; raises AdapterError where there is none."""
    if not file.is_file():
        raise AdapterError(f"{file} is not a file; expected a .safetensors file")
    try:
        with safe_open(file, "pt") as opened:
            header = opened.metadata() or {}
        return load_file(file), header
    except SafetensorError as error:
        raise AdapterError(f"{file} is no safetensors file, or damaged ({error}); other kinds, pickles among them, are not read") from None


def _place(key: str, base: Base) -> tuple[str, str]:
    """The layer of a key and which part of it it holds, "down", "up" or "alpha"; "" for what is no LoRA of this base."""
    end, old = _END.search(key), _OLD.fullmatch(key)
    if key.endswith(".alpha"):
        stem, half = key.removesuffix(".alpha"), "alpha"
    elif old:
        text = key.startswith("text_encoder")
        part = f"{old['part']}_proj" if text else "to_out.0" if old["part"] == "out" else f"to_{old['part']}"
        stem, half = f"{old['stem']}.{part}", str(old["old"])
    elif end:
        stem, half = key[: end.start()], {"A": "down", "B": "up"}.get(end["ab"] or "", end["ud"] or end["old"] or "")
    else:
        return "", ""
    stem = re.sub(r"^(text_encoder(?:_2)?)\.encoder\.", r"\1.text_model.encoder.", stem)
    layer = base.kohya.get(stem, stem)
    return (layer, half) if layer in base.shapes else ("", "")


def _layer(name: str, parts: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Layer:
    """alpha: the file's own, else the header's, else the rank (scale 1)."""
    prefix, _, module = name.partition(".")
    rank = parts["down"].shape[0]
    alpha = settings.get(f"{prefix}.lora_alpha", rank)
    for pattern, value in (settings.get(f"{prefix}.alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = value
    return Layer(parts["down"], parts["up"], float(parts.get("alpha", alpha)))


def _settings(file: Path, header: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(header.get(METADATA, "{}"))
    special = [name for name, value in settings.items() if name.endswith((".use_rslora", ".use_dora")) and value]
    if special:
        raise AdapterError(f"{file}: {special[0]} is set; only plain LoRA is read")
    return settings


def _fitted(layer: Layer, shape: tuple[int, ...]) -> Layer:
    """1x1 convolutions and linear layers are the same; files hold either for either."""
    tail = (1,) * (len(shape) - 2)
    return Layer(layer.down.reshape(layer.rank, *shape[1:]), layer.up.reshape(shape[0], layer.rank, *tail), layer.alpha)


def _guess(file: Path, tensors: Mapping[str, Tensor]) -> Base:
    """The published base of a file by the width of the text that its UNet reads, or else by its text encoder's width."""
    second = any(key.startswith(("lora_te2_", "text_encoder_2.")) for key in tensors)
    for pattern in (r"attn2(?:\.processor)?[._]to_k", r"layers[._]0[._]self_attn[._]q_proj"):
        for key, tensor in tensors.items():
            if re.search(pattern, key) and tensor.dim() > 1 and re.search(r"lora_down|lora_A|lora(_linear_layer)?\.down", key):
                width = 2048 if second else tensor.shape[1]
                if width in (768, 1024, 2048):
                    return published(FAMILIES[(768, 1024, 2048).index(width)])
    raise AdapterError(f"{file}: its base is none of {', '.join(FAMILIES)}, by the sizes in it; name it with --pack")


def _body(data: bytes) -> bytes:
    return data[8 + int.from_bytes(data[:8], "little") :]


def _with_header(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """The file with this metadata in order: safetensors itself writes it in any, and equal adapters shall be equal files."""
    length = int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + _body(data)
