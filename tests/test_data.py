"""The reference data: pulled offline from the embedded remote, made from seeds, replaced without leftovers."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from magicapture.world.samples import write_samples

ROOT = Path(__file__).parent.parent
FILES = {f"{kind}/{name}" for kind in ("person", "look") for name in ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "description.txt")}


def _dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"DVC_SITE_CACHE_DIR": str(folder / ".dvc" / "tmp" / "site"), "DVC_NO_ANALYTICS": "1"}
    return subprocess.run((sys.executable, "-m", "dvc", *arguments), cwd=folder, env=env, capture_output=True, text=True, check=False)


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(("git", *who, *arguments), cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare clone of what this checkout holds or would commit of the data (a plain clone would find this machine's DVC cache)."""
    tmp = tmp_path_factory.mktemp("bare")
    work = tmp / "work"
    for name in _git(
        ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "--", ".dvc", ".dvcignore", ".gitignore", "data.dvc"
    ).split():
        if (ROOT / name).is_file():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, work / name)
    _git(work, "init", "--quiet")
    _git(work, "add", "--all")
    _git(work, "commit", "--quiet", "--message", "data")
    _git(tmp, "clone", "--quiet", "--bare", "work", "bare.git")
    shutil.rmtree(work)
    return tmp / "bare.git"


@pytest.fixture
def clone(bare: Path, tmp_path: Path) -> Path:
    _git(tmp_path, "clone", "--quiet", str(bare), "clone")
    return tmp_path / "clone"


def _remote(folder: Path) -> set[str]:
    samples = folder / ".dvc" / "samples" / "files" / "md5"
    return {path.parent.name + path.name for path in samples.rglob("*") if path.is_file()}


def _tracked(folder: Path) -> dict[str, str]:
    """Path below data/ -> md5, by data.dvc and the listing it names in the embedded remote."""
    listing = yaml.safe_load((folder / "data.dvc").read_text())["outs"][0]["md5"]
    entries = json.loads((folder / ".dvc" / "samples" / "files" / "md5" / listing[:2] / listing[2:]).read_text())
    return {entry["relpath"]: entry["md5"] for entry in entries} | {"": listing}


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_fresh_clone_pulls_the_data_offline(clone: Path) -> None:
    assert not (clone / "data").exists()
    result = _dvc(clone, "pull")
    assert result.returncode == 0, result.stderr
    tracked = _tracked(clone)
    assert set(tracked) - {""} == FILES
    assert {name: _md5(clone / "data" / name) for name in FILES} == {name: tracked[name] for name in FILES}
    assert _git(clone, "status", "--porcelain") == ""  # neither the pictures nor DVC's cache are for git
    for path in (clone / "data").rglob("*.jpg"):
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (256, 256))


def test_a_missing_sample_stops_the_pull(clone: Path) -> None:
    digest = _tracked(clone)["person/3.jpg"]
    (clone / ".dvc" / "samples" / "files" / "md5" / digest[:2] / digest[2:]).unlink()
    result = _dvc(clone, "pull")
    assert result.returncode != 0
    assert digest in result.stdout + result.stderr


def test_a_corrupt_sample_is_noticed(clone: Path) -> None:
    digest = _tracked(clone)["person/3.jpg"]
    sample = clone / ".dvc" / "samples" / "files" / "md5" / digest[:2] / digest[2:]
    sample.chmod(0o644)
    sample.write_bytes(sample.read_bytes()[:-100])
    result = _dvc(clone, "pull")
    assert result.returncode != 0
    assert "failed" in result.stderr
    assert not (clone / "data" / "person" / "3.jpg").exists()


def test_the_embedded_remote_holds_the_tracked_files_and_nothing_else() -> None:
    tracked = _tracked(ROOT)
    assert _remote(ROOT) == set(tracked.values())
    for digest in tracked.values():
        stem = digest.removesuffix(".dir")
        assert _md5(ROOT / ".dvc" / "samples" / "files" / "md5" / digest[:2] / digest[2:]) == stem


def test_the_tracked_data_is_what_the_seeds_give(tmp_path: Path) -> None:
    write_samples(tmp_path)
    tracked = _tracked(ROOT)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == FILES
    for name in FILES:
        sample = ROOT / ".dvc" / "samples" / "files" / "md5" / tracked[name][:2] / tracked[name][2:]
        if name.endswith(".txt"):
            assert (tmp_path / name).read_text() == sample.read_text()
            continue
        # Not the bytes: another libjpeg or numpy may round otherwise.
        made, kept = (np.asarray(Image.open(path), np.float64) for path in (tmp_path / name, sample))
        again = "the renderer changed: `python -m magicapture.world.samples data`, then as its docstring says"
        assert np.abs(made - kept).mean() < 1, f"{name}: {again}"


def test_replaced_data_leaves_no_old_files_in_the_remote(clone: Path) -> None:
    old = _remote(clone)
    assert _dvc(clone, "pull").returncode == 0
    shutil.rmtree(clone / "data")
    write_samples(clone / "data", person=7_000_123, look=("beach", 10_000_007), count=2, size=64)
    for arguments in (("add", "data"), ("push",), ("gc", "--workspace", "--cloud", "--force")):
        result = _dvc(clone, *arguments)
        assert result.returncode == 0, result.stderr
    assert _remote(clone) == set(_tracked(clone).values())
    assert not _remote(clone) & old


def test_samples_are_fixed_by_their_seeds(tmp_path: Path) -> None:
    for name, person in (("a", 7_000_001), ("b", 7_000_001), ("c", 7_000_002)):
        write_samples(tmp_path / name, person=person, count=2, size=64)
    a, b, c = ({path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.jpg")} for name in "abc")
    assert a == b
    assert all(a[path] != c[path] for path in a if path.parts[0] == "person")
    assert "person" in (tmp_path / "a" / "person" / "description.txt").read_text()
    assert (tmp_path / "a" / "look" / "description.txt").read_text().startswith("in the winter style , wearing ")
