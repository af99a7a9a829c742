"""``magicapture packs``, run as a person runs it."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from magicapture.artifacts import sha256_file
from magicapture.backbones.iresnet import BLOCKS, IResNet
from magicapture.cli import app
from magicapture.packs import load_pack
from tests.cli import run, runner


def test_packs_list_says_what_may_be_sold() -> None:
    text = runner.invoke(app, ["packs", "list"]).output
    assert text.startswith("mini ")
    for role, entry in load_pack("mini").roles.items():
        line = next(line for line in text.splitlines() if line.split()[0] == role)
        assert entry.licence in line
        assert ("NOT for commercial use" in line) is not entry.commercial


def test_packs_verify_finds_one_flipped_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_PACKS", str(tmp_path / "nothing-fetched"))
    assert runner.invoke(app, ["packs", "verify"]).exit_code == 0
    shutil.copytree(load_pack("mini").folder, tmp_path / "pack")
    assert runner.invoke(app, ["packs", "verify", str(tmp_path / "pack")]).exit_code == 0
    path = load_pack(tmp_path / "pack").path("judge")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    result = run("packs", "verify", tmp_path / "pack")
    assert result.returncode == 1
    (line,) = [line for line in result.stdout.splitlines() if not line.endswith(" ok")]
    assert "judge" in line
    assert "corrupt" in line


def test_packs_convert_says_what_pack_yaml_needs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(IResNet(BLOCKS["iresnet18"]).state_dict(), tmp_path / "backbone.pth")
    result = runner.invoke(app, ["packs", "convert", str(tmp_path / "backbone.pth"), str(tmp_path / "arcface.safetensors")])
    assert result.exit_code == 0, result.output
    said = yaml.safe_load("\n".join(line for line in result.output.splitlines() if line.startswith(" ")))
    digest = sha256_file(tmp_path / "arcface.safetensors")
    assert said == {"sha256": {"arcface.safetensors": digest}, "settings": {"architecture": "iresnet18"}}
    result = run("packs", "convert", tmp_path / "none.pth", tmp_path / "out.safetensors")
    assert (result.returncode, result.stdout) == (2, "")
    assert "none.pth is not a file; expected a published backbone.pth" in result.stderr
    assert "Traceback" not in result.stderr
