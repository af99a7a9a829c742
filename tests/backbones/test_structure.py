"""The role ``structure``: what it reads, that gradients pass, and what is said of packs that lack it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from magicapture.backbones.structure import load_structure
from magicapture.packs import PackError, load_pack
from tests.backbones import tinyvit
from tests.faces import tinypack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tinyvit.add_role(tinypack.build(tmp_path), mean=[0.5] * 3, std=[0.25] * 3)


def unhashed(folder: Path, **settings: object) -> None:
    """The role as if laid down by hand: files may change."""
    content = yaml.safe_load((folder / "pack.yaml").read_text())
    content["roles"]["structure"]["sha256"] = {}
    content["roles"]["structure"]["settings"] |= settings
    (folder / "pack.yaml").write_text(yaml.safe_dump(content))


def test_keys_are_those_of_the_last_attention_without_cls(folder: Path) -> None:
    net, vit = load_structure(load_pack(folder)), tinyvit.build().eval()
    pictures = torch.rand(2, 3, 16, 16) * 2 - 1
    found = net(pictures)
    with torch.no_grad():
        pixels = ((pictures + 1) / 2 - 0.5) / 0.25
        output = vit(pixel_values=pixels, output_hidden_states=True)
        last = vit.layers[-1]
        keys = last.attention.k_proj(last.layernorm_before(output.hidden_states[-2]))
    torch.testing.assert_close(found.keys, keys[:, 1:])
    torch.testing.assert_close(found.cls, output.last_hidden_state[:, 0])
    assert found.keys.shape == (2, 16, 12) and found.cls.shape == (2, 12)


def test_it_is_frozen_and_differentiable_in_pictures_of_any_size(folder: Path) -> None:
    net = load_structure(load_pack(folder)).train(False)
    pictures = (torch.rand(1, 3, 40, 40) * 2 - 1).requires_grad_()
    found = net(pictures)
    (found.keys.square().sum() + found.cls.square().sum()).backward()
    assert pictures.grad is not None and (pictures.grad.abs().sum(dim=1) > 0).float().mean() > 0.9
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert found.keys.shape == (1, 16, 12)


def test_settings_choose_layer_and_size(folder: Path) -> None:
    unhashed(folder, layer=0, size=32)
    net = load_structure(load_pack(folder))
    assert net(torch.zeros(1, 3, 16, 16)).keys.shape == (1, 64, 12)
    for settings in ({"size": 30}, {"layer": 2}, {"layer": -3}):
        unhashed(folder, **{"size": 32, "layer": 0, **settings})
        with pytest.raises(PackError, match=r"settings size \d+, layer -?\d.*multiple of its patch \(4 px\) and one of its 2 layers"):
            load_structure(load_pack(folder))


def test_weights_named_as_the_published_ones_are_read(folder: Path) -> None:
    """facebook/dino-vitb8 has the names of transformers before 5, which 5 still writes, and a pooler."""
    file = folder / "structure" / "model.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}
    assert "encoder.layer.0.attention.attention.key.weight" in weights
    before = load_structure(load_pack(folder))(torch.zeros(1, 3, 16, 16))
    file.unlink()
    pooler = {"pooler.dense.weight": torch.zeros(12, 12), "pooler.dense.bias": torch.zeros(12)}
    save_file(weights | pooler, file, metadata={"format": "pt"})
    unhashed(folder)
    after = load_structure(load_pack(folder))(torch.zeros(1, 3, 16, 16))
    torch.testing.assert_close(after.keys, before.keys)
    torch.testing.assert_close(after.cls, before.cls)


def test_a_pack_without_the_role_or_with_a_damaged_one_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    plain = load_pack(tinypack.build(tmp_path_factory.mktemp("plain")))
    with pytest.raises(PackError, match=r"pack 'tiny' has no role 'structure'.*preprocess.region: object.*sd15"):
        load_structure(plain)
    file = folder / "structure" / "model.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}
    file.unlink()
    file.write_bytes(b"nothing")
    with pytest.raises(PackError, match="structure: model.safetensors has sha256"):
        load_structure(load_pack(folder))
    unhashed(folder)
    with pytest.raises(PackError, match="structure is not a ViTModel folder"):
        load_structure(load_pack(folder))
    save_file({name: value for name, value in weights.items() if "attention.key" not in name}, file, metadata={"format": "pt"})
    with pytest.raises(PackError, match=r"structure lacks 4 weights of a ViTModel \(.*k_proj"):
        load_structure(load_pack(folder))
