"""Judge and referee are other networks than the one trained against."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from magicapture.artifacts import sha256_file
from magicapture.packs import Pack, PackError, load_pack, require_independent, trained_against


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Two recognisers with torch weights, the second of which is the judge; a third without an ONNX file."""
    files = {
        "recogniser": "a.onnx", "recogniser_torch": "a.safetensors", "arcface": "b.onnx", "arcface_torch": "b.safetensors",
        "cosface_torch": "c.safetensors", "judge": "judge.onnx", "referee": "r.onnx", "referee_torch": "r.safetensors",
    }  # fmt: skip
    for file in files.values():
        (tmp_path / file).write_text(file)
    shutil.copyfile(tmp_path / "b.onnx", tmp_path / "judge.onnx")
    roles = {role: {"path": file, "licence": "Apache-2.0", "commercial": True} for role, file in files.items()}
    about = {"name": "tiny", "version": "1", "description": "", "resolution": 64, "attention_resolution": 16, "roles": roles}
    (tmp_path / "pack.yaml").write_text(yaml.safe_dump(about))
    return load_pack(tmp_path)


def test_what_an_adapter_remembers(pack: Pack) -> None:
    weights, onnx = (sha256_file(pack.folder / name) for name in ("a.safetensors", "a.onnx"))
    assert trained_against(pack, "recogniser") == {"role": "recogniser", "weights": weights, "onnx": onnx}
    assert trained_against(pack, "cosface")["onnx"] is None
    with pytest.raises(PackError, match="no role judge_torch, which tuning.recogniser=judge asks for; it offers: arcface, cosface, recog"):
        trained_against(pack, "judge")
    (pack.folder / "a.safetensors").unlink()
    with pytest.raises(PackError, match="recogniser_torch is missing"):
        trained_against(pack, "recogniser")


def test_others_may_judge(pack: Pack) -> None:
    for network in ("recogniser", "cosface"):
        assert require_independent(pack, trained_against(pack, network)) == []
    assert require_independent(pack, None) == []  # no identity loss, or an adapter from before this was recorded


@pytest.mark.parametrize(("network", "role", "file"), [("arcface", "judge", "judge.onnx"), ("referee", "referee", "r.onnx")])
def test_the_one_trained_against_may_not_unless_allowed(pack: Pack, network: str, role: str, file: str) -> None:
    trained = trained_against(pack, network)
    with pytest.raises(PackError) as caught:
        require_independent(pack, trained)
    for part in ("'tiny'", f"{role} ({file})", f"tuning.recogniser={network}", "expected others", "evaluation.allow_trained_network=true"):
        assert part in str(caught.value)
    assert require_independent(pack, trained, allow=True) == [role]
