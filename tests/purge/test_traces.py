"""Whose artifacts are, told by manifests alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from magicapture.artifacts import MANIFEST, page_tag, sha256_file, writing
from magicapture.packs import load_pack
from magicapture.purge import traces


def make(folder: Path, whose: dict[str, list[str]], text: str = "") -> None:
    with writing(folder, "images/1", subjects=whose) as draft:
        (draft.path / "0000.png").write_text(text or str(folder))


def test_people_who_share_a_name_are_told_apart(tmp_path: Path) -> None:
    """By their photos: sets of one person have some in common, if only through a third."""
    for name, photos in {"a": ["1", "2"], "b": ["3", "4"], "c": ["2", "3"], "d": ["9"]}.items():
        make(tmp_path / name, {"person": photos})
    make(tmp_path / "e", {"other": ["2"]})  # under another name a photo that was given with hers; whether it shows her nothing tells
    make(tmp_path / "f", {"other": ["7"]})
    found = traces.find("person", [tmp_path])
    assert {path.name for path in found.found} == {"a", "b", "c", "d"} and not found.others
    assert [path.name for path in found.unsure] == ["e"]
    known = traces.find("person", [tmp_path], ["2"])  # as --photos does
    assert {path.name for path in known.found} == {"a", "b", "c", "d", "e"} and known.others == {"other"} and not known.unsure
    assert sorted(map(sorted, found.people)) == [["1", "2", "3", "4"], ["9"]]


def photo(path: Path, shade: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((9, 9, 3), shade, np.uint8)).save(path)
    return sha256_file(path)


def prepare(folder: Path, name: str, photos: list[str], used: list[str]) -> None:
    with writing(folder, "prepared/1", subjects={name: photos}) as draft:
        draft.content = {"source": [{"sha256": digest, "concept": ""} for digest in used]}


def names(found: traces.Traces, root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in found.found}


def test_empty_files_in_two_folders_join_nobody(tmp_path: Path) -> None:
    """As manifests list them that were written before only pictures counted."""
    (tmp_path / "__init__.py").touch()
    for name, own in {"anna": "1", "ben": "2"}.items():
        make(tmp_path / name, {name: [own, traces.manifests.EMPTY]})
    found = traces.find("anna", [tmp_path])
    assert names(found, tmp_path) == {"anna"} and not found.unsure and not found.others


def test_a_picture_of_two_that_neither_set_uses_joins_nobody(tmp_path: Path) -> None:
    """Each copy goes or stays with the folder it lies in; his, which stays, is said."""
    hers, his, both = (
        photo(tmp_path / "photos/anna/1.png", 1),
        photo(tmp_path / "photos/ben/1.png", 2),
        photo(tmp_path / "photos/anna/2.png", 3),
    )
    shutil.copyfile(tmp_path / "photos/anna/2.png", tmp_path / "photos/ben/2.png")
    for folder in ("anna", "ben"):
        (tmp_path / "photos" / folder / "desktop.ini").write_text("the same everywhere")
    junk = sha256_file(tmp_path / "photos/anna/desktop.ini")
    prepare(tmp_path / "a", "anna", [hers, both, junk], [hers])
    prepare(tmp_path / "b", "ben", [his, both, junk], [his])
    make(tmp_path / "c", {"ben": [his, both]})
    found = traces.find("anna", [tmp_path])
    assert names(found, tmp_path) == {"a", "photos/anna/1.png", "photos/anna/2.png", "photos/anna/desktop.ini"}
    assert {str(path.relative_to(tmp_path)) for path in found.unsure} == {"photos/ben/2.png"} and not found.others
    for name in ("a", "photos/anna"):
        shutil.rmtree(tmp_path / name)
    again = traces.find("anna", [tmp_path], found.sure, found.derived, photos=found.photos, aside=found.aside)
    assert not again.found and again.unsure.keys() == found.unsure.keys()  # as a purge that was cut off, and its second look


def test_a_set_that_perhaps_uses_a_shared_photo_stays_and_is_said(tmp_path: Path) -> None:
    prepare(tmp_path / "a", "anna", ["1", "2"], ["1"])
    make(tmp_path / "unknown", {"ben": ["2", "3"]})  # no prepared set tells which it uses
    prepare(tmp_path / "same", "annie", ["1", "4"], ["1", "4"])  # uses one that is hers
    found = traces.find("anna", [tmp_path])
    assert names(found, tmp_path) == {"a", "same"} and [path.name for path in found.unsure] == ["unknown"]
    assert "purge 'ben' too" in found.unsure[tmp_path / "unknown"]


def test_an_exported_model_does_not_make_the_pack_hers(tmp_path: Path) -> None:
    """Of a whole pipeline only the parts that were trained prove a copy; a pack's own files are never touched."""
    pack, clone = load_pack("mini").folder, tmp_path / "clone" / "packs" / "mini"
    parts = ("diffusion/scheduler/scheduler_config.json", "diffusion/unet/config.json", "diffusion/tokenizer/tokenizer.json", "pack.yaml")
    for part in (*parts, "aesthetic.safetensors"):
        (clone / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pack / part, clone / part)
    with writing(tmp_path / "export", "export/1", config={"pack": "mini"}, subjects={"anna": ["1"]}) as draft:
        for part in parts[:3]:
            file = draft.path / part.removeprefix("diffusion/")
            file.parent.mkdir(exist_ok=True)
            shutil.copyfile(pack / part, file)
        (draft.path / "text_encoder").mkdir()
        shutil.copyfile(pack / "diffusion/text_encoder/model.safetensors", draft.path / "text_encoder" / "model.safetensors")  # as it was
        (draft.path / "vae").mkdir()
        save_file({"w": np.ones(3)}, draft.path / "vae" / "diffusion_pytorch_model.safetensors")
        save_file({"w": np.zeros(3)}, draft.path / "unet" / "diffusion_pytorch_model.safetensors")
        draft.content = {"format": "pipeline"}
    for name in ("unet", "vae", "text_encoder"):
        (file,) = (tmp_path / "export" / name).glob("*.safetensors")
        shutil.copyfile(file, tmp_path / f"{name}.safetensors")
    shutil.copyfile(tmp_path / "unet.safetensors", clone / "unet.safetensors")
    found = traces.find("anna", [tmp_path])
    assert names(found, tmp_path) == {"export", "unet.safetensors"}
    assert {path.name: why for path, why in found.unsure.items()} == {
        "unet.safetensors": "equal to a file made of this person, but part of a pack"
    }


@pytest.mark.parametrize(
    ("whose", "kind"),
    [({"anna": []}, "page"), ({"annie": ["1"]}, "page"), ({"ben": ["2", "3"]}, None), ({"ben": ["2"]}, None), ({'b"><b': ["2"]}, None)],
)
@pytest.mark.parametrize(("name", "before"), [("gallery.html", "<head>"), ("README.md", "# A model card\n" * 400)])
def test_a_page_is_told_by_its_tag(whose: dict[str, list[str]], kind: str | None, name: str, before: str, tmp_path: Path) -> None:
    prepare(tmp_path / "set", "anna", ["1", "2"], ["1"])
    page = tmp_path / name
    page.write_text(f"{before}{page_tag(whose)}</head>")
    assert traces.manifests.page_people(page) == whose
    assert traces.find("anna", [tmp_path]).found.get(page) == kind


STRANGE = (
    {"schema": "x/1", "files": ["a.js"]},
    {"schema": "x", "subjects": ["anna"]},
    {"schema": "x", "subjects": {"anna": "1"}},
    {"schema": "x", "subjects": {}, "content": [1]},
    {"schema": "prepared/1", "files": {}, "content": {"source": 1, "items": ["x"]}, "config": {"promotion": 3}, "made": 1},
    {"schema": "x", "files": {"": "1", "a": 1}},
    [],
)


def test_strangers_files_stop_nothing(tmp_path: Path) -> None:
    for i, manifest in enumerate(STRANGE):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / "deep.json").write_text("__kfp_artifact__")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    for i, said in enumerate(("x", "12", '{"anna": 1}')):
        save_file({"w": np.ones(1)}, tmp_path / f"{i}.safetensors", {"subjects": said})
    (tmp_path / "x.html").write_text('<meta name="magicapture-subjects" content="[">')
    make(tmp_path / "set", {"anna": ["1"]})
    assert names(traces.find("anna", [tmp_path]), tmp_path) == {"set"}


def test_the_records_of_whoever_trained_in_the_folder_above_stay(tmp_path: Path) -> None:
    """Hers lie beside her artifacts, or one further up where her artifacts lie in a candidate's folder."""
    for folder, name in (
        ("runs/prepared", "ben"),
        ("runs/seed-0/adapter", "ben"),
        ("runs/more/portraits", "anna"),
        ("runs/export", "anna"),
    ):
        make(tmp_path / folder, {name: [name]})
    make(tmp_path / "runs/anna/seed-0/adapter", {"anna": ["1"]})
    for record in ("runs/recipe.yaml", "runs/more/selection.json", "runs/anna/recipe.yaml", "runs/anna/search.json"):
        (tmp_path / record).write_text("x")
    found = {path for path in names(traces.find("anna", [tmp_path]), tmp_path) if "." in path}
    assert found == {"runs/more/selection.json", "runs/anna/recipe.yaml", "runs/anna/search.json"}


def test_a_writer_killed_within_a_file_of_latents(tmp_path: Path) -> None:
    save_file({"mean": np.zeros(1000, np.float32)}, tmp_path / "whole", {"subjects": '{"anna": ["1"]}'})
    (tmp_path / ".key.safetensors.x1y2").write_bytes((tmp_path / "whole").read_bytes()[:200])
    (tmp_path / "whole").unlink()
    (tmp_path / ".other.safetensors.x1y2").write_bytes(b"\x10\0\0")
    assert {path.name for path in traces.find("anna", [tmp_path]).found} == {".key.safetensors.x1y2"}


def test_links_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere" / "a", {"anna": ["1"]})
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "root" / "pipe")  # would block whoever reads it
    assert traces.find("anna", [tmp_path / "root"]).found == {}
    assert [path.name for path in traces.walk(tmp_path / "root")] == ["pipe", "link"]
