"""The preprocess stage, whole: on marker faces with tiny models, on rendered people with the trained pack."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from magicapture import references
from magicapture.artifacts import page_tag
from magicapture.config import Config, load_config
from magicapture.faces.align import align
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.classes import HEAD_CLASSES
from magicapture.faces.embed import Embedder
from magicapture.faces.parse import face_mask
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack, PackError
from magicapture.references import ReferencesError
from magicapture.references.prepare import Preparer
from magicapture.world.samples import write_samples
from tests.faces import tinypack

Save = Callable[..., None]


@pytest.fixture
def config(tiny_folder: Path) -> Config:
    return load_config({"pack": str(tiny_folder)})


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a picture with marker faces: save("photos/a.png", faces, seed, shape)."""

    def write(
        name: str, faces: list[tuple[float, float, float, int]], seed: int = 0, shape: tuple[int, int] = (256, 256), **options: object
    ) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(tinypack.draw(*shape, faces, seed)).save(tmp_path / name, **options)  # type: ignore[arg-type]

    return write


@pytest.fixture
def good(save: Save, tmp_path: Path) -> Path:
    """Three photos of person 0 and two looks."""
    for i, x in enumerate((96, 128, 160)):
        save(f"photos/{i}.png", [(x, 128, 116, 0)], seed=i)
    save("looks/0.png", [(128, 128, 116, 2)], seed=8)
    save("looks/1.png", [(96, 160, 116, 1)], seed=9)
    return tmp_path


def _run(folder: Path, config: Config) -> PreparedSet:
    return PreparedSet.load(references.run(folder / "photos", folder / "looks", folder / "out", config), verify=True)


def _reasons(prepared: PreparedSet) -> dict[str, str]:
    return {entry["name"]: entry["reason"] for entry in prepared.set_aside}


def test_prepared_set(good: Path, config: Config, tiny_pack: Pack) -> None:
    (good / "photos" / "description.txt").write_text("a person with light skin\n")
    prepared = _run(good, config)
    assert prepared.resolution == 64 and [item.name for item in prepared.source] == ["0.png", "1.png", "2.png"]
    assert not prepared.set_aside and not prepared.warnings and prepared.descriptions == {"source": "a person with light skin"}
    for item, centre in zip((*prepared.source, *prepared.reference), [(24, 32), (32, 32), (40, 32), (32, 32), (24, 40)], strict=True):
        x, y = centre
        image, mask, parsing = item.image(), item.mask(), item.parsing()
        red = (image[:, :, 0] > 200) & (image[:, :, 2] < 60)
        assert image.shape == (64, 64, 3) and (mask <= red).all() and mask.sum() > 0.8 * red.sum()
        assert np.array_equal(mask, face_mask(parsing, item.box))
        assert item.keypoints is not None and np.abs(item.box - [x - 14.4, y - 14.4, x + 14.4, y + 14.4]).max() < 0.6
        assert np.abs(item.keypoints[2] - [x, y + 2.5]).max() < 0.6
    for role in ("recogniser", "judge"):
        rows = prepared.embeddings(role)
        crops = np.stack([align(item.image(), item.keypoints) for item in prepared.source])
        np.testing.assert_allclose(rows, Embedder(tiny_pack, role).embed(crops), atol=2e-2)
        assert (rows @ rows.T).min() > 0.85
    assert "3 photos and 2 reference images" in (prepared.folder / "sheet.html").read_text()
    manifest = json.loads((prepared.folder / "manifest.json").read_text())
    assert manifest["schema"] == "prepared/1" and set(manifest["config"]) == {"pack", "preprocess"}


def test_lineage_follows_data_and_knobs(good: Path, config: Config, save: Save) -> None:
    first = _run(good, config)
    assert _run(good, config).lineage == first.lineage
    assert _run(good, load_config(config, ["generation.steps=3"])).lineage == first.lineage
    assert _run(good, load_config(config, ["preprocess.min_face=0.3"])).lineage != first.lineage
    save("looks/1.png", [(96, 160, 116, 1)], seed=10)
    assert _run(good, config).lineage != first.lineage


def test_bad_photos_are_set_aside_and_stop_nothing(good: Path, config: Config, save: Save, caplog: pytest.LogCaptureFixture) -> None:
    save("photos/none.png", [], 3)
    save("photos/two.png", [(64, 100, 116, 0), (192, 150, 116, 0)], 4)
    save("photos/other.png", [(128, 128, 116, 1)], 5)
    save("photos/small.png", [(20, 20, 18, 0)], 6, (40, 40))
    save("photos/far.png", [(625, 625, 200, 0)], 6, (1000, 1000))
    soft = Image.fromarray(tinypack.draw(256, 256, [(128, 128, 116, 0)], 6))
    soft.filter(ImageFilter.GaussianBlur(8)).save(good / "photos" / "soft.png")
    Image.open(good / "photos" / "0.png").save(good / "photos" / "again.webp", quality=90)
    data = (good / "photos" / "1.png").read_bytes()
    (good / "photos" / "cut.png").write_bytes(data[: len(data) // 2])
    (good / "photos" / "copy.jpg").write_bytes(data)
    (good / "photos" / "empty.jpg").write_bytes(b"")
    (good / "photos" / "notes.txt").write_text("not a photo")
    save("looks/two.png", [(64, 100, 116, 0), (192, 150, 116, 0)], 4)
    with caplog.at_level(logging.WARNING):
        prepared = _run(good, load_config(config, ["preprocess.min_sharpness=100"]))
    assert [item.name for item in prepared.source] == ["0.png", "1.png", "2.png", "far.png"]
    expected = {
        "none.png": "no face found",
        "two.png": "2 faces of comparable size",
        "other.png": "seems to show someone else",
        "small.png": "too small",
        "soft.png": "blurred: sharpness",
        "again.webp": "shows the same picture as 0.png",
        "cut.png": "damaged or truncated PNG",
        "copy.jpg": "is the same file as 1.png",
        "empty.jpg": "is empty",
        "notes.txt": "is not a picture",
    }
    reasons = _reasons(prepared)
    assert set(reasons) == set(expected) and {entry["set"] for entry in prepared.set_aside if entry["name"] == "two.png"} == {
        "source",
        "reference",
    }
    for name, reason in expected.items():
        assert reason in reasons[name] and f"{name} set aside: " in caplog.text
        assert name in (prepared.folder / "sheet.html").read_text()


def test_only_photos_are_recorded_and_one_that_cannot_be_read_stops_nothing(good: Path, config: Config) -> None:
    (good / "photos" / "desktop.ini").write_text("in every folder")
    (good / "photos" / "empty.jpg").touch()
    (good / "photos" / "failing.jpg").symlink_to("/proc/self/mem")  # opens, and fails when it is read
    prepared = _run(good, config)
    assert _reasons(prepared).keys() == {"desktop.ini", "empty.jpg", "failing.jpg"}
    assert prepared.manifest["subjects"] == {"photos": sorted(item.sha256 for item in prepared.source)}
    assert page_tag(prepared.manifest["subjects"]) in (prepared.folder / "sheet.html").read_text()


def test_a_name_that_is_no_utf8_stops_nothing(good: Path, config: Config) -> None:
    """As old archives leave them: usable or not, the picture is told by its bytes' escapes."""
    photos = good / "photos"
    os.rename(photos / "1.png", os.fsencode(photos) + b"/M\xfcller.png")
    Path(os.fsdecode(os.fsencode(photos) + b"/z\xfc.jpg")).write_text("no picture")
    prepared = _run(good, config)
    assert [item.name for item in prepared.source] == ["0.png", "2.png", r"M\xfcller.png"]
    assert list(_reasons(prepared)) == [r"z\xfc.jpg"]
    assert r"M\xfcller.png" in (prepared.folder / "sheet.html").read_text()


def test_photos_that_could_not_be_looked_at_are_not_taken_for_photographs(good: Path, mini_pack: Pack) -> None:
    for path in (good / "photos").iterdir():
        path.write_text("no picture")
    with pytest.raises(ReferencesError, match="0 of 3 pictures can be used") as caught:
        references.run(good / "photos", good / "looks", good / "out", load_config({"pack": str(mini_pack.folder)}))
    assert "may be photographs" not in str(caught.value)


def test_a_photo_left_out_as_another_persons_is_always_told(good: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the limit is."""
    rows = {"0.png": (1.0, 0.0), "1.png": (0.99, 0.14), "2.png": (-0.11, -0.99)}
    monkeypatch.setattr(Preparer, "embed", lambda _, role, pictures: np.array([rows[picture.name] for picture in pictures], np.float32))
    prepared = _run(good, load_config(config, ["preprocess.same_person=-0.05"]))
    assert [item.name for item in prepared.source] == ["0.png", "1.png"]
    assert "seems to show someone else: cosine to the other photos -0." in _reasons(prepared)["2.png"]


def test_face_mask_and_embedding_are_of_one_person(good: Path, config: Config, save: Save) -> None:
    """A tiny face behind is tolerated, and nothing of it enters mask or embedding."""
    save("photos/2.png", [(100, 132, 120, 0), (220, 60, 52, 1)], 2)
    assert "2 faces" in _reasons(_run(good, config))["2.png"]
    prepared = _run(good, load_config(config, ["preprocess.second_face=0.6"]))
    assert len(prepared.source) == 3 and not prepared.set_aside
    item = prepared.source[2]
    assert item.mask()[:, 45:].sum() == 0 and (item.parsing()[12:18, 52:58] == 1).all()
    rows = prepared.embeddings("recogniser")
    assert rows[2] @ rows[0] > 0.8


def test_pictures_of_every_kind(good: Path, config: Config, save: Save) -> None:
    """Rotated by EXIF, grayscale, CMYK, alpha, a wrong extension: read as a viewer shows them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    face = [(96, 160, 116, 0)]
    upright = Image.fromarray(tinypack.draw(256, 256, face, 3))
    upright.transpose(Image.Transpose.ROTATE_90).save(good / "photos" / "a.jpg", exif=exif, quality=95)
    layer = upright.convert("RGBA")
    layer.save(good / "photos" / "b.jpg", format="png")
    Image.fromarray(tinypack.draw(256, 256, face, 5)).convert("CMYK").save(good / "photos" / "c.jpg", quality=95)
    upright.convert("L").save(good / "photos" / "d.png")
    save("photos/e.gif", [(128, 160, 116, 0)], 6)
    prepared = _run(good, config)
    reasons = _reasons(prepared)
    # The markers are red: a grey one shows no face to this pack, but it was read. The other two are one picture.
    twin, kept = ("a.jpg", "b.jpg") if "a.jpg" in reasons else ("b.jpg", "a.jpg")
    assert set(reasons) == {twin, "d.png"} and f"same picture as {kept}" in reasons[twin] and "no face found" in reasons["d.png"]
    assert {"c.jpg", "e.gif"} < {item.name for item in prepared.source}
    turned = next(item for item in prepared.source if item.name in ("a.jpg", "b.jpg"))
    assert np.abs((turned.box[:2] + turned.box[2:]) / 2 - [24, 40]).max() < 1


def test_composition_of_looks_is_kept_and_faceless_ones_too(good: Path, config: Config, save: Save) -> None:
    save("looks/scene.png", [], 5, (200, 300))
    prepared = _run(good, config)
    scene = prepared.reference[2]
    assert scene.name == "scene.png" and scene.keypoints is None and scene.box is None and not scene.mask().any()
    assert any("scene.png shows no face" in warning for warning in prepared.warnings)
    whole = np.array(Image.open(good / "looks" / "1.png").resize((64, 64), Image.Resampling.BOX))
    assert np.abs(prepared.reference[1].image().astype(int) - whole).max() <= 2


def test_one_photo_works_with_a_warning(good: Path, config: Config) -> None:
    for name in ("0.png", "1.png"):
        (good / "photos" / name).unlink()
    prepared = _run(good, config)
    assert len(prepared.source) == 1 and prepared.warnings == ("only one usable picture in photos: it works, 4 to 6 work better",)
    assert prepared.embeddings("judge").shape[0] == 1


def test_too_few_is_an_error_that_says_why(good: Path, config: Config, save: Save) -> None:
    with pytest.raises(ReferencesError, match=r"photos: 3 of 3 pictures can be used, at least 4 needed \(preprocess.min_pictures\)"):
        _run(good, load_config(config, ["preprocess.min_pictures=4"]))
    for path in (good / "photos").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ReferencesError, match=r"(?s)photos: 0 of 3 pictures can be used.*0.png: is empty.*2.png: is empty"):
        _run(good, config)
    assert not (good / "out").exists() and sorted(p.name for p in good.iterdir()) == ["looks", "photos"]


def test_folders(good: Path, config: Config) -> None:
    with pytest.raises(ReferencesError, match="the looks folder .*/nowhere does not exist"):
        references.run(good / "photos", good / "nowhere", good / "out", config)
    with pytest.raises(ReferencesError, match="photos and looks are the same folder"):
        references.run(good / "photos", good / "looks" / ".." / "photos", good / "out", config)
    for out in (good, good / "photos"):
        with pytest.raises(ReferencesError, match="would replace it; choose another folder"):
            references.run(good / "photos", good / "looks", out, config)
    assert len(list((good / "photos").iterdir())) == 3


def test_a_corrupt_pack_stops_before_anything(good: Path, tmp_path: Path) -> None:
    pack = tinypack.build(tmp_path / "pack")
    with open(pack / "parser.onnx", "ab") as file:
        file.write(b"\0")
    with pytest.raises(PackError, match=r"parser: parser.onnx has sha256 \w+..., expected \w+... \(corrupt or replaced\)"):
        _run(good, load_config({"pack": str(pack)}))


def test_mini_prepares_the_sample_subject(mini_pack: Pack, tmp_path: Path) -> None:
    """Trained pack and rendered people: all photos and looks are usable, masks and embeddings are theirs."""
    write_samples(tmp_path)
    config = load_config("mini")
    prepared = PreparedSet.load(references.run(tmp_path / "person", tmp_path / "look", tmp_path / "out", config), verify=True)
    assert not prepared.set_aside and len(prepared.source) == len(prepared.reference) == 5
    assert set(prepared.descriptions) == {"source", "reference"}
    detector = FaceDetector(mini_pack)
    for item in (*prepared.source, *prepared.reference):
        assert 0.08 < item.mask().mean() < 0.85  # a part of every look is left to learn from
        (again,) = detector.detect(item.image())
        assert np.abs(again.keypoints - item.keypoints).mean() < 2
    rows = prepared.embeddings("recogniser")
    assert (rows @ rows.T).mean() > 0.2


def test_hair_belongs_to_the_person_where_asked(mini_pack: Pack, tmp_path: Path) -> None:
    write_samples(tmp_path)
    for region in ("face", "head"):
        config = load_config("mini", [f"preprocess.region={region}"])
        references.run(tmp_path / "person", tmp_path / "look", tmp_path / region, config)
    face, head = (PreparedSet.load(tmp_path / region) for region in ("face", "head"))
    for narrow, wide in zip(face.source, head.source, strict=True):
        hair = np.isin(narrow.parsing(), HEAD_CLASSES)
        assert np.array_equal(wide.mask(), narrow.mask() | hair) and wide.mask().mean() > narrow.mask().mean() + 0.05
    for narrow, wide in zip(face.reference, head.reference, strict=True):
        own = narrow.mask() | np.isin(narrow.parsing(), HEAD_CLASSES)
        assert not (own & ~wide.mask()).any() and wide.mask().mean() > own.mean() + 0.05  # room for the person's long hair
