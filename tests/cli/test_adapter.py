"""`magicapture adapter ...` as a person runs it: every command of docs/adapters.md, and its errors."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import Result

from magicapture import adapters
from magicapture.artifacts import read_manifest
from magicapture.backbones import load_backbone
from magicapture.cli import app
from magicapture.packs import load_pack
from tests.adapters.artifact import latents_of, load_embeddings, stock_pipeline, write_adapter
from tests.cli import ROOT, run, runner

GUIDE = ROOT / "docs" / "adapters.md"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the embedded pack, rank 8 as its preset trains, not trained."""
    backbone, generator = load_backbone(load_pack("mini")), torch.Generator().manual_seed(1)
    for token in ("[V1]", "[V2]"):
        backbone.tokens.add(token, torch.randn(backbone.tokens.width, generator=generator) * backbone.tokens.std)
    groups = adapters.attach(backbone, 8, None, 0.0, seed=0)
    with torch.no_grad():
        for parameter in [*groups.unet, *groups.text]:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return write_adapter(tmp_path_factory.mktemp("run") / "adapter", load_pack("mini"), backbone, "pack=mini")


def _invoke(*arguments: str | Path) -> Result:
    return runner.invoke(app, ["adapter", *map(str, arguments)])


def test_every_command_of_the_guide_runs(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL) for line in block.splitlines()]
    assert {line.split()[2] for line in lines if line.startswith("magicapture adapter")} == {
        "export", "import", "info", "scale", "merge", "resize", "convert",
    }  # fmt: skip
    for line in lines:
        result = runner.invoke(app, shlex.split(line.replace("$ADAPTER", str(adapter)))[1:])
        assert result.exit_code == 0, (line, result.output, result.exception)
    assert read_manifest("out/more/images", "images")["content"]["items"]
    digest = adapters.tensor_hash(adapters.read(adapter).tensors)
    assert adapters.tensor_hash(adapters.read("out/back").tensors) == digest
    assert Path("out/anna-kohya.safetensors").stat().st_size > 100_000


def test_the_mini_packs_export_generates_the_same_in_stock_diffusers(adapter: Path, tmp_path: Path) -> None:
    pack = load_pack("mini")
    reference = stock_pipeline(pack.path("diffusion"))
    reference.load_lora_weights(adapter)
    for token, vector in adapters.load_tokens(adapter / "tokens.safetensors").items():
        reference.load_textual_inversion({token: vector})
    expected = latents_of(reference, pack)
    assert _invoke("export", adapter, "--to", "kohya", "--name", "anna", "--out", tmp_path / "out").exit_code == 0
    pipeline = stock_pipeline(pack.path("diffusion"))
    pipeline.load_lora_weights(tmp_path / "out", weight_name="anna.safetensors")
    load_embeddings(pipeline, {token: tmp_path / f"out/anna-{token[1:3]}.safetensors" for token in ("[V1]", "[V2]")})
    assert (latents_of(pipeline, pack) - expected).abs().max() <= 1e-6


def test_a_file_with_an_equals_sign_in_its_path_names_no_token(adapter: Path, tmp_path: Path) -> None:
    assert _invoke("export", adapter, "--to", "kohya", "--name", "anna", "--out", tmp_path / "out").exit_code == 0
    file = tmp_path / "lr=1" / "v1.safetensors"
    file.parent.mkdir()
    save_file({"[V1]": adapters.load_tokens(adapter / "tokens.safetensors")["[V1]"]}, file)
    embeddings = ("--embedding", file, "--embedding", f"[V2]={tmp_path / 'out/anna-V2.safetensors'}")
    result = _invoke("import", tmp_path / "out/anna.safetensors", *embeddings, "--out", tmp_path / "back")
    assert result.exit_code == 0, result.exception
    assert adapters.tensor_hash(adapters.read(tmp_path / "back").tensors) == adapters.tensor_hash(adapters.read(adapter).tensors)


def test_info_is_json_for_programs_and_lines_for_people(adapter: Path) -> None:
    found = json.loads(_invoke("info", adapter, "--json").output)
    assert (found["rank"], found["alpha"], found["pack"], found["steps"]) == (8, 8.0, "mini", {"inversion": 60, "tuning": 80})
    assert found["tokens"] == {"[V1]": 1, "[V2]": 1} and found["hash"] == adapters.tensor_hash(adapters.read(adapter).tensors)
    assert found["bytes"] == sum((adapter / name).stat().st_size for name in found["files"])
    text = _invoke("info", adapter).output
    assert "rank         8\n" in text and "tokens       [V1] 1, [V2] 1\n" in text


def test_errors_are_one_line_that_says_what_to_do(adapter: Path, tmp_path: Path) -> None:
    result = run("adapter", "import", tmp_path / "none.safetensors", "--out", tmp_path / "out")
    assert (result.returncode, result.stdout) == (2, "") and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].endswith("none.safetensors is not a file; expected a .safetensors file")
