"""The postprocess stage, whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicapture import postprocessing
from magicapture.artifacts import ArtifactError, read_manifest, write_json, writing
from magicapture.config import load_config
from magicapture.packs import Pack, PackError
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render
from tests.faces import tinypack

ITEM = {
    "kind": "portrait",
    "prompt": "a photo of a [V1] person in the [V2] style",
    "seed": 1000,
    "sampler": "ddim",
    "steps": 20,
    "guidance": 3.0,
}


def _images(folder: Path, pictures: list[np.ndarray]) -> Path:
    with writing(folder / "images", "images/1", lineage="abcd") as draft:
        (draft.path / "images").mkdir()
        items = []
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(draft.path / "images" / f"{i:04}.png")
            items.append({**ITEM, "file": f"images/{i:04}.png", "seed": 1000 + i})
        draft.content.update(items=items, adapter={"best_hash": "0123", "seed": 1})
    return folder / "images"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return _images(tmp_path, [tinypack.draw(64, 64, [(32, 32, 29, 0)]), tinypack.draw(64, 64, [], 1)])


def _picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_portraits(images: Path, tiny_folder: Path, tmp_path: Path) -> None:
    config = load_config({"pack": str(tiny_folder), "postprocessing": {"fidelity": 0.0}})
    out = postprocessing.run(images, tmp_path / "portraits", config)
    manifest = read_manifest(out, "portraits", verify=True)
    face, scene = manifest["content"]["items"]
    assert {key: face[key] for key in ITEM} == ITEM and manifest["content"]["adapter"] == {"best_hash": "0123", "seed": 1}
    assert (face["file"], face["before"], face["size"], face["faces"], face["note"]) == (
        "images/0000.png",
        "before/0000.png",
        [256, 256],
        1,
        "",
    )
    assert (scene["seed"], scene["faces"], scene["note"]) == (1001, 0, "no face found: not restored")
    for item, source in ((face, "images/0000.png"), (scene, "images/0001.png")):
        before, after = _picture(out / item["before"]), _picture(out / item["file"])
        assert np.array_equal(before, _picture(images / source)) and after.shape == (256, 256, 3)
        assert (np.abs(after.astype(int) - 128).mean(axis=2)[110:150, 110:150].mean() < 8) == (item is face)
        assert np.abs(after[::, :20].reshape(64, 4, 5, 4, 3).mean(axis=(1, 3)) - before[:, :5]).max() < 4
    assert manifest["content"]["scale"] == 4 and manifest["content"]["fidelity"] == 0.0
    lineages = {manifest["lineage"]}
    lineages.add(
        read_manifest(postprocessing.run(images, tmp_path / "b", load_config(config, ["postprocessing.fidelity=1"])), "portraits")[
            "lineage"
        ]
    )
    assert len(lineages) == 2 and "abcd" not in lineages


def test_only_the_files_named_in_their_order(images: Path, tiny_folder: Path, tmp_path: Path) -> None:
    config = load_config({"pack": str(tiny_folder)})
    for only in (["images/0001.png"], ["images/0001.png", "images/0000.png"]):
        out = postprocessing.run(images, tmp_path / "portraits", config, only)
        assert [item["file"] for item in read_manifest(out, "portraits", verify=True)["content"]["items"]] == only
        assert sorted(str(path.relative_to(out)) for path in (out / "images").iterdir()) == sorted(only)
    with pytest.raises(ArtifactError, match=r"no picture 'images/7\.png' among 2"):
        postprocessing.run(images, tmp_path / "other", config, ["images/7.png"])


def test_what_the_report_shows_of_the_training_is_carried_on(images: Path, tiny_folder: Path, tmp_path: Path) -> None:
    (images / "training" / "attention").mkdir(parents=True)
    (images / "training" / "curves.jsonl").write_text("{}\n")
    out = postprocessing.run(images, tmp_path / "portraits", load_config({"pack": str(tiny_folder)}))
    assert (out / "training" / "curves.jsonl").read_text() == "{}\n"
    assert (out / "training" / "attention").is_dir()


def test_each_part_can_be_left_out(images: Path, tiny_folder: Path, tmp_path: Path) -> None:
    config = load_config({"pack": str(tiny_folder), "postprocessing": {"upscale": False, "restore": False}})
    out = postprocessing.run(images, tmp_path / "same", config)
    assert np.array_equal(_picture(out / "images/0000.png"), _picture(images / "images/0000.png"))
    out = postprocessing.run(images, tmp_path / "large", load_config(config, ["postprocessing.upscale=true"]))
    assert read_manifest(out, "portraits")["content"]["items"][0]["size"] == [256, 256]
    out = postprocessing.run(images, tmp_path / "small", load_config(config, ["postprocessing.restore=true", "postprocessing.fidelity=0"]))
    assert read_manifest(out, "portraits")["content"]["items"][0]["faces"] == 1
    assert np.abs(_picture(out / "images/0000.png").astype(int) - 128)[28:37, 28:37].mean() < 8


def test_bad_input(images: Path, tiny_folder: Path, tmp_path: Path) -> None:
    config = load_config({"pack": str(tiny_folder)})
    with pytest.raises(ArtifactError, match="no manifest.json; expected a 'images' artifact"):
        postprocessing.run(tmp_path / "nothing", tmp_path / "out", config)
    (images / "images" / "0001.png").write_bytes(b"cut")
    with pytest.raises(ArtifactError, match="0001.png cannot be read as a picture"):
        postprocessing.run(images, tmp_path / "out", config)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    pack = tinypack.build(tmp_path / "pack")
    (pack / "restorer.onnx").write_bytes(b"cut")
    with pytest.raises(PackError, match=r"restorer.onnx has sha256 .* \(corrupt or replaced\)"):
        postprocessing.run(images, tmp_path / "out", load_config({"pack": str(pack)}))


def test_mini_makes_portraits_of_256_px(mini_pack: Pack, tmp_path: Path) -> None:
    """Trained pack: rendered people at the diffusion model's size come out large, and every face was found."""
    pictures = [render(Person.sample(i), Look.sample(i), Nuisance.sample(i), size=mini_pack.resolution).image for i in range(6)]
    out = postprocessing.run(_images(tmp_path, pictures), tmp_path / "out", load_config("mini"))
    items = read_manifest(out, "portraits", verify=True)["content"]["items"]
    assert all(min(item["size"]) >= 256 for item in items) and sum(item["faces"] == 1 for item in items) >= 5


def test_all_that_is_known_of_how_portraits_were_made_is_kept(images: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """By it `magicapture evaluate` goes; a stage of the pipeline adds its section to what the pictures' manifest says."""
    off = {"upscale": False, "restore": False}
    whole = load_config({"preset": "mini", "pack": str(tiny_folder), "postprocessing": off})
    assert read_manifest(postprocessing.run(images, tmp_path / "a", whole), "portraits")["config"] == whole.model_dump(mode="json")
    path = images / "manifest.json"
    write_json(path, json.loads(path.read_text()) | {"config": {"pack": "other", "generation": {"steps": 3}}})
    part = load_config({"pack": str(tiny_folder), "postprocessing": off}, partial=True)
    kept = read_manifest(postprocessing.run(images, tmp_path / "b", part), "portraits")["config"]
    assert kept == {"pack": str(tiny_folder), "generation": {"steps": 3}, "postprocessing": off}
