"""Packs: roles, hashes, and what is said of damage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from magicapture.artifacts import sha256_file
from magicapture.packs import ROLES, Pack, PackError, load_pack, pack_names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pack with a file role and a folder role."""
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "model.safetensors").write_bytes(b"clip weights")
    (tmp_path / "parser.onnx").write_bytes(b"parser weights")
    common = {"licence": "Apache-2.0", "commercial": True}
    roles = {
        "clip": {"path": "clip", "sha256": {"model.safetensors": sha256_file(tmp_path / "clip" / "model.safetensors")}, **common},
        "parser": {
            "path": "parser.onnx",
            "sha256": {"parser.onnx": sha256_file(tmp_path / "parser.onnx")},
            "settings": {"size": 128},
            **common,
        },
    }
    pack = {"name": "tiny", "version": "1", "description": "for tests", "resolution": 64, "attention_resolution": 16, "roles": roles}
    (tmp_path / "pack.yaml").write_text(yaml.safe_dump(pack))
    return tmp_path


def test_a_file_laid_down_by_hand_counts_by_what_lies_there(folder: Path) -> None:
    """Nobody recorded its sha256, and another head gives other scores: caches and protocols have to see that."""
    data = yaml.safe_load((folder / "pack.yaml").read_text())
    data["roles"]["aesthetic"] = {
        "path": "head.safetensors", "by_hand": "a head", "sha256": {"head.safetensors": None}, "licence": "MIT", "commercial": True,
    }  # fmt: skip
    (folder / "pack.yaml").write_text(yaml.safe_dump(data))
    found = [load_pack(folder).digest()]
    for text in (b"one", b"other"):
        (folder / "head.safetensors").write_bytes(text)
        found.append(load_pack(folder).digest())
    assert len(set(found)) == 3 and load_pack(folder).digest("clip", "parser") == load_pack(folder).digest("clip", "parser")
    del data["roles"]["aesthetic"]["sha256"]  # it need not even be named
    (folder / "pack.yaml").write_text(yaml.safe_dump(data))
    before = load_pack(folder).digest()
    (folder / "head.safetensors").write_bytes(b"a third")
    assert load_pack(folder).digest() != before


def test_roles_lead_to_files(folder: Path) -> None:
    pack = load_pack(folder)
    assert pack.path("parser") == folder / "parser.onnx"
    assert pack.role("parser").settings == {"size": 128}
    assert pack.verify() == {"clip": "ok", "parser": "ok"}
    pack.require()
    with pytest.raises(PackError, match="has no role 'judge'; it has: clip, parser"):
        pack.role("judge")


@pytest.mark.parametrize(("role", "file"), [("parser", "parser.onnx"), ("clip", "clip/model.safetensors")])
def test_a_corrupt_file_is_refused_with_its_hash(folder: Path, role: str, file: str) -> None:
    path = folder / file
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)  # same size: only the hash can tell
    pack = load_pack(folder)
    other = ({"clip", "parser"} - {role}).pop()
    assert pack.verify()[other] == "ok"
    with pytest.raises(PackError) as caught:
        pack.require(role)
    for part in ("'tiny'", role, path.name, sha256_file(path)[:12], "corrupt or replaced", "restore"):
        assert part in str(caught.value)
    pack.require(other)


def test_damage_after_a_first_check_is_seen(folder: Path) -> None:
    pack = load_pack(folder)
    assert pack.verify("parser") == {"parser": "ok"}
    (folder / "parser.onnx").write_bytes(b"other weights, of another size")
    assert "sha256" in pack.verify("parser")["parser"]


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "clip" / "model.safetensors").unlink()
    (folder / "parser.onnx").unlink()
    pack = load_pack(folder)
    assert "model.safetensors" in pack.verify()["clip"]
    assert pack.verify()["clip"].startswith("missing")
    with pytest.raises(PackError, match="parser is missing"):
        pack.path("parser")


def test_digest_follows_the_recorded_hashes(folder: Path) -> None:
    before = load_pack(folder).digest()
    data = yaml.safe_load((folder / "pack.yaml").read_text())
    data["description"] = "other words"
    (folder / "pack.yaml").write_text(yaml.safe_dump(data))
    assert load_pack(folder).digest() == before
    data["roles"]["parser"]["sha256"]["parser.onnx"] = "0" * 64
    (folder / "pack.yaml").write_text(yaml.safe_dump(data))
    assert load_pack(folder).digest() != before


@pytest.mark.parametrize(
    ("change", "whole", "parser", "weights"),
    [
        (lambda data: data.update(attention_resolution=32), True, False, False),
        (lambda data: data.update(resolution=128), True, False, False),
        (lambda data: data["roles"]["parser"]["settings"].update(size=256), True, True, False),
        (lambda data: data["roles"]["clip"]["sha256"].update({"model.safetensors": "0" * 64}), True, False, True),
        (lambda data: data["roles"].update(judge=data["roles"]["parser"]), True, False, True),
        (lambda data: data["roles"]["parser"].update(licence="MIT"), False, False, False),
    ],
)
def test_digests_see_what_they_are_over_and_nothing_else(
    folder: Path, change: Callable[[Any], None], whole: bool, parser: bool, weights: bool
) -> None:
    """What a lineage key names, what an adapter has to fit, what older artifacts recorded."""
    before, data = load_pack(folder), yaml.safe_load((folder / "pack.yaml").read_text())
    change(data)
    (folder / "pack.yaml").write_text(yaml.safe_dump(data))
    after = load_pack(folder)
    found = [after.digest() != before.digest(), after.digest("parser") != before.digest("parser")]
    assert [*found, after.weights_digest() != before.weights_digest()] == [whole, parser, weights]


def test_a_digest_of_weights_alone_is_what_older_artifacts_recorded(folder: Path) -> None:
    pack = load_pack(folder)
    assert pack.weights_digest() == "d7dc02c07453a61b"
    assert len({pack.digest(), pack.digest("clip", "parser"), pack.digest("clip"), pack.weights_digest()}) == 4
    assert pack.digest("clip", "parser") == pack.digest("parser", "clip")
    with pytest.raises(PackError, match="has no role 'diffusion'"):
        pack.digest("diffusion")


def test_an_optional_role_may_be_missing_but_not_altered(folder: Path) -> None:
    data = yaml.safe_load((folder / "pack.yaml").read_text())
    data["roles"]["parser"]["optional"] = True
    (folder / "pack.yaml").write_text(yaml.safe_dump(data))
    pack = load_pack(folder)
    assert set(pack.verify()) == {"clip", "parser"}
    (folder / "parser.onnx").write_bytes(b"altered")
    assert "corrupt or replaced" in pack.verify()["parser"]
    (folder / "parser.onnx").unlink()
    assert pack.verify() == {"clip": "ok"} and pack.missing() == ["parser"]
    pack.require()
    with pytest.raises(PackError, match="parser: missing"):  # who needs it names it
        pack.require("parser")


@pytest.mark.parametrize(
    ("text", "part"),
    [("name: [", "usable pack.yaml"), ("name: only", "version"), ("[1, 2]", "usable pack.yaml"), ("", "usable pack.yaml")],
)
def test_pack_yaml_that_cannot_be_used(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "pack.yaml").write_text(text)
    with pytest.raises(PackError, match=part):
        load_pack(tmp_path)


def test_unknown_pack_lists_the_embedded_ones(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no pack 'nimi'.*mini"):
        load_pack("nimi")
    with pytest.raises(PackError, match="nor a folder"):
        load_pack(tmp_path)


def test_the_embedded_pack_is_complete_and_unaltered() -> None:
    assert "mini" in pack_names()
    pack = load_pack("mini")
    assert set(pack.roles) == set(ROLES) - {"arcface_torch", "cosface_torch"}
    assert set(pack.verify().values()) == {"ok"}
    for name, role in pack.roles.items():
        assert role.commercial, name
        assert role.sha256, name
        assert _files(pack, name) == set(role.sha256), f"{name}: files without a recorded hash"


def _files(pack: Pack, role: str) -> set[str]:
    path = pack.path(role)
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} if path.is_dir() else {path.name}


def test_the_embedded_pack_holds_no_pickles() -> None:
    suffixes = {path.suffix for path in load_pack("mini").folder.rglob("*") if path.is_file()}
    assert not suffixes & {".pt", ".pth", ".bin", ".pkl", ".ckpt", ".npy"}
