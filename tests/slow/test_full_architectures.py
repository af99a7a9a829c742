"""The published architectures at full size with random weights, bf16 on the CPU: one LoRA step, and the adapter in stock diffusers.

Not among the tests of every day (`make test-slow`). Sizes are those of the published models; pictures are small, so that a step
ends in minutes: a UNet has the same weights at every size.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from magicapture import adapters
from magicapture.backbones import Backbone
from magicapture.backbones.load import FAMILIES
from magicapture.training.attention import AttentionMaps
from magicapture.world.tokenizer import build_tokenizer
from tests.tinyfamilies import into_stock, stock_prediction

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

PROMPT = "a photo of a [V1] person in the [V2] style"
#: Cells of a latent's side in these tests.
CELLS = 32
_THREE_AND_ONE = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
_VIT_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768}
_VIT_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16, "projection_dim": 512}
_BIG_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20, "projection_dim": 1280}


@dataclass(frozen=True)
class Architecture:
    """Configurations of a published model, and how many parameters and maps it is known to have."""

    pipeline: str
    resolution: int
    prediction_type: str
    scaling: float
    unet: dict[str, Any]
    text: list[dict[str, Any]]
    #: Of the UNet and each text encoder.
    parameters: tuple[int, ...]
    #: Layers x heads of cross-attention whose cells cover 32 px, 4 x 4 cells of a latent.
    maps: int
    width: int
    pads: tuple[str, ...] = field(default=("<|endoftext|>",))


ARCHITECTURES = {
    "sd15": Architecture(
        "StableDiffusionPipeline", 512, "epsilon", 0.18215,
        {**_THREE_AND_ONE, "cross_attention_dim": 768, "attention_head_dim": 8},
        [{**_VIT_L, "hidden_act": "quick_gelu"}], (859_520_964, 123_060_480), 40, 768,
    ),
    "sd21": Architecture(
        "StableDiffusionPipeline", 768, "v_prediction", 0.18215,
        {
            **_THREE_AND_ONE, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True,
            "upcast_attention": True,
        },
        [{**_VIT_H, "hidden_act": "gelu"}], (865_910_724, 340_387_840), 100, 1024, ("!",),
    ),
    "sdxl": Architecture(
        "StableDiffusionXLPipeline", 1024, "epsilon", 0.13025,
        {
            "block_out_channels": (320, 640, 1280), "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "transformer_layers_per_block": (1, 2, 10),
            "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20), "use_linear_projection": True,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
        },
        [{**_VIT_L, "hidden_act": "quick_gelu"}, {**_BIG_G, "hidden_act": "gelu"}], (2_567_463_684, 123_060_480, 694_659_840), 1200, 2048,
        ("<|endoftext|>", "!"),
    ),
}  # fmt: skip


def _write_network(folder: Path, kind: Any, config: Any) -> None:
    """Random bf16 weights of the usual sizes, one block of numbers repeated: drawing billions would take longer than the test.

    Every weight starts elsewhere in the block. Where queries and keys are projected alike, attention is so sharp that rounding
    decides what is predicted.
    """
    with torch.device("meta"):
        network = kind(config) if isinstance(config, CLIPTextConfig) else kind(**config)
    network = network.to(torch.bfloat16).to_empty(device="cpu")
    length = 1_000_003
    block = torch.randn(length, generator=torch.Generator().manual_seed(0)).bfloat16().repeat(2)
    for index, (name, parameter) in enumerate(network.named_parameters()):
        values = parameter.data.view(-1)
        if parameter.dim() == 1:
            values.fill_(float(name.endswith("weight")))  # norms, and biases
            continue
        scale = 0.02 if "embedding" in name else 1 / math.sqrt(parameter[0].numel())
        start = index * 7919 % length
        for part in values.split(length):
            torch.mul(block[start : start + len(part)], scale, out=part)
    network.save_pretrained(folder)


def _write(folder: Path, architecture: Architecture) -> None:
    """The folder as its publisher lays it out, but for tokenizers of few words (the real ones cannot be had offline)."""
    _write_network(folder / "unet", UNet2DConditionModel, {"in_channels": 4, "out_channels": 4, "layers_per_block": 2, **architecture.unet})
    vae = {
        "block_out_channels": (128, 256, 512, 512), "down_block_types": ("DownEncoderBlock2D",) * 4, "layers_per_block": 2,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "latent_channels": 4, "scaling_factor": architecture.scaling,
    }  # fmt: skip
    _write_network(folder / "vae", AutoencoderKL, vae)
    for number, (text, pad) in enumerate(zip(architecture.text, architecture.pads, strict=True)):
        suffix = "_2" * number
        config = CLIPTextConfig(
            vocab_size=49408, max_position_embeddings=77, bos_token_id=0, eos_token_id=2, pad_token_id=1, **text
        )  # fmt: skip
        _write_network(folder / f"text_encoder{suffix}", CLIPTextModelWithProjection if number else CLIPTextModel, config)
        tokenizer = build_tokenizer(folder / f"tokenizer{suffix}", 77)
        tokenizer.pad_token = pad
        tokenizer.save_pretrained(folder / f"tokenizer{suffix}")
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=architecture.prediction_type, steps_offset=1
    ).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": architecture.pipeline}))


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _stock(folder: Path, backbone: Backbone) -> DiffusionPipeline:
    """diffusers' own pipeline around the backbone's networks, bare again: a second copy of them would not fit the memory."""
    adapters.detach(backbone)
    parts: dict[str, Any] = {"unet": backbone.unet, "vae": backbone.vae, "scheduler": backbone.schedule}
    for (name, network), tokens in zip(backbone.text_encoders.items(), backbone.tokens.encoders, strict=True):
        network.set_input_embeddings(tokens.embedding)
        tokenizer = name.replace("text_encoder", "tokenizer")
        parts |= {name: network, tokenizer: CLIPTokenizer.from_pretrained(folder / tokenizer)}
    if len(backbone.text_encoders) == 1:
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return getattr(diffusers, json.loads((folder / "model_index.json").read_text())["_class_name"])(**parts)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a model is written; pytest would keep its gigabytes for the next three runs."""
    yield tmp_path / "model"
    shutil.rmtree(tmp_path / "model", ignore_errors=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_lora_step_at_full_size_and_the_adapter_in_stock_diffusers(name: str, folder: Path, tmp_path: Path) -> None:
    architecture = ARCHITECTURES[name]
    _write(folder, architecture)
    backbone = FAMILIES[architecture.pipeline](folder, architecture.resolution, torch.device("cpu"), torch.bfloat16)
    found = [_count(backbone.unet), *(_count(network) for network in backbone.text_encoders.values())]
    assert tuple(found) == architecture.parameters and _count(backbone.vae) == 83_653_863
    assert (backbone.scale, backbone.latent_size, backbone.text_length) == (8, architecture.resolution // 8, 77)
    assert backbone.prediction_type == architecture.prediction_type

    vectors = []
    for encoder in backbone.tokens.encoders:
        vectors += [encoder.add(token, encoder.vector_of(word)) for token, word in (("[V1]", "person"), ("[V2]", "photo"))]
    groups = adapters.attach(backbone, 4, None, 0.0, seed=0)
    learnt = [*groups.unet, *groups.text, *vectors]
    before = [parameter.detach().clone() for parameter in learnt]
    optimiser = torch.optim.AdamW(learnt, lr=0.05, weight_decay=0.0)  # much at once: what one step does shall be seen below
    generator = torch.Generator().manual_seed(0)
    clean = backbone.encode_images(torch.rand(1, 3, 8 * CELLS, 8 * CELLS, generator=generator) * 2 - 1)
    assert clean.shape == (1, 4, CELLS, CELLS)
    noise, timesteps = torch.randn(clean.shape, generator=generator), torch.tensor([500])
    noisy = backbone.schedule.add_noise(clean, noise, timesteps)
    velocity = architecture.prediction_type == "v_prediction"
    target = backbone.schedule.get_velocity(clean, noise, timesteps) if velocity else noise

    backbone.gradient_checkpointing()
    maps = AttentionMaps(backbone.unet, CELLS // 4)
    text = backbone.encode_prompts([PROMPT])
    assert text.sequence.shape == (1, 77, architecture.width)
    assert (None if text.pooled is None else text.pooled.shape) == (None if name != "sdxl" else (1, 1280))
    with maps.recording():
        prediction = backbone.predict(noisy, timesteps, text)
    looked = maps.of(torch.stack([backbone.token_positions([PROMPT], token) for token in ("[V1]", "[V2]")], dim=1))
    assert looked.shape == (1, 2, architecture.maps, CELLS // 4, CELLS // 4)
    loss = (prediction - target).square().mean() + looked.square().mean()
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    optimiser.step()
    moved = [not torch.equal(parameter.detach(), old) for parameter, old in zip(learnt, before, strict=True)]
    assert sum(moved) > 0.4 * len(moved) and all(moved[-len(vectors) :])  # B and the tokens; A once B is not 0
    frozen = {id(parameter) for parameter in learnt}
    networks = [backbone.vae, *adapters.lora.networks(backbone).values()]
    assert all(p.grad is None for network in networks for p in network.parameters() if id(p) not in frozen)
    backbone.gradient_checkpointing(False)
    maps.release()
    del text, looked, prediction, loss, optimiser

    with torch.no_grad():
        expected = backbone.predict(noisy, timesteps, backbone.encode_prompts([PROMPT]))
        with adapters.disabled(backbone):
            bare = backbone.predict(noisy, timesteps, backbone.encode_prompts([PROMPT]))
        adapters.save(tmp_path / "adapter", backbone)
        stock = _stock(folder, backbone)
        into_stock(tmp_path / "adapter", stock)
        prediction = stock_prediction(stock, noisy.bfloat16(), timesteps, [PROMPT], architecture.resolution).float()
    change = (expected - bare).norm()
    # What is left is rounding: stock diffusers holds LoRA in bf16, too.
    off = (prediction - expected).norm()
    assert off < 0.05 * change, (
        f"the adapter changes the prediction by {float(change):.3g}, but in stock diffusers it is {float(off):.3g} off"
    )
