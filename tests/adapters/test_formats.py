"""Names and headers against the published conventions; what is not understood is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magicapture.adapters import AdapterError
from magicapture.adapters.base import FAMILIES, published
from magicapture.adapters.files import write
from magicapture.adapters.formats import convert, read_embedding, read_lora, to_kohya
from magicapture.adapters.layers import Layer, kohya_names, stored_of
from magicapture.adapters.lora import TEXT_TARGETS, UNET_TARGETS

SD1, SD2, XL = FAMILIES


def layers_for(family: str, rank: int, usual: bool = True) -> dict[str, Layer]:
    """Random layers of the exact architecture: the usual ones of this project, or every one that kohya trains."""
    generator = torch.Generator().manual_seed(0)
    ends = tuple(f".{name}" for name in (*UNET_TARGETS, *TEXT_TARGETS))
    more = () if usual else (".ff.net.2", ".proj_in", ".proj_out", ".fc1", ".fc2")
    return {
        name: Layer(torch.randn(rank, *shape[1:], generator=generator), torch.randn(shape[0], rank, *[1] * (len(shape) - 2)), float(rank))
        for name, shape in published(family).shapes.items()
        if name.endswith((*ends, *more)) and (".attentions." in name or name.startswith("text"))
    }


def _expected_sd1_stems() -> set[str]:
    """kohya's rule for Stable Diffusion 1.5 written down: every linear layer and 1x1 convolution of 16 transformers and 12 CLIP layers."""
    places = [f"down_blocks_{i}_attentions_{j}" for i in range(3) for j in range(2)] + ["mid_block_attentions_0"]
    places += [f"up_blocks_{i}_attentions_{j}" for i in (1, 2, 3) for j in range(3)]
    inner = [f"attn{n}_{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out_0")] + ["ff_net_0_proj", "ff_net_2"]
    unet = {f"lora_unet_{place}_{end}" for place in places for end in ("proj_in", "proj_out")}
    unet |= {f"lora_unet_{place}_transformer_blocks_0_{part}" for place in places for part in inner}
    parts = [f"self_attn_{part}_proj" for part in ("q", "k", "v", "out")] + ["mlp_fc1", "mlp_fc2"]
    text = {f"lora_te_text_model_encoder_layers_{i}_{part}" for i in range(12) for part in parts}
    assert (len(unet), len(text)) == (192, 72)  # the 264 modules that kohya's tools report
    return unet | text


def test_sd15_keys_are_kohyas(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(to_kohya(layers_for(SD1, 2, usual=False), published(SD1)))
    stems = {key.partition(".")[0] for key in load_file(tmp_path / "a.safetensors")}
    assert stems == _expected_sd1_stems()
    assert {key.partition(".")[2] for key in load_file(tmp_path / "a.safetensors")} == {"lora_down.weight", "lora_up.weight", "alpha"}


@pytest.mark.parametrize(
    ("layer", "kohya"),
    [
        # Down blocks 1 and 2 hold attentions at inputs 4, 5 and 7, 8; up blocks 0 and 1 at outputs 0 to 2 and 3 to 5.
        ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "input_blocks_4_1_transformer_blocks_0_attn1_to_q"),
        ("down_blocks.2.attentions.1.proj_in", "input_blocks_8_1_proj_in"),
        ("mid_block.attentions.0.proj_in", "middle_block_1_proj_in"),
        ("up_blocks.0.attentions.2.proj_out", "output_blocks_2_1_proj_out"),
        ("up_blocks.1.attentions.0.proj_out", "output_blocks_3_1_proj_out"),
        ("down_blocks.1.resnets.0.time_emb_proj", "input_blocks_4_0_emb_layers_1"),
        ("mid_block.resnets.1.conv1", "middle_block_2_in_layers_2"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks_3_0_op"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks_2_2_conv"),
        ("conv_in", "input_blocks_0_0"),
        ("time_embedding.linear_2", "time_embed_2"),
    ],
)
def test_xl_blocks_are_named_as_sgm_numbers_them(layer: str, kohya: str) -> None:
    also = layer.replace(".", "_")
    assert kohya_names(f"unet.{layer}", xl=True) == [f"lora_unet_{kohya}", f"lora_unet_{also}"]
    assert kohya_names(f"unet.{layer}", xl=False)[0] == f"lora_unet_{also}"
    assert kohya_names("text_encoder.text_model.encoder.layers.0.mlp.fc1", xl=True) == ["lora_te1_text_model_encoder_layers_0_mlp_fc1"]
    assert kohya_names("text_encoder_2.text_model.encoder.layers.0.mlp.fc1", xl=True) == ["lora_te2_text_model_encoder_layers_0_mlp_fc1"]


def test_an_sd15_adapter_of_rank_4_is_at_most_10_mb(tmp_path: Path) -> None:
    layers = layers_for(SD1, 4)
    write(tmp_path / "own", stored_of(layers, {"[V1]": torch.ones(768), "[V2]": torch.ones(768)}))
    (tmp_path / "kohya.safetensors").write_bytes(to_kohya(layers, published(SD1)))
    own = sum(path.stat().st_size for path in (tmp_path / "own").iterdir())
    assert len(layers) == 16 * 9 + 12 * 4
    assert 5e6 < own < 7e6 and (tmp_path / "kohya.safetensors").stat().st_size < 7e6  # 10 MB are allowed


def test_conversion_there_and_back_keeps_every_value_and_byte(tmp_path: Path) -> None:
    layers = layers_for(SD1, 2, usual=False) | {
        name: layer._replace(alpha=0.5) for name, layer in layers_for(SD1, 3).items() if name.startswith("text")
    }
    kohya, back, again = (tmp_path / f"{name}.safetensors" for name in ("kohya", "back", "again"))
    kohya.write_bytes(to_kohya(layers, published(SD1), {"modelspec.title": "again"}))
    assert convert(kohya, back)[0] == "diffusers"
    found, form, base = read_lora(back)
    assert form == "diffusers" and base.family == SD1 and found.keys() == layers.keys()
    for name, layer in list(layers.items())[::13]:  # a diffusers file has one rank: updates are equal, halves are padded
        update = layer.scale * layer.up.flatten(1) @ layer.down.flatten(1)
        assert torch.allclose(found[name].scale * found[name].up.flatten(1) @ found[name].down.flatten(1), update, atol=1e-5)
    assert convert(back, again)[0] == "kohya"
    uniform = {name: layer for name, layer in layers.items() if layer.rank == 2}
    kohya.write_bytes(to_kohya(uniform, published(SD1), {"modelspec.title": "again"}))
    for there, other in ((kohya, back), (back, again)):
        with pytest.raises(AdapterError, match=rf"{other.name} exists; it is left as it is"):
            convert(there, other)
        other.unlink()
        convert(there, other)
    assert again.read_bytes() == kohya.read_bytes()
    with pytest.raises(AdapterError, match="expected another file that ends in .safetensors"):
        convert(back, back)


def test_the_header_is_kohyas_and_sai_model_specs(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(to_kohya(layers_for(SD1, 2), published(SD1), {"ss_seed": "3"}))
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    assert header["modelspec.sai_model_spec"] == "1.0.0" and header["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert (header["ss_network_dim"], header["ss_network_alpha"], header["ss_seed"]) == ("2", "2.0", "3")
    assert (header["ss_network_module"], header["ss_base_model_version"], header["ss_v2"]) == ("networks.lora", "sd_v1", "False")
    assert list(json.loads(file.read_bytes()[8:][: int.from_bytes(file.read_bytes()[:8], "little")])["__metadata__"]) == sorted(header)


@pytest.mark.parametrize(
    "key", ["lora_unet_nowhere_to_q.lora_down.weight", "lora_te_text_model_encoder_layers_0_mlp_fc1.dora_scale", "unet.x.lokr_w1"]
)
def test_unknown_keys_are_listed_and_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(to_kohya(layers_for(SD1, 1), published(SD1)))
    save_file({**load_file(file), key: torch.ones(1, 1)}, file)
    with pytest.raises(AdapterError, match="1 of 577 keys are not LoRA layers.*another adapter: " + key.replace(".", r"\.")):
        read_lora(file)


def test_another_base_half_a_layer_and_no_lora_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(to_kohya(layers_for(SD1, 1), published(SD1)))
    with pytest.raises(
        AdapterError, match=r"of another base than Stable Diffusion 2.x: 80 of 192 layers.*k_proj is 768 -> 768, expected 1024 -> 1024"
    ):
        read_lora(file, published(SD2))
    tensors = load_file(file)
    first = next(key for key in tensors if key.endswith("lora_up.weight"))
    save_file({key: tensor for key, tensor in tensors.items() if key != first}, file)
    with pytest.raises(AdapterError, match="has no matching pair of down and up"):
        read_lora(file)
    save_file({"x": torch.ones(2)}, file)
    with pytest.raises(AdapterError, match="its base is none of"):
        read_lora(file)
    file.write_bytes(b"PK not safetensors")
    with pytest.raises(AdapterError, match="is no safetensors file, or damaged"):
        read_lora(file)


def test_names_that_diffusers_wrote_before_peft_are_read(tmp_path: Path) -> None:
    layers = {name: layer for name, layer in layers_for(SD1, 2).items() if "layers.0." in name or ("mid_block" in name and "attn" in name)}
    old: dict[str, torch.Tensor] = {}
    for name, layer in layers.items():
        stem, part = name.replace("to_out.0", "to_out").rsplit(".", 1)
        part = part if part.startswith("to_") else f"to_{part.removesuffix('_proj')}"
        stem = f"{stem}{'.processor' if name.startswith('unet') else ''}.{part}_lora"
        old |= {f"{stem}.down.weight": layer.down, f"{stem}.up.weight": layer.up}
    save_file(old, tmp_path / "old.safetensors")
    found, form, _ = read_lora(tmp_path / "old.safetensors")
    assert form == "diffusers" and found.keys() == layers.keys()
    assert all(torch.equal(found[name].up, layer.up) and found[name].scale == 1 for name, layer in layers.items())


def test_embeddings_of_every_kind_are_read(tmp_path: Path) -> None:
    file, rows = tmp_path / "a.safetensors", torch.arange(8.0).reshape(2, 4)
    save_file({"<sks>": rows}, file)
    assert {name: vector.tolist() for name, vector in read_embedding(file).items()} == {"<sks>": [0, 1, 2, 3], "<sks>_1": [4, 5, 6, 7]}
    assert read_embedding(file, "[V1]").keys() == {"[V1]", "[V1]_1"}
    save_file({"clip_l": rows[:1], "clip_g": torch.ones(1, 6)}, file)
    assert read_embedding(file, "[V1]").keys() == {"[V1].clip_l", "[V1].clip_g"}
    with pytest.raises(AdapterError, match="does not say which token it is of"):
        read_embedding(file)
    save_file({"emb_params": rows}, file)
    with pytest.raises(AdapterError, match=r"write --embedding '\[V1\]="):
        read_embedding(file)
    save_file({"[V1]": rows[0], "[V2]": rows[1]}, file)
    assert read_embedding(file).keys() == {"[V1]", "[V2]"}
    with pytest.raises(AdapterError, match="holds several tokens"):
        read_embedding(file, "[V1]")
