"""Going on from a pack: its weights as the start of a training whose checkpoints are on another machine.

A pack holds networks whose batch norms are merged into their layers (and nothing of an optimiser). They are taken apart again:
each layer gets the pack's weight, and its norm the deviation and mean of what a batch gives there, so that it undoes itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from magicapture.artifacts import write_text
from magicapture.backbones.recogniser import ConvNorm, Head
from magicapture.packs import Pack
from magicapture.world.architecture import TEXT_LENGTH
from magicapture.world.packing import HISTORY
from magicapture.world.tokenizer import build_tokenizer

#: Roles whose weights another role's files hold.
_FILES = {"recogniser": "recogniser_torch"}


def continue_from(pack: Pack, work: Path) -> None:
    """Lay a pack's files, its list of training segments, and checkpoints of its autoencoder and text-to-image model into ``work``,
    each where there is none, so that any role can be trained on and the others go into the next pack as they are.
    """
    for name, role in pack.roles.items():
        target = work / "pack" / role.path
        if name != "diffusion" and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if pack.path(name).is_dir() else shutil.copyfile)(pack.path(name), target)
    history = pack.folder / HISTORY
    if history.is_file() and not (work / HISTORY).is_file():
        write_text(work / HISTORY, history.read_text())
    folder = pack.path("diffusion")
    new = build_tokenizer(work / "unet" / "tokenizer", TEXT_LENGTH)
    for name, sources in {"vae": {"vae": ""}, "unet": {"unet": "unet.", "text_encoder": "text_encoder."}}.items():
        state = {prefix + key: value for part, prefix in sources.items() for key, value in file_weights(folder / part).items()}
        state = _with_words(state, folder / "tokenizer", new)
        _write_start(work / name, state)


def go_on(
    model: nn.Module, pack: Pack | None, role: str, example: Callable[[], tuple[Tensor, ...]] | None = None, words: Path | None = None
) -> None:
    """Start ``model`` from the pack's weights of a small role, or leave it as it is without a pack.

    ``example()`` is an input whose batch sets the batch norms; ``words`` the folder of the tokenizer whose vocabulary the model reads.
    """
    if pack is None:
        return
    weights = file_weights(pack.path(_FILES.get(role, role)))
    if words is not None:
        weights = _with_words(weights, pack.path(role), CLIPTokenizer.from_pretrained(words))
    start_from(model, weights, example() if example is not None else ())


def file_weights(path: Path) -> dict[str, Tensor]:
    """The weights in an ONNX or safetensors file, or in a folder with one safetensors file, by name, in fp32."""
    if path.is_dir():
        (path,) = path.glob("*.safetensors")
    if path.suffix != ".onnx":
        return {name: value.float() for name, value in load_file(path).items()}
    constants = onnx.load(path).graph.initializer
    return {c.name.removesuffix(".half"): torch.from_numpy(numpy_helper.to_array(c).copy()).float() for c in constants}


def start_from(model: nn.Module, weights: Mapping[str, Tensor], example: tuple[Tensor, ...] = ()) -> None:
    """Give ``model`` a pack's weights, in place; with batch norms, ``example`` is an input that sets them.

    What the pack lacks (heads that only training needs) keeps its initial values. Raises ValueError when a weight of the pack
    has no place in the model, or another shape.
    """
    own = model.state_dict()
    places = {name: value for name, value in weights.items() if name in own}
    norms = {f"{name}.{part}": module for name, module in model.named_modules() if isinstance(module, ConvNorm | Head)
             for part in ("conv.bias", "linear.bias")}  # fmt: skip
    lost = [name for name in weights if name not in own and name not in norms]
    wrong = [name for name, value in places.items() if own[name].shape != value.shape]
    if lost or wrong:
        raise ValueError(
            f"the pack's weights do not fit {type(model).__name__} (no place: {lost[:3]}; other shape: {wrong[:3]}); "
            "the architecture has changed since: train the role without --from-pack"
        )
    model.load_state_dict(places, strict=False)
    if example:
        _undo_norms(model, {id(norms[name]): value for name, value in weights.items() if name not in own}, example)


def _undo_norms(model: nn.Module, biases: Mapping[int, Tensor], example: tuple[Tensor, ...]) -> None:
    """Set scale and shift of each norm, in the order of the forward pass, to the deviation and mean of its input."""

    def settle(norm: nn.Module, inputs: tuple[Tensor], bias: Tensor) -> None:
        if norm.affine:
            axes = [0, *range(2, inputs[0].ndim)]
            norm.weight.data = (inputs[0].var(axes, unbiased=False) + norm.eps).sqrt()  # type: ignore[operator, union-attr]
            norm.bias.data = inputs[0].mean(axes) + bias.to(inputs[0].device)  # type: ignore[union-attr]

    hooks = []
    for module in model.modules():
        if isinstance(module, ConvNorm | Head) and isinstance(module.norm, nn.BatchNorm1d | nn.BatchNorm2d):
            bias = biases[id(module)]
            hooks.append(module.norm.register_forward_pre_hook(lambda norm, inputs, bias=bias: settle(norm, inputs, bias)))
    with torch.no_grad():
        model.train()(*example)
    for hook in hooks:
        hook.remove()


def _with_words(weights: dict[str, Tensor], old: Path, new: CLIPTokenizer) -> dict[str, Tensor]:
    """The weights with token embeddings (words, width) of another vocabulary: known words keep theirs, new ones are drawn as large."""
    before, after = CLIPTokenizer.from_pretrained(old).get_vocab(), new.get_vocab()
    for name in [name for name in weights if name.endswith("token_embedding.weight")]:
        known = weights[name]
        rows = torch.randn((len(after), known.shape[1]), generator=torch.Generator().manual_seed(len(after))) * known.std()
        for word in after.keys() & before.keys():
            rows[after[word]] = known[before[word]]
        weights[name] = rows
    return weights


def _write_start(folder: Path, state: Mapping[str, Tensor]) -> None:
    """A checkpoint of :class:`magicapture.world.diffusion.Run` at step 0, unless ``folder`` has one."""
    file = folder / "checkpoint.safetensors"
    if file.is_file():
        return
    rows: dict[str, Tensor] = {}
    for name, weight in state.items():
        rows |= {f"model.{name}": weight, f"average.{name}": weight.clone(), f"optimiser.step.{name}": torch.zeros(())}
        rows |= {f"optimiser.{moment}.{name}": torch.zeros_like(weight) for moment in ("exp_avg", "exp_avg_sq")}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(rows, file, metadata={"step": "0"})
