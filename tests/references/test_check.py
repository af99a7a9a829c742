"""`magicapture check`: verdicts, sheet, JSON and exit status, as a person and a program see them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from magicapture.artifacts import page_tag, read_manifest, sha256_file
from magicapture.config import load_config
from magicapture.references import run
from magicapture.references.check import check
from magicapture.world.samples import write_samples

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """person/ with five good photos and four bad ones, and look/."""
    folder = tmp_path_factory.mktemp("pictures")
    write_samples(folder)
    first = np.array(Image.open(folder / "person" / "1.jpg"))
    bad = {
        "dark": (first * 0.2).astype(np.uint8),
        "lying": np.rot90(np.array(Image.open(folder / "person" / "2.jpg"))),
        "cut": np.array(Image.open(folder / "person" / "3.jpg"))[:, :128],
        "soft": cv2.GaussianBlur(np.array(Image.open(folder / "person" / "4.jpg")), (0, 0), 8),
    }
    for name, image in bad.items():
        Image.fromarray(np.ascontiguousarray(image)).save(folder / "person" / f"{name}.png")
    (folder / "person" / "notes.txt").write_text("no picture")
    return folder


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "magicapture", "check", *map(str, arguments)), cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_fault_is_named_and_the_stage_sets_the_same_aside(pictures: Path, tmp_path: Path) -> None:
    config = load_config("mini")
    checked = check(pictures / "person", config)
    assert checked.enough and checked.counts["set aside"] == 5 and checked.counts["use"] + checked.counts["warn"] == 5
    faults = {verdict.name: verdict.severe[0].problem for verdict in checked.verdicts if verdict.severe}
    expected = {"dark": "too dark", "lying": "tilted", "cut": "cut off", "soft": "blurred"}
    assert faults == {f"{name}.png": fault for name, fault in expected.items()} | {"notes.txt": "unreadable"}
    assert [verdict.name for verdict in checked.verdicts] == sorted(verdict.name for verdict in checked.verdicts)
    prepared = run(pictures / "person", pictures / "look", tmp_path / "prepared", config)
    aside = read_manifest(prepared, "prepared")["content"]["set_aside"]
    assert {entry["name"]: entry["reason"] for entry in aside} == {v.name: v.reason for v in checked.verdicts if v.severe}


def test_json_sheet_and_status(pictures: Path, tmp_path: Path) -> None:
    result = _run(pictures / "person", "--json", "--sheet", tmp_path / "sheet.html")
    assert result.returncode == 1, result.stderr
    said = json.loads(result.stdout)
    assert said["counts"]["set aside"] == 5 and said["enough"] is True and said["set"] == "photos"
    lying = next(entry for entry in said["pictures"] if entry["name"] == "lying.png")
    assert (lying["verdict"], lying["problems"]) == ("set aside", ["tilted"]) and "turned by 90 degrees clockwise" in lying["reason"]
    good = next(entry for entry in said["pictures"] if entry["name"] == "1.jpg")
    assert good["problems"] == [] and good["measures"]["visible"] > 0.5 and abs(good["measures"]["tilt"]) < 20
    page = (tmp_path / "sheet.html").read_text()
    photos = [path for path in (pictures / "person").iterdir() if path.suffix in (".png", ".jpg")]
    assert page_tag({"person": sorted(map(sha256_file, photos))}) in page
    assert all(entry["name"] in page for entry in said["pictures"]) and page.count("its mask") >= 7


def test_looks_all_usable_and_errors(pictures: Path, tmp_path: Path) -> None:
    result = _run(pictures / "look", "--style")
    assert result.returncode == 0 and "5 usable" in result.stdout, result.stdout + result.stderr
    result = _run(pictures / "person", "--set", "preprocess.min_pictures=6")
    assert result.returncode == 3 and "set aside  dark.png: too dark" in result.stdout
    result = _run(tmp_path / "nowhere")
    assert result.returncode == 2 and "nowhere does not exist" in result.stderr
