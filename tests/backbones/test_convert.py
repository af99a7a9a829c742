from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from magicapture.backbones.convert import convert
from magicapture.packs import PackError


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_tensors_come_out_as_they_went_in(iresnet18: nn.Module, tmp_path: Path, prefix: str) -> None:
    state = iresnet18.state_dict()
    torch.save({prefix + name: value for name, value in state.items()}, tmp_path / "backbone.pth")
    assert convert(tmp_path / "backbone.pth", tmp_path / "arcface.safetensors") == "iresnet18"
    found = load_file(tmp_path / "arcface.safetensors")
    assert set(found) == {name for name in state if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(value, state[name]) for name, value in found.items())


class Trap:
    """A pickle that would write a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Trap(tmp_path / "ran")}, tmp_path / "backbone.pth")
    with pytest.raises(PackError, match=r"cannot be read as plain tensors \(Unsupported global.*could run code and is refused") as caught:
        convert(tmp_path / "backbone.pth", tmp_path / "out.safetensors")
    assert "weights_only" not in str(caught.value)  # torch's own advice is to open it all the same
    assert [path.name for path in tmp_path.iterdir()] == ["backbone.pth"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (lambda net: nn.Linear(2, 2).state_dict(), ["(0, 0, 0, 0) blocks", "2 tensors", "iresnet18 (2, 2, 2, 2)", "another network's"]),
        (lambda net: {"epoch": 3, "state_dict": net}, ["entries are not all tensors (epoch, state_dict)", "save its state dict alone"]),
        (lambda net: [1, 2], ["holds a list", "expected the state dict of an IResNet"]),
        (lambda net: {**net, "fc.weight": torch.zeros(512, 512 * 16)}, ["fc.weight (512, 8192), expected (512, 25088)"]),
        (lambda net: {name: value for name, value in net.items() if name != "features.bias"}, ["1 missing: features.bias (512,)"]),
        (lambda net: {**net, "classifier.weight": torch.zeros(3)}, ["1 unknown: classifier.weight (3,)"]),
        (lambda net: {**net, "prelu.weight": torch.zeros(64, dtype=torch.int8)}, ["1 not floating point: prelu.weight torch.int8"]),
    ],
)
def test_what_is_no_iresnet_is_named(
    iresnet18: nn.Module, tmp_path: Path, content: Callable[[dict[str, torch.Tensor]], Any], parts: list[str]
) -> None:
    torch.save(content(iresnet18.state_dict()), tmp_path / "backbone.pth")
    with pytest.raises(PackError) as caught:
        convert(tmp_path / "backbone.pth", tmp_path / "out.safetensors")
    for part in [str(tmp_path / "backbone.pth"), *parts]:
        assert part in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_missing_file_empty_file_and_wrong_name(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="none.pth is not a file; expected a published backbone.pth"):
        convert(tmp_path / "none.pth", tmp_path / "out.safetensors")
    (tmp_path / "empty.pth").touch()
    with pytest.raises(PackError, match=r"empty.pth cannot be read as plain tensors \(EOFError\)"):
        convert(tmp_path / "empty.pth", tmp_path / "out.safetensors")
    with pytest.raises(PackError, match="out.pth: expected a name that ends with .safetensors"):
        convert(tmp_path / "empty.pth", tmp_path / "out.pth")
