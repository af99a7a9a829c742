"""Own weights as the adapter: trained, saved, loaded, put back, and skipped, exactly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from magicapture import adapters
from magicapture.adapters import AdapterError
from magicapture.adapters.weights import make_room
from magicapture.backbones import Backbone, load_backbone
from magicapture.packs import Pack


def _all(backbone: Backbone) -> dict[str, torch.Tensor]:
    networks = {"unet": backbone.unet, **backbone.text_encoders}
    return {f"{prefix}.{name}": p.detach().clone() for prefix, network in networks.items() for name, p in network.named_parameters()}


def _changed(backbone: Backbone, choice: str, text: bool = True) -> Backbone:
    """A backbone with a token whose chosen weights have moved."""
    backbone.tokens.add("[V1]", torch.ones(backbone.tokens.width))
    generator = torch.Generator().manual_seed(3)
    groups = adapters.unfreeze(backbone, choice, text)
    with torch.no_grad():
        for parameter in (*groups.unet, *groups.text):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return backbone


def test_cross_attention_is_its_keys_and_values_alone(backbone: Backbone) -> None:
    groups = adapters.unfreeze(backbone, "cross_attention")
    wanted = [p for name, p in backbone.unet.named_parameters() if ".attn2.to_k." in name or ".attn2.to_v." in name]
    assert wanted and {id(p) for p in groups.unet} == {id(p) for p in wanted} and not groups.text
    trainable = [p for network in (backbone.unet, backbone.text_encoder, backbone.vae) for p in network.parameters() if p.requires_grad]
    assert {id(p) for p in trainable} == {id(p) for p in wanted}


def test_all_is_unet_and_text_encoder_without_the_vocabulary(backbone: Backbone) -> None:
    groups = adapters.unfreeze(backbone, "all")
    assert len(groups.unet) == len(list(backbone.unet.parameters()))
    assert not backbone.tokens.embedding.weight.requires_grad
    assert len(groups.text) == sum(1 for p in backbone.text_encoder.parameters() if p is not backbone.tokens.embedding.weight)
    assert not any(p.requires_grad for p in backbone.vae.parameters())
    with pytest.raises(ValueError, match="'some'; expected one of all, cross_attention"):
        adapters.unfreeze(backbone, "some")


@pytest.mark.parametrize("choice", ["all", "cross_attention"])
def test_saved_weights_come_back_on_a_fresh_model(backbone: Backbone, pack: Pack, tmp_path: Path, choice: str) -> None:
    tuned = _changed(backbone, choice)
    adapters.save(tmp_path, tuned)
    fresh = load_backbone(pack)
    before = _all(fresh)
    stored = adapters.load(tmp_path, fresh)
    assert stored.rank == 0 and adapters.tensor_hash(adapters.tensors(fresh)) == adapters.tensor_hash(adapters.tensors(tuned))
    prompts, seeds = ["a photo of a [V1] person"], [3]
    sampling = {"steps": 2, "guidance": 2.0, "sampler": "ddim"}
    assert (fresh.sample(prompts, seeds, **sampling) == tuned.sample(prompts, seeds, **sampling)).all()
    assert not any(p.requires_grad for p in (*fresh.unet.parameters(), *fresh.text_encoder.parameters()))
    with adapters.disabled(fresh):
        inside = _all(fresh)
    assert all(torch.equal(inside[name], before[name]) for name in before if "tokens" not in name and "vectors" not in name)
    adapters.put_back(fresh)
    after = _all(fresh)
    assert all(torch.equal(after[name], before[name]) for name in before) and not fresh.untuned


class _Copies(TorchDispatchMode):
    """Counts copies of tensors by where they are told to lie (None: where the tensor does)."""

    def __init__(self) -> None:
        super().__init__()
        self.devices: Counter[str | None] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten.clone.default, torch.ops.aten._to_copy.default):
            device = (kwargs or {}).get("device")
            self.devices[device and device.type] += 1
        return function(*args, **(kwargs or {}))


def test_what_is_set_aside_lies_on_the_cpu(backbone: Backbone, pack: Pack, tmp_path: Path) -> None:
    with _Copies() as untuned:
        groups = adapters.unfreeze(backbone, "cross_attention")
    backbone.tokens.add("[V1]", torch.ones(backbone.tokens.width))
    with _Copies() as tuned, adapters.disabled(backbone):
        pass
    adapters.save(tmp_path, backbone)
    fresh = load_backbone(pack)
    with _Copies() as loaded:
        make_room(fresh, {name: tensor for name, tensor in adapters.read(tmp_path).tensors.items() if name.startswith("unet.")})
    assert untuned.devices == tuned.devices == loaded.devices == {"cpu": len(groups.unet)}


def test_a_checkpoint_restores_own_weights(backbone: Backbone, pack: Pack) -> None:
    tuned = _changed(backbone, "cross_attention")
    wanted = adapters.tensors(tuned)
    other = load_backbone(pack)
    other.tokens.add("[V1]", torch.zeros(other.tokens.width))
    adapters.unfreeze(other, "cross_attention")
    adapters.restore(other, wanted)
    assert adapters.tensor_hash(adapters.tensors(other)) == adapters.tensor_hash(wanted)
    with pytest.raises(AdapterError, match="does not fit this model"):
        adapters.restore(load_backbone(pack), wanted)


def test_tokens_alone_are_an_adapter_too(backbone: Backbone, pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="carries no adapter"):
        adapters.save(tmp_path / "none", backbone)
    backbone.tokens.add("[V1]", torch.ones(backbone.tokens.width))
    adapters.save(tmp_path / "tokens", backbone)
    fresh = load_backbone(pack)
    adapters.load(tmp_path / "tokens", fresh)
    assert torch.equal(fresh.tokens.vectors["[V1]"], torch.ones(backbone.tokens.width)) and not adapters.attached(fresh)
    (tmp_path / "tokens" / "weights.safetensors").unlink()
    with pytest.raises(AdapterError, match="pytorch_lora_weights.safetensors is missing"):
        adapters.read(tmp_path / "tokens")


def test_weights_of_another_model_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    adapters.save(tmp_path, _changed(backbone, "cross_attention"))
    from safetensors.torch import load_file, save_file

    file = tmp_path / "weights.safetensors"
    save_file({name: tensor[:, :4].contiguous() for name, tensor in load_file(file).items()}, file)
    before = _all(backbone)
    with pytest.raises(AdapterError, match="has no place in this model"):
        adapters.load(tmp_path, backbone)
    assert set(_all(backbone)) == set(before) and not backbone.untuned
