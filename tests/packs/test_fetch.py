"""Fetching packs, from a hub on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import yaml
from typer.testing import CliRunner

from magicapture.artifacts import sha256_file
from magicapture.cli import app
from magicapture.doctor import examine
from magicapture.packs import ROLES, PackError, load_pack, pack_names
from magicapture.packs.fetch import SAFE, fetch
from magicapture.packs.pack import LOCK, home
from tests.hub_server import COMMIT, Hub, serve

WEIGHTS = bytes(range(256)) * 64
ONNX = b"onnx" * 500


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve() as hub:
        hub.files = {
            "some/clip/config.json": b"{}",
            "some/clip/sub/model.safetensors": WEIGHTS,
            "some/faces/scrfd.onnx": ONNX,
            "some/faces/scrfd.pth": ONNX,
        }
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "a-token-of-the-hub")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setenv("MAGICAPTURE_PACKS", str(tmp_path / "home"))
        monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 512)
        yield hub


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A folder with a pack.yaml alone: a folder role, a renamed file, and one that is laid down by hand."""
    common = {"licence": "MIT", "commercial": True}
    roles: dict[str, Any] = {
        "clip": {"path": "clip", "hub": "some/clip", "sha256": {"config.json": None, "sub/model.safetensors": None}, **common},
        "detector": {
            "path": "faces/detector.onnx", "hub": "some/faces", "file": "scrfd.onnx", "sha256": {"detector.onnx": None}, **common,
        },
        "aesthetic": {"path": "aesthetic.safetensors", "by_hand": "a head in safetensors", **common},
    }  # fmt: skip
    pack = {"name": "few", "version": "1", "description": "for tests", "resolution": 64, "attention_resolution": 16, "roles": roles}
    (tmp_path / "recipe").mkdir()
    _write(tmp_path / "recipe", pack)
    return tmp_path / "recipe"


def _write(folder: Path, pack: dict[str, Any]) -> None:
    (folder / "pack.yaml").write_text(yaml.safe_dump(pack))


def _change(folder: Path, role: str, **values: Any) -> None:
    pack = yaml.safe_load((folder / "pack.yaml").read_text())
    pack["roles"][role] |= values
    _write(folder, pack)


def test_fetch_says_sizes_loads_verifies_and_records(hub: Hub, recipe: Path, tmp_path: Path) -> None:
    said: list[str] = []
    pack = fetch(str(recipe), tmp_path / "to", said.append)
    assert said[0] == f"few: 3 files to fetch, 18.4 kB, into {tmp_path / 'to'}"
    assert said[1:4] == ["  clip: config.json, 2 B", "  clip: sub/model.safetensors, 16.4 kB", "  detector: detector.onnx, 2.0 kB"]
    assert f"lay it down yourself as {tmp_path / 'to' / 'aesthetic.safetensors'}: a head in safetensors" in said[4]
    assert (pack.path("clip") / "sub" / "model.safetensors").read_bytes() == WEIGHTS
    assert pack.path("detector").read_bytes() == ONNX
    lock = json.loads((tmp_path / "to" / LOCK).read_text())
    assert lock["detector"] == {"hub": "some/faces", "revision": COMMIT, "sha256": {"detector.onnx": sha256_file(pack.path("detector"))}}
    assert set(lock["clip"]["sha256"]) == {"config.json", "sub/model.safetensors"}
    assert pack.digest() != load_pack(recipe).digest()  # the lineage key follows what was recorded
    # Every file after a role's first is asked for at that one's commit; the store of large files never sees the hub's token.
    assert ("HEAD", f"/some/clip/resolve/{COMMIT}/sub/model.safetensors") in [request[:2] for request in hub.requests]
    assert {request[3] for request in hub.requests if request[1].startswith("/store/")} == {None}
    assert "Bearer a-token-of-the-hub" in {request[3] for request in hub.requests}
    assert not list((tmp_path / "to").rglob("*.part"))


def test_a_second_fetch_loads_nothing_and_a_missing_file_alone(hub: Hub, recipe: Path, tmp_path: Path) -> None:
    pack = fetch(str(recipe), tmp_path / "to", lambda _: None)
    hub.requests.clear()
    said: list[str] = []
    fetch(str(recipe), tmp_path / "to", said.append)
    assert not hub.requests and said[0] == "few: all files are there"
    pack.path("detector").unlink()
    hub.files["some/faces/scrfd.onnx"] = b"replaced at its source"
    with pytest.raises(PackError, match=r"detector.onnx came with sha256 .* expected .* thrown away"):
        fetch(str(recipe), tmp_path / "to", lambda _: None)
    assert not pack.path("clip").with_name("detector.onnx").exists() and not list((tmp_path / "to").rglob("*.part"))
    hub.files["some/faces/scrfd.onnx"] = ONNX
    fetch(str(recipe), tmp_path / "to", lambda _: None)
    assert [path for path, _ in hub.gets()][-1] == "/store/some/faces/scrfd.onnx"


def test_a_cut_fetch_goes_on_where_it_was(hub: Hub, recipe: Path, tmp_path: Path) -> None:
    hub.cut_after = 5120
    with pytest.raises(PackError, match=r"cannot be fetched \(.*503.*\); check network.* run the same command again"):
        fetch(str(recipe), tmp_path / "to", lambda _: None)
    (part,) = (tmp_path / "to").rglob("*.part")
    assert part.read_bytes() == WEIGHTS[:5120]
    assert not (tmp_path / "to" / "clip" / "sub" / "model.safetensors").exists()
    hub.cut_after, hub.refuse = None, False
    hub.requests.clear()
    pack = fetch(str(recipe), tmp_path / "to", lambda _: None)
    assert hub.gets()[0] == ("/store/some/clip/sub/model.safetensors", "bytes=5120-")
    assert (pack.path("clip") / "sub" / "model.safetensors").read_bytes() == WEIGHTS


def test_a_wrong_hash_is_refused_before_the_file_takes_its_place(hub: Hub, recipe: Path, tmp_path: Path) -> None:
    _change(recipe, "detector", sha256={"detector.onnx": "0" * 64})
    with pytest.raises(PackError, match=r"detector: detector.onnx came with sha256 \w{12}..., expected 000000000000"):
        fetch(str(recipe), tmp_path / "to", lambda _: None)
    assert not list((tmp_path / "to" / "faces").iterdir())


def test_a_tampered_file_is_named_with_what_to_do(hub: Hub, recipe: Path, tmp_path: Path) -> None:
    path = fetch(str(recipe), tmp_path / "to", lambda _: None).path("detector")
    path.write_bytes(ONNX[:-1] + b"!")
    pack = load_pack(tmp_path / "to")
    assert "corrupt or replaced" in pack.verify()["detector"]
    with pytest.raises(PackError, match=f"magicapture packs fetch {tmp_path / 'to'}`"):
        pack.require("detector")
    with pytest.raises(PackError, match=r"corrupt or replaced\); delete .*detector.onnx and fetch again"):
        fetch(str(recipe), tmp_path / "to", lambda _: None)
    assert path.read_bytes().endswith(b"!")  # what to do with it is its owner's to say


@pytest.mark.parametrize(
    ("role", "values", "message"),
    [
        ("detector", {"file": "gone.onnx"}, r"gone.onnx is not at some/faces"),
        ("detector", {"hub": "some/where"}, r"scrfd.onnx is not at some/where"),
        ("detector", {"revision": "1" * 40}, r"scrfd.onnx is not at some/faces"),
        ("detector", {"file": "scrfd.pth"}, r"names scrfd.pth of some/faces.*pickles.*can run code"),
        ("clip", {"sha256": {"pytorch_model.bin": None}}, r"names pytorch_model.bin of some/clip"),
        ("clip", {"sha256": {}}, r"sha256 has to name the files"),
        ("clip", {"sha256": {"../../evil.json": None}}, r"leads out of the pack folder"),
        ("clip", {"path": "/etc"}, r"leads out of the pack folder"),
    ],
)
def test_what_cannot_be_fetched_is_said_before_anything_is_loaded(
    hub: Hub, recipe: Path, tmp_path: Path, role: str, values: dict[str, Any], message: str
) -> None:
    _change(recipe, role, **values)
    with pytest.raises(PackError, match=message):
        fetch(str(recipe), tmp_path / "to", lambda _: None)
    assert not hub.gets()


def test_no_room_on_the_disk(hub: Hub, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10_000}))
    with pytest.raises(PackError, match=r"has 10.0 kB free, 18.4 kB needed; choose another folder with --to"):
        fetch(str(recipe), tmp_path / "to", lambda _: None)
    assert not hub.gets()


def test_a_cut_fetch_wants_room_for_the_rest_alone(hub: Hub, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.cut_after = 5120
    with pytest.raises(PackError, match="cannot be fetched"):
        fetch(str(recipe), tmp_path / "to", lambda _: None)
    hub.cut_after, hub.refuse = None, False
    (part,) = (tmp_path / "to").rglob("*.part")
    other = part.with_name(part.name.replace(COMMIT[:12], "f" * 12))  # of another commit, and of a file whose name begins alike
    beside = part.with_name(f".{part.name.split('.')[1]}.safetensors.index.json.{COMMIT[:12]}.part")
    for each in (other, beside):
        each.write_bytes(WEIGHTS)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 14_000}))
    said: list[str] = []
    fetch(str(recipe), tmp_path / "to", said.append)
    assert said[0].startswith("few: 2 files to fetch, 13.3 kB, into")
    assert list((tmp_path / "to").rglob("*.part")) == [beside]


def test_a_copied_recipe_is_fetched_by_its_folder_under_whatever_name(
    hub: Hub, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/photographs.md: copy sd15's pack.yaml into a folder and change it."""
    stock = tmp_path / "code" / "sd15"
    stock.mkdir(parents=True)
    pack = yaml.safe_load((recipe / "pack.yaml").read_text())
    _write(stock, pack | {"name": "sd15"})
    monkeypatch.setattr("magicapture.packs.fetch.EMBEDDED", tmp_path / "code")
    for folder, name in ((tmp_path / "mine", "mine"), (tmp_path / "kept", "sd15"), (home() / "sd15", "sd15")):
        folder.mkdir(parents=True)
        _write(folder, pack | {"name": name, "description": "changed"})
        text = (folder / "pack.yaml").read_text()
        with pytest.raises(PackError) as caught:
            load_pack(folder).require("clip")
        command = str(caught.value).split("`")[1]
        result = CliRunner().invoke(app, command.split()[1:])
        assert result.exit_code == 0, (command, result.exception)
        assert (folder / "clip/config.json").is_file() and (folder / "pack.yaml").read_text() == text
    hub.requests.clear()
    for to in (tmp_path / "kept", None):
        folder = to or home() / "sd15"
        with pytest.raises(PackError, match=rf"pack.yaml is not the pack.yaml of 'sd15' .*`magicapture packs fetch {folder}`"):
            fetch("sd15", to, lambda _: None)
        assert yaml.safe_load((folder / "pack.yaml").read_text())["description"] == "changed"
    assert not hub.requests


def test_no_network_is_one_line(recipe: Path, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1", "MAGICAPTURE_PACKS": str(tmp_path / "home")}
    command = (sys.executable, "-m", "magicapture", "packs", "fetch", "sd15")
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "model_index.json of stable-diffusion-v1-5/stable-diffusion-v1-5 cannot be fetched" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_nothing_to_fetch_and_unknown_packs(hub: Hub) -> None:
    for name, message in (("mini", "nothing to fetch: its files come with it"), ("sd16", "no pack 'sd16': .*sd15")):
        result = CliRunner().invoke(app, ["packs", "fetch", name])
        assert result.exit_code != 0 and isinstance(result.exception, PackError)
        with pytest.raises(PackError, match=message):
            fetch(name)
    assert not hub.requests


def test_a_lock_of_another_source_or_a_damaged_one_is_not_believed(hub: Hub, recipe: Path, tmp_path: Path) -> None:
    fetch(str(recipe), tmp_path / "to", lambda _: None)
    assert load_pack(tmp_path / "to").role("detector").sha256["detector.onnx"] is not None
    _change(tmp_path / "to", "detector", revision="1" * 40)
    assert load_pack(tmp_path / "to").role("detector").sha256 == {"detector.onnx": None}
    (tmp_path / "to" / LOCK).write_text("{")
    with pytest.raises(PackError, match=r"pack.lock is damaged .* delete it and fetch the pack again"):
        load_pack(tmp_path / "to")


def test_a_newer_format_is_refused(recipe: Path) -> None:
    _write(recipe, {"format": 2, "name": "few", "something": "new"})
    with pytest.raises(PackError, match="is of format 2, this MagiCapture reads up to 1; install a newer one"):
        load_pack(recipe)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_the_large_packs_name_every_role(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_PACKS", str(tmp_path))
    pack = load_pack(name)
    assert set(pack.roles) == set(ROLES) and pack.domain is None
    for role, entry in pack.roles.items():
        assert (entry.hub is None) is (entry.by_hand is not None), role
        assert {Path(file).suffix for file in (*entry.sha256, *([entry.file] if entry.file else []))} <= set(SAFE)
    recognisers = [(pack.role(role).hub, pack.role(role).file) for role in ("recogniser", "judge", "referee")]
    assert len(set(recognisers)) == 3  # trains, selects and reports by different networks
    with pytest.raises(PackError, match=f"magicapture packs fetch {name}"):
        pack.require("detector")
    with pytest.raises(PackError, match=f"lay it down yourself as {tmp_path / name / 'aesthetic.safetensors'}"):
        pack.path("aesthetic")


def test_list_verify_and_doctor_tell_fetched_from_not(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["packs", *arguments])
        return result.exit_code, result.output

    assert "[not there: 14 of 14 roles; `magicapture packs fetch sd15`]" in run("list")[1]
    assert run("verify")[0] == 0 and "sd15  not fetched" in run("verify")[1]
    finding = next(finding for finding in examine() if finding.what == "pack sd15")
    assert (finding.ok, finding.needed, finding.remedy) == (False, False, "magicapture packs fetch sd15")
    pack = load_pack("sd15")
    for role in pack.roles.values():
        for file in role.sha256:
            hub.files[f"{role.hub}/{role.file or file}"] = file.encode()
    embedded = tmp_path / "code"
    for name in pack_names():  # the same recipes, without the two hashes that are known
        text = (load_pack(name).folder / "pack.yaml").read_text()
        (embedded / name).mkdir(parents=True)
        (embedded / name / "pack.yaml").write_text(
            "\n".join(_without_hashes(line) if name != "mini" else line for line in text.splitlines())
        )
    monkeypatch.setattr("magicapture.packs.fetch.EMBEDDED", embedded)
    code, output = run("fetch", "sd15")
    count = sum(len(role.sha256) for role in pack.roles.values())
    assert code == 0 and f"{count} files to fetch" in output and "NOT for commercial use: restorer (S-Lab License 1.0" in output
    assert load_pack("sd15").folder == home() / "sd15"
    assert "[not there: 4 of 14 roles]" in run("list")[1]  # what its user has to lay down
    code, output = run("verify")
    assert code == 1 and "aesthetic: lay it down yourself" in output
    for role in ("aesthetic", "recogniser_torch"):
        (home() / "sd15" / load_pack("sd15").role(role).path).write_bytes(b"by hand")
    assert run("verify")[0] == 0 and ": Stable Diffusion 1.5" in run("list")[1] and "[fetched]" in run("list")[1]
    assert load_pack("sd15").missing() == ["arcface_torch"]  # only tuning.recogniser=arcface needs it


def _without_hashes(line: str) -> str:
    key, _, value = line.rpartition(": ")
    return f"{key}: null" if len(value) == 64 else line
