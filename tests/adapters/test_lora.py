"""LoRA layers: where they belong, deterministic, harmless at first, and taken off without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from magicapture import adapters
from magicapture.backbones import Backbone, load_backbone
from magicapture.packs import Pack
from tests.adapters.conftest import tune

PROMPTS = ["a photo of a person", "a dog"]


def _outputs(backbone: Backbone) -> tuple[Tensor, Tensor]:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        text = backbone.encode_prompts(PROMPTS)
        return text.sequence, backbone.predict(latents, torch.tensor([5, 700]), text)


def test_layers_sit_on_attention_and_geglu_and_nowhere_else(backbone: Backbone) -> None:
    groups = adapters.attach(backbone, 3, None, 0.0, seed=0)
    endings = {
        name.split(".lora_")[0].split("transformer_blocks.0.")[1] for name, _ in backbone.unet.named_parameters() if ".lora_" in name
    }
    attention = {f"attn{i}.{part}" for i in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")}
    assert endings == attention | {"ff.net.0.proj"}
    text = {name.split(".lora_")[0].split("layers.")[1] for name, _ in backbone.text_encoder.named_parameters() if ".lora_" in name}
    assert text == {f"{i}.self_attn.{part}_proj" for i in (0, 1) for part in ("q", "k", "v", "out")}
    trainable = [p for network in (backbone.unet, backbone.vae, backbone.text_encoder) for p in network.parameters() if p.requires_grad]
    assert {id(p) for p in trainable} == {id(p) for p in [*groups.unet, *groups.text]}
    assert len(groups.text) == 16 and all(3 in p.shape for p in trainable)


def test_a_fresh_adapter_changes_nothing_and_draws_from_its_seed_alone(pack: Pack, backbone: Backbone) -> None:
    before = _outputs(backbone)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = adapters.attach(backbone, 4, None, 0.0, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(before, _outputs(backbone), strict=True):
        assert torch.equal(one, other)
    torch.manual_seed(2)
    second = adapters.attach(load_backbone(pack), 4, None, 0.0, seed=5)
    third = adapters.attach(load_backbone(pack), 4, None, 0.0, seed=6)
    assert all(torch.equal(a, b) for a, b in zip([*first.unet, *first.text], [*second.unet, *second.text], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.text, third.text, strict=True))
    # peft's own distribution: uniform within 1 / sqrt(inputs)
    down = first.unet[0]
    assert down.abs().max() <= down.shape[1] ** -0.5 and down.std() > 0.4 * down.shape[1] ** -0.5


def test_attaching_on_the_cpu_opens_no_gpu(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine that has one."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: pytest.fail(f"opens {device}"))
    adapters.attach(backbone, 4, None, 0.0, seed=0)


def test_tokens_stay_trainable_and_gradients_reach_all_three(backbone: Backbone) -> None:
    vector = backbone.tokens.add("[V1]", torch.ones(32))
    groups = adapters.attach(backbone, 4, None, 0.0, seed=0)
    assert vector.requires_grad
    backbone.predict(torch.ones(1, 4, 8, 8), torch.tensor([5]), backbone.encode_prompts(["a [V1]"])).square().sum().backward()
    for parameters in ([vector], groups.unet, groups.text):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in parameters)
    frozen = [p for p in backbone.unet.parameters() if not p.requires_grad]
    assert frozen and all(p.grad is None for p in frozen)


def test_adapters_of_bf16_backbones_are_fp32(pack: Pack) -> None:
    backbone = load_backbone(pack, precision="bf16")
    groups = adapters.attach(backbone, 4, None, 0.0, seed=0)
    assert {p.dtype for p in [*groups.unet, *groups.text]} == {torch.float32}
    backbone.predict(torch.ones(1, 4, 8, 8), torch.tensor([5]), backbone.encode_prompts(["a"])).square().sum().backward()
    assert max(p.grad.abs().max() for p in groups.unet if p.grad is not None) > 0


def test_detaching_leaves_the_networks_as_they_were(pack: Pack, backbone: Backbone) -> None:
    before = _outputs(backbone)
    names = {name: tensor.clone() for name, tensor in backbone.unet.state_dict().items()}
    tune(backbone)
    assert adapters.attached(backbone)
    assert not torch.allclose(_outputs(backbone)[1], before[1], atol=1e-2)
    adapters.detach(backbone)
    assert not adapters.attached(backbone)
    assert backbone.unet.state_dict().keys() == names.keys()
    assert all(torch.equal(tensor, names[name]) for name, tensor in backbone.unet.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(before, _outputs(backbone), strict=True))
    adapters.attach(backbone, 2, None, 0.0, seed=0)  # and it can be done again, with another rank


def test_a_second_adapter_is_refused(tuned: Backbone) -> None:
    with pytest.raises(ValueError, match="already carries an adapter"):
        adapters.attach(tuned, 4, None, 0.0, seed=0)


def test_inside_disabled_the_base_model_answers_and_everything_comes_back(backbone: Backbone) -> None:
    base = _outputs(backbone)
    tune(backbone)
    after = _outputs(backbone)
    frozen = next(p for name, p in backbone.unet.named_parameters() if ".lora_" in name)
    frozen.requires_grad_(False)
    wanted = [p.requires_grad for p in backbone.unet.parameters()]
    with pytest.raises(RuntimeError, match="stop"), adapters.disabled(backbone):
        with adapters.disabled(backbone):
            pass
        assert all(torch.equal(a, b) for a, b in zip(base, _outputs(backbone), strict=True))
        raise RuntimeError("stop")
    assert all(torch.equal(a, b) for a, b in zip(after, _outputs(backbone), strict=True))
    assert [p.requires_grad for p in backbone.unet.parameters()] == wanted


def test_scales_weigh_unet_and_text_apart(backbone: Backbone) -> None:
    base = _outputs(backbone)
    tune(backbone)
    full = _outputs(backbone)
    adapters.set_scales(backbone, 0.0, 0.0)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(base, _outputs(backbone), strict=True))
    adapters.set_scales(backbone, 0.5, 1.0)
    text, prediction = _outputs(backbone)
    assert torch.equal(text, full[0])
    assert not torch.allclose(prediction, full[1], atol=1e-3) and not torch.allclose(prediction, base[1], atol=1e-3)
    adapters.set_scales(backbone)
    assert all(torch.equal(a, b) for a, b in zip(full, _outputs(backbone), strict=True))


def test_dropout_acts_only_in_training_mode_and_never_while_sampling(backbone: Backbone) -> None:
    adapters.attach(backbone, 4, None, 0.9, seed=0)
    with torch.no_grad():
        for name, parameter in backbone.unet.named_parameters():
            if ".lora_B." in name:
                parameter.fill_(0.5)
    once, again = _outputs(backbone)[1], _outputs(backbone)[1]
    assert torch.equal(once, again)
    settings = {"steps": 2, "guidance": 1.0, "sampler": "ddim"}
    picture = backbone.sample(["a"], [1], **settings)
    backbone.unet.train()
    assert not torch.equal(once, _outputs(backbone)[1])
    assert (picture == backbone.sample(["a"], [1], **settings)).all()
