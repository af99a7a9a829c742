"""What is exported generates the same in stock diffusers, and what is imported again is the adapter it was."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magicapture import adapters
from magicapture.adapters import AdapterError
from magicapture.adapters.export import export
from magicapture.adapters.operations import import_lora
from magicapture.artifacts import read_manifest
from magicapture.packs import Pack, load_pack
from tests.adapters.artifact import PROMPT, config_of, latents_here, latents_of, load_embeddings, stock_pipeline, tuned_of, write_adapter
from tests.backbones.tinysd import write_pack as write_sd1
from tests.tinyfamilies import into_stock, write_pack

FAMILIES = ("sd1", "sd2-v", "sdxl")


@pytest.fixture(scope="module", params=FAMILIES)
def pack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    folder = tmp_path_factory.mktemp("packs") / request.param
    folder.mkdir()
    return write_sd1(folder) if request.param == "sd1" else write_pack(folder, request.param)


@pytest.fixture(scope="module")
def adapter(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "adapter", pack, tuned_of(pack))


@pytest.fixture(scope="module")
def expected(pack: Pack, adapter: Path) -> torch.Tensor:
    """The latents that stock diffusers generates with the adapter folder itself, the reference of every other form."""
    pipeline = stock_pipeline(pack.path("diffusion"))
    into_stock(adapter, pipeline)
    return latents_of(pipeline, pack)


def test_kohya_files_generate_the_same_by_diffusers_own_conversion(pack: Pack, adapter: Path, expected: torch.Tensor, tmp_path: Path) -> None:
    export(adapter, tmp_path / "out", "kohya", "anna")
    pipeline = stock_pipeline(pack.path("diffusion"))
    before = latents_of(pipeline, pack, "a person")
    pipeline.load_lora_weights(tmp_path / "out", weight_name="anna.safetensors")
    load_embeddings(pipeline, {token: tmp_path / f"out/anna-{token[1:3]}.safetensors" for token in ("[V1]", "[V2]")})
    found = latents_of(pipeline, pack)
    assert (found - expected).abs().max() <= 1e-6
    assert (found - before).abs().max() > 0.05


def test_diffusers_files_generate_the_same(pack: Pack, adapter: Path, expected: torch.Tensor, tmp_path: Path) -> None:
    export(adapter, tmp_path / "out", "diffusers")
    pipeline = stock_pipeline(pack.path("diffusion"))
    pipeline.load_lora_weights(tmp_path / "out")
    if pack.name == "sdxl":
        load_embeddings(pipeline, {token: tmp_path / f"out/{token[1:3]}/learned_embeds.safetensors" for token in ("[V1]", "[V2]")})
    else:
        pipeline.load_textual_inversion([str(tmp_path / "out/V1"), str(tmp_path / "out/V2")])  # folders, tokens named inside
    assert (latents_of(pipeline, pack) - expected).abs().max() <= 1e-6


def test_a_merged_model_generates_the_same_with_no_adapter(pack: Pack, adapter: Path, expected: torch.Tensor, tmp_path: Path) -> None:
    export(adapter, tmp_path / "full", "pipeline")
    pipeline = stock_pipeline(tmp_path / "full")
    assert not pipeline.get_active_adapters()
    assert {"[V1]", "[V2]"} <= set(pipeline.tokenizer.get_added_vocab())
    assert (latents_of(pipeline, pack) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_merged_model_has_the_scales_in_it(pack: Pack, adapter: Path, tmp_path: Path) -> None:
    export(adapter, tmp_path / "full", "pipeline", unet_scale=0.6, text_scale=0.25)
    pipeline = stock_pipeline(pack.path("diffusion"))
    into_stock(adapter, pipeline)
    networks = {"unet": 0.6, "text_encoder": 0.25} | ({"text_encoder_2": 0.25} if pack.name == "sdxl" else {})
    pipeline.set_adapters(pipeline.get_active_adapters(), [networks])
    expected = latents_of(pipeline, pack)
    found = latents_of(stock_pipeline(tmp_path / "full"), pack)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("to", ["diffusers", "kohya"])
def test_an_export_comes_back_bit_for_bit(pack: Pack, adapter: Path, tmp_path: Path, to: str) -> None:
    export(adapter, tmp_path / "out", to, "anna")
    files = [(token, tmp_path / f"out/anna-{token[1:3]}.safetensors") for token in ("[V1]", "[V2]")] if to == "kohya" else []
    if to == "diffusers" and pack.name == "sdxl":
        files = [(token, tmp_path / f"out/{token[1:3]}/learned_embeds.safetensors") for token in ("[V1]", "[V2]")]
    source = tmp_path / "out/anna.safetensors" if to == "kohya" else tmp_path / "out"
    back = import_lora(source, tmp_path / "back", config_of(pack), files)
    first, second = adapters.read(adapter), adapters.read(back)
    assert (second.rank, second.alpha) == (first.rank, first.alpha) == (4, 2.0)
    assert adapters.tensor_hash(first.tensors) == adapters.tensor_hash(second.tensors)
    content = read_manifest(back, "adapter", verify=True)["content"]
    assert content["pack_digest"] == pack.digest() and content["made_from"][0]["format"] == to
    assert torch.equal(latents_here(pack, back), latents_here(pack, adapter))


def test_the_cards_code_for_diffusers_runs(
    pack: Pack, adapter: Path, expected: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executed as it stands, in the export's folder, and compared with the adapter in stock diffusers."""
    monkeypatch.setenv("MAGICAPTURE_PACKS", str(pack.folder.parent))
    if not (pack.folder.parent / pack.name).exists():
        (pack.folder.parent / pack.name).symlink_to(pack.folder)
    for to in ("diffusers", "kohya", "pipeline"):
        out = export(adapter, tmp_path / to, to, "anna", unet_scale=1.0, text_scale=1.0)
        (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
        code = code.replace(",\n).images[0]", ", output_type='latent',\n).images[0]")
        code = code.replace('picture.save("portrait.png")', 'torch.save(picture, "latents.pt")')
        monkeypatch.chdir(out)
        exec(code, {})
        found = torch.load(out / "latents.pt", weights_only=True)
        assert (found - expected[0]).abs().max() <= (1e-6 if to != "pipeline" else 1e-5 * expected.abs().max()), to
