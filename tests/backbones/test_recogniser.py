"""Torch recognisers of a pack; those of the mini pack beside their ONNX files are in tests/world."""

from __future__ import annotations

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from magicapture.backbones.recogniser import FaceNet, load_recogniser
from magicapture.packs import Pack, PackError, load_pack


@pytest.fixture(scope="module")
def faces(iresnet18: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack with two recognisers and what is wrong with a third and a fourth."""
    folder = tmp_path_factory.mktemp("faces")
    state = {name: value for name, value in iresnet18.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file(state, folder / "arcface.safetensors")
    save_file(FaceNet("plain", norm=False).state_dict(), folder / "plain.safetensors")
    (folder / "pickle.safetensors").write_bytes(b"\x80\x02}.")
    about = {"licence": "Apache-2.0", "commercial": True}
    files = {
        "arcface_torch": ("arcface", "iresnet18"), "recogniser_torch": ("plain", "plain"), "large_torch": ("arcface", "iresnet50"),
        "broken_torch": ("pickle", "iresnet18"), "new_torch": ("arcface", "vit"),
    }  # fmt: skip
    roles = {role: {"path": f"{file}.safetensors", "settings": {"architecture": kind}, **about} for role, (file, kind) in files.items()}
    pack = {"name": "faces", "version": "1", "description": "", "resolution": 64, "attention_resolution": 16, "roles": roles}
    (folder / "pack.yaml").write_text(yaml.safe_dump(pack))
    return load_pack(folder)


def test_a_pack_may_hold_several(faces: Pack, iresnet18: nn.Module) -> None:
    net, crops = load_recogniser(faces, "arcface"), torch.zeros((1, 3, 112, 112), requires_grad=True)
    assert not net.training and not any(parameter.requires_grad for parameter in net.parameters())
    with torch.no_grad():
        torch.testing.assert_close(net(crops), iresnet18(crops))
    net(crops).sum().backward()
    assert crops.grad is not None and crops.grad.abs().sum() > 0
    assert load_recogniser(faces)(torch.zeros(1, 3, 112, 112)).shape == (1, 128)


@pytest.mark.parametrize(
    ("network", "parts"),
    [
        ("large", ["does not hold a 'iresnet50'", "missing: layer1.2.bn1.weight (64,)", ", ...", "restore it"]),
        ("broken", ["pickle.safetensors is not a safetensors file", "restore it"]),
        ("new", ["new_torch has settings.architecture 'vit'", "residual, dense, plain, iresnet18, iresnet50, iresnet100"]),
        ("none", ["no role 'none_torch'", "arcface_torch"]),
    ],
)
def test_what_does_not_fit_is_named(faces: Pack, network: str, parts: list[str]) -> None:
    with pytest.raises(PackError) as caught:
        load_recogniser(faces, network)
    for part in parts:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 600
