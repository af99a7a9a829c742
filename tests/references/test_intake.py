"""Pictures into the repository: judged as preprocessing judges, their pixels alone kept, all or nothing."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from magicapture import references
from magicapture.config import Config, load_config
from magicapture.data import DataError
from magicapture.faces.prepared import PreparedSet
from magicapture.references import ReferencesError
from magicapture.references.decode import decode
from magicapture.references.intake import add
from tests.data.fixtures import Draw
from tests.data.store import run

ROOT = Path(__file__).parent.parent.parent
PIXELS = 1_000_000
TRACES = (b"Exif", b"GPS", b"secret", b"ICC", b"iCCP", b"tEXt", b"eXIf", b"photoshop", b"xpacket", b"JFIF")


def _camera_photo(draw: Draw, path: Path) -> Path:
    """A JPEG with GPS, a thumbnail's worth of EXIF, XMP, a comment, a colour profile, on its side, and more after its end."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x013B] = 6, "secret camera", "secret owner"
    exif.get_ifd(0x8825)[2] = (52.0, 30.0, 0.0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    upright = Image.open(draw(path.with_suffix(".png"), 0, 0))
    path.with_suffix(".png").unlink()
    upright.rotate(90, expand=True).save(
        path, quality=95, exif=exif, comment=b"secret comment", icc_profile=profile, xmp=b"<x:xpacket secret/>"
    )
    path.write_bytes(path.read_bytes() + b"secret trailer")
    return path


def test_pixels_are_kept_and_nothing_else(repository: Path, tiny: Config, draw: Draw, tmp_path: Path) -> None:
    photo = _camera_photo(draw, tmp_path / "Anna Smith 2026-05-01.jpg")
    assert all(trace in photo.read_bytes() for trace in (b"Exif", b"secret owner", b"ICC", b"xpacket", b"secret trailer"))
    added = add("subject", "anna", [photo, draw(tmp_path / "b.png", 0, 1)], tiny, repository)
    assert added.kept == {"1.png": photo, "2.png": tmp_path / "b.png"}
    assert (added.folder, added.set_aside) == ("subjects/anna", [])
    stored = repository / "subjects" / "anna" / "1.png"
    assert not [trace for trace in TRACES if trace in stored.read_bytes()]
    with Image.open(stored) as picture:
        assert (picture.format, picture.mode, picture.size, len(picture.getexif()), picture.info) == ("PNG", "RGB", (256, 256), 0, {})
    assert np.array_equal(decode(stored, PIXELS).image, decode(photo, PIXELS).image)
    text = "".join(path.read_text() for path in (repository / "subjects").glob("*.dvc"))
    listing = next((repository / ".dvc" / "cache").rglob("*.dir")).read_text()
    assert "Smith" not in text + listing
    assert [entry["relpath"] for entry in json.loads(listing)] == ["1.png", "2.png"]


def test_preprocessing_sees_the_same_in_what_is_stored(repository: Path, tiny: Config, draw: Draw, tmp_path: Path) -> None:
    photos = [_camera_photo(draw, tmp_path / "photos" / "a.jpg"), draw(tmp_path / "photos" / "b.png", 0, 1)]
    looks = [draw(tmp_path / "looks" / "a.webp", 2, 3, quality=80)]
    add("subject", "anna", photos, tiny, repository)
    add("style", "noir", looks, tiny, repository)
    before, after = (
        PreparedSet.load(references.run(*folders, tmp_path / name, tiny))
        for name, folders in {
            "before": (tmp_path / "photos", tmp_path / "looks"),
            "after": (repository / "subjects" / "anna", repository / "styles" / "noir"),
        }.items()
    )
    for ours, theirs in zip([*before.source, *before.reference], [*after.source, *after.reference], strict=True):
        assert np.array_equal(ours.image(), theirs.image())
        assert np.array_equal(ours.mask(), theirs.mask())


def test_bad_pictures_are_set_aside_with_preprocessings_reasons(repository: Path, tiny: Config, draw: Draw, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw(photos / "good.png", 0, 0)
    draw(photos / "again.jpg", 0, 0, quality=90)
    (photos / "notes.txt").write_text("no picture")
    (photos / "empty.jpg").touch()
    Image.new("RGB", (200, 200), (90, 90, 90)).save(photos / "nobody.png")
    added = add("subject", "anna", [photos], tiny, repository)
    reasons = {Path(label).name: reason for label, reason in added.set_aside}
    assert {name: reason.split(";")[0].split(" (")[0] for name, reason in reasons.items()} == {
        "good.png": f"shows the same picture as {photos / 'again.jpg'}",
        "empty.jpg": "is empty",
        "nobody.png": "no face found",
        "notes.txt": "is not a picture",
    }
    assert added.kept == {"1.png": photos / "again.jpg"}
    assert [path.name for path in (repository / "subjects" / "anna").iterdir()] == ["1.png"]


def test_a_description_goes_along(repository: Path, tiny: Config, draw: Draw, tmp_path: Path) -> None:
    draw(tmp_path / "looks" / "a.png", 1, 0)
    (tmp_path / "looks" / "description.txt").write_text("in the noir\nstyle\n")
    add("style", "noir", [tmp_path / "looks"], tiny, repository)
    description = repository / "styles" / "noir" / "description.txt"
    assert description.read_text() == "in the noir style\n"
    add("style", "noir", [draw(tmp_path / "b.png", 2, 1)], tiny, repository, extend=True)
    assert description.read_text() == "in the noir style\n"


def test_a_cut_out_object_keeps_its_transparency(repository: Path, draw: Draw, tmp_path: Path) -> None:
    pixels = np.array(Image.open(draw(tmp_path / "a.png", 0, 0)))
    alpha = np.zeros(pixels.shape[:2], np.uint8)
    alpha[60:200, 60:200], alpha[60:62, 60:200] = 255, 128
    path = tmp_path / "cut.png"
    Image.fromarray(np.dstack([pixels, alpha])).save(path)
    add("subject", "vase", [path], load_config("mini", ["preprocess.region=object"]), repository)
    before, after = (decode(file, PIXELS, alpha=True) for file in (path, repository / "subjects" / "vase" / "1.png"))
    assert np.array_equal(before.image, after.image)
    assert before.alpha is not None and after.alpha is not None and np.array_equal(before.alpha, after.alpha)


def test_a_name_that_is_there_is_refused_or_extended(repository: Path, tiny: Config, draw: Draw, tmp_path: Path) -> None:
    first, second, third = (draw(tmp_path / f"{seed}.png", 0, seed) for seed in range(3))
    commands = add("subject", "anna", [first], tiny, repository).commands
    assert commands == [
        "dvc push subjects/anna.dvc",
        "git add subjects/anna.dvc subjects/.gitignore",
        'git commit -m "Data: subject anna"',
        "git push",
    ]
    folder = repository / "subjects" / "anna"
    kept = (folder / "1.png").read_bytes()
    for name, said in (("anna", "give --extend to put pictures beside"), ("Anna", "the same word to a text encoder")):
        with pytest.raises(DataError, match=f"subjects/anna is there already.*{said}"):
            add("subject", name, [second], tiny, repository)
    with pytest.raises(DataError, match="subjects/ben: nothing to extend"):
        add("subject", "ben", [second], tiny, repository, extend=True)
    added = add("subject", "anna", [first, second], tiny, repository, extend=True)
    assert added.kept == {"2.png": second}
    assert added.set_aside[0][1].startswith("shows the same picture as 1.png (there already)")
    assert {path.name: path.read_bytes() == kept for path in folder.iterdir()} == {"1.png": True, "2.png": False}
    with pytest.raises(
        ReferencesError, match="none of the 1 new pictures can be used. Set aside:\n .*2.png: is the same file as 2.png .there"
    ):
        add("subject", "anna", [folder / "2.png"], tiny, repository, extend=True)
    (folder / "by-hand.png").write_bytes(third.read_bytes())
    with pytest.raises(DataError, match="is not what subjects/anna.dvc says"):
        add("subject", "anna", [third], tiny, repository, extend=True)
    run(repository, "dvc", "checkout", "--force", "subjects/anna.dvc")
    assert add("style", "anna", [third], tiny, repository).folder == "styles/anna"


@pytest.mark.parametrize("name", ["", "a/b", "../anna", ".anna", "anna smith", "-anna", "änna", "a.b", "a\n", "x" * 65])
def test_names_that_will_not_do(repository: Path, tiny: Config, draw: Draw, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="expected letters, digits, - and _, at most 64"):
        add("subject", name, [draw(tmp_path / "a.png")], tiny, repository)
    assert run(repository, "git", "status", "--porcelain") == ""


def test_nothing_usable_leaves_nothing(repository: Path, tiny: Config, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ReferencesError, match="photos folder .* holds no files"):
        add("subject", "anna", [tmp_path / "photos"], tiny, repository)
    with pytest.raises(ReferencesError, match="photos: .*gone.png does not exist"):
        add("subject", "anna", [tmp_path / "gone.png"], tiny, repository)
    (tmp_path / "photos" / "a.jpg").write_text("no picture")
    with pytest.raises(ReferencesError, match="photos: 0 of 1 pictures can be used.*Set aside:\n .*a.jpg: is not a picture"):
        add("subject", "anna", [tmp_path / "photos"], tiny, repository)
    assert run(repository, "git", "status", "--porcelain") == ""
    assert not (repository / "subjects").exists()


def test_pictures_laid_there_by_hand_are_not_overwritten(repository: Path, tiny: Config, draw: Draw, tmp_path: Path) -> None:
    draw(repository / "subjects" / "anna" / "mine.png")
    with pytest.raises(DataError, match="subjects/anna is there, but DVC does not track it"):
        add("subject", "anna", [draw(tmp_path / "a.png", 0, 1)], tiny, repository)
    assert [path.name for path in (repository / "subjects" / "anna").iterdir()] == ["mine.png"]


def test_a_disk_that_fills_half_way_leaves_nothing(repository: Path, tiny: Config, tmp_path: Path, draw: Draw) -> None:
    """A process that may write no file beyond 40 kB: the first picture fits, the second does not."""
    first = draw(tmp_path / "a.png", 0, 0)
    noise = np.random.default_rng(0).integers(0, 4, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(np.array(Image.open(draw(tmp_path / "b.png", 0, 1))) // 4 * 4 + noise).save(tmp_path / "b.png")
    sizes = [first.stat().st_size, (tmp_path / "b.png").stat().st_size]
    assert sizes[0] * 1.5 < 40_000 < sizes[1]
    command = (sys.executable, "-m", "magicapture", "data", "add-subject", "anna", str(first), str(tmp_path / "b.png"))
    result = subprocess.run(
        (*command, "--repository", str(repository), "--set", f"pack={tiny.pack}", "--set", "preprocess.min_sharpness=15"),
        cwd=ROOT, env=os.environ, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)), check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert "subjects/anna could not be written, nothing was added: File too large" in result.stderr
    assert "make room on that disk" in result.stderr
    assert run(repository, "git", "status", "--porcelain") == ""
    assert not list(repository.rglob("*.png"))


def test_two_additions_of_one_name_at_once(repository: Path, tiny: Config, draw: Draw, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 0, 0)
    code = "import sys; from magicapture.cli import main; main()"
    running = [
        subprocess.Popen(
            (sys.executable, "-c", code, "data", "add-subject", "anna", str(tmp_path / "a.png"), "--repository", str(repository),
             "--set", f"pack={tiny.pack}", "--set", "preprocess.min_sharpness=15"),
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in running]
    codes = sorted(process.returncode for process in running)
    assert codes == [0, 2], said
    assert any("subjects/anna is there already" in error for _, error in said)
    (told,) = [out for out, _ in said if out]
    assert told.splitlines() == [
        f"subjects/anna/1.png  {tmp_path / 'a.png'}",
        f"subjects/anna: 1 pictures added, 0 set aside. To publish them, in {repository}:",
        "  dvc push subjects/anna.dvc",
        "  git add subjects/anna.dvc subjects/.gitignore",
        '  git commit -m "Data: subject anna"',
        "  git push",
    ]
    assert "up to date" in run(repository, "dvc", "status")
