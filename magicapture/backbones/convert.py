"""The one-time conversion of a published ``backbone.pth`` (arcface_torch) to the safetensors file that a pack holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from magicapture.artifacts import write_bytes
from magicapture.backbones.iresnet import BLOCKS
from magicapture.backbones.recogniser import empty, misfits
from magicapture.packs import PackError

_EXPECTED = "expected the state dict of an IResNet that arcface_torch publishes (backbone.pth: conv1, bn1, prelu, layer1 to layer4, ...)"


def convert(source: str | Path, target: str | Path) -> str:
    """Write the weights of a pickled IResNet as safetensors; returns the architecture, a name of :data:`iresnet.BLOCKS`.

    No code of the pickle is run (``weights_only``). ``target`` is replaced, at once and whole. Raises PackError for a file that is
    missing or holds anything but tensors of an IResNet-18, 50 or 100, and for a target that is not called ``.safetensors``.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise PackError(f"{target}: expected a name that ends with .safetensors; packs hold no other format for torch")
    tensors = _tensors(source)
    architecture = _architecture(source, tensors)
    wrong = misfits(empty(architecture), tensors)
    if wrong:
        raise PackError(f"{source} is not an {architecture}, though it has its blocks: {wrong}; {_EXPECTED}")
    write_bytes(target, save({name: value.contiguous().clone() for name, value in tensors.items()}, metadata={"format": "pt"}))
    return architecture


def _tensors(source: Path) -> dict[str, Tensor]:
    if not source.is_file():
        raise PackError(f"{source} is not a file; expected a published backbone.pth")
    try:
        state = torch.load(source, weights_only=True, map_location="cpu")
    except Exception as error:  # unpickling raises whatever the bytes make it raise
        raise PackError(
            f"{source} cannot be read as plain tensors ({_reason(error)}); a pickle that asks for more could run code and is refused. "
            f"{_EXPECTED[0].upper()}{_EXPECTED[1:]}; get it again from its publisher, or save its model.state_dict() where you trust it"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise PackError(f"{source} holds {_what(state)}; {_EXPECTED}; save its state dict alone")
    # What data-parallel training puts before every name, and the counters that only training reads.
    names = {name: str(name).removeprefix("module.") for name in state}
    return {short: state[name] for name, short in names.items() if not short.endswith("num_batches_tracked")}


def _architecture(source: Path, tensors: Mapping[str, Tensor]) -> str:
    parts = [name.split(".") for name in tensors]
    counts = tuple(len({part[1] for part in parts if part[0] == f"layer{stage}" and len(part) > 1}) for stage in (1, 2, 3, 4))
    for architecture, blocks in BLOCKS.items():
        if counts == blocks:
            return architecture
    known = ", ".join(f"{name} {blocks}" for name, blocks in BLOCKS.items())
    raise PackError(
        f"{source} has {counts} blocks in layer1 to layer4 and {len(tensors)} tensors; {_EXPECTED} with the blocks of {known}; "
        "another network's weights cannot be used"
    )


def _reason(error: Exception) -> str:
    """What is wrong, without torch's advice to load the pickle all the same."""
    text = str(error)
    said = (text.partition("WeightsUnpickler error:")[2] or text).strip()
    return said.splitlines()[0].partition(". ")[0] if said else type(error).__name__


def _what(state: Any) -> str:
    if isinstance(state, Mapping):
        return f"a dictionary whose entries are not all tensors ({', '.join(map(str, list(state)[:4]))})"
    return f"a {type(state).__name__}"
