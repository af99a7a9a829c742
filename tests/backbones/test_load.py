"""Folders, devices and precisions that cannot be used are named with a remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from magicapture.backbones import BackboneError, load_backbone, resolve_device
from magicapture.packs import PackError, load_pack
from tests.backbones.tinysd import write_pack


def test_a_replaced_weight_file_is_refused(tmp_path: Path) -> None:
    pack = write_pack(tmp_path)
    file = pack.path("diffusion") / "vae/diffusion_pytorch_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(PackError, match=r"diffusion: diffusion_pytorch_model.safetensors has sha256 .*corrupt or replaced"):
        load_backbone(pack)


def test_an_unknown_family_is_named(tmp_path: Path) -> None:
    write_pack(tmp_path)
    index = tmp_path / "diffusion/model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "FluxPipeline"}))
    with pytest.raises(BackboneError, match="holds a FluxPipeline; MagiCapture runs: StableDiffusionPipeline"):
        load_backbone(load_pack(tmp_path))
    index.unlink()
    with pytest.raises(BackboneError, match="no model_index.json"):
        load_backbone(load_pack(tmp_path))


def test_fp16_on_the_cpu_and_unknown_precisions_are_refused(tmp_path: Path) -> None:
    pack = write_pack(tmp_path)
    with pytest.raises(BackboneError, match="fp16 does not run on the CPU"):
        load_backbone(pack, "cpu", "fp16")
    with pytest.raises(BackboneError, match="expected one of fp32, bf16, fp16"):
        load_backbone(pack, "cpu", "int8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_gpu_is_named() -> None:
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(BackboneError, match="sees no CUDA device"):
        resolve_device("cuda")


def test_a_device_is_resolved_without_diffusers() -> None:
    code = "import sys; from magicapture.backbones import BackboneError, resolve_device; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
