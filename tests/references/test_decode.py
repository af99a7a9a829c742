"""Whatever lies in a folder: upright RGB, or a reason."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from magicapture.references.decode import decode, describe, scan, scan_concepts, stripped
from magicapture.references.errors import ReferencesError, SetAside
from tests.faces import tinypack

PIXELS = 1_000_000


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return tinypack.draw(60, 80, [(20, 20, 30, 0)])


def _save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def _near(path: Path, expected: np.ndarray, tolerance: float = 3.0) -> None:
    photo = decode(path, PIXELS)
    assert photo.image.dtype == np.uint8 and photo.image.shape == expected.shape
    assert np.abs(photo.image.astype(float) - expected).mean() <= tolerance
    assert photo.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and photo.name == path.name


@pytest.mark.parametrize(("kind", "tolerance"), [("png", 0), ("bmp", 0), ("tiff", 0), ("jpeg", 7), ("webp", 6), ("avif", 8)])
def test_formats_by_content_not_by_extension(tmp_path: Path, image: np.ndarray, kind: str, tolerance: float) -> None:
    _near(_save(tmp_path / "photo.jpg", Image.fromarray(image), format=kind), image, tolerance)
    _near(_save(tmp_path / "no extension", Image.fromarray(image), format=kind), image, tolerance)


def test_a_camera_photo() -> None:
    photo = decode(Path(str(files("insightface"))) / "data" / "images" / "t1.jpg", 64_000_000)
    assert photo.image.shape == (886, 1280, 3) and 60 < photo.image.mean() < 190 and photo.note == ""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, image: np.ndarray, orientation: int) -> None:
    """A viewer turns the stored pixels as EXIF says; so do we, for each of the eight cases."""
    turns = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: np.transpose(a, (1, 0, 2))}
    turns |= {6: np.rot90, 7: lambda a: np.transpose(np.rot90(a, 2), (1, 0, 2)), 8: lambda a: np.rot90(a, 3)}
    stored = np.ascontiguousarray(turns[orientation](image))
    exif = Image.Exif()
    exif[0x0112] = orientation
    _near(_save(tmp_path / "a.jpg", Image.fromarray(stored), exif=exif, quality=95), image, 4)


def test_damaged_metadata_does_no_harm(tmp_path: Path, image: np.ndarray) -> None:
    _near(
        _save(tmp_path / "a.jpg", Image.fromarray(image), exif=b"Exif\0\0MM\0*garbage" * 9, icc_profile=b"no profile", quality=95), image, 4
    )
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    _near(_save(tmp_path / "b.png", Image.fromarray(image), icc_profile=srgb), image, 1)


def test_grey_cmyk_palette_and_bits(tmp_path: Path, image: np.ndarray) -> None:
    picture = Image.fromarray(image)
    grey = np.repeat(np.array(picture.convert("L"))[:, :, None], 3, axis=2)
    _near(_save(tmp_path / "grey.png", picture.convert("L")), grey, 0)
    _near(_save(tmp_path / "bits.png", picture.convert("1")), np.array(picture.convert("1").convert("RGB")), 0)
    _near(_save(tmp_path / "cmyk.jpg", picture.convert("CMYK"), quality=95), image, 5)
    _near(_save(tmp_path / "palette.png", picture.quantize(256)), image, 6)
    wide = grey[:, :, 0].astype(np.uint16) * 257
    _near(_save(tmp_path / "sixteen.png", Image.fromarray(wide)), grey, 0.6)
    _near(_save(tmp_path / "sixteen.tiff", Image.fromarray(wide)), grey, 0.6)
    _near(_save(tmp_path / "float.tiff", Image.fromarray(grey[:, :, 0].astype(np.float32) / 255)), grey, 0.6)


def test_alpha_is_kept_on_grey_only_where_asked(tmp_path: Path, image: np.ndarray) -> None:
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:30] = 0
    path = _save(tmp_path / "cut.png", Image.fromarray(np.dstack([image, alpha])))
    photo = decode(path, PIXELS, alpha=True)
    assert photo.alpha is not None and np.array_equal(photo.alpha, alpha) and decode(path, PIXELS).alpha is None
    assert (photo.image[:30] == 128).all() and np.array_equal(photo.image[30:], image[30:])
    opaque = _save(tmp_path / "opaque.png", Image.fromarray(np.dstack([image, np.full_like(alpha, 255)])))
    plain = _save(tmp_path / "plain.png", Image.fromarray(image))
    assert all(decode(path, PIXELS, alpha=True).alpha is None for path in (opaque, plain))
    for level in (0, 50):  # nothing can be seen: not the whole picture, but nothing
        hidden = _save(tmp_path / "hidden.png", Image.fromarray(np.dstack([image, np.full_like(alpha, level)])))
        opacity = decode(hidden, PIXELS, alpha=True).alpha
        assert opacity is not None and (opacity == level).all()


def test_alpha_goes_onto_white(tmp_path: Path, image: np.ndarray) -> None:
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:30], alpha[30:40] = 0, 128
    expected = np.where(alpha[:, :, None] == 0, 255, np.where(alpha[:, :, None] == 128, image / 2 + 127.5, image))
    _near(_save(tmp_path / "rgba.png", Image.fromarray(np.dstack([image, alpha]))), expected, 1)
    _near(
        _save(tmp_path / "la.png", Image.fromarray(np.dstack([image[:, :, 1], alpha]), "LA")),
        np.where(alpha[:, :, None] == 255, image[:, :, 1:2], np.where(alpha[:, :, None] == 0, 255, image[:, :, 1:2] / 2 + 127.5))
        + np.zeros(3),
        1,
    )
    see_through = Image.fromarray(np.zeros((60, 80), np.uint8), "P")
    see_through.putpalette([10, 20, 30] * 256)
    _near(_save(tmp_path / "palette.png", see_through, transparency=0), np.full((60, 80, 3), 255), 0)


def _turned() -> ImageCms.ImageCmsProfile:
    """sRGB with red and blue primaries exchanged: a profile whose effect cannot be overlooked."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    entries = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return ImageCms.ImageCmsProfile(io.BytesIO(bytes(profile)))


def test_colour_profiles_are_applied_with_and_without_transparency(tmp_path: Path, image: np.ndarray) -> None:
    profile = _turned().tobytes()
    opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    for name, pixels in (("rgb.png", image), ("rgba.png", opaque)):
        _near(_save(tmp_path / name, Image.fromarray(pixels), icc_profile=profile), image[:, :, ::-1], 2)


def test_stripped_pixels_are_the_same(tmp_path: Path, image: np.ndarray) -> None:
    """Whatever the format, mode, orientation or profile: reading what was stripped gives what reading the file gave."""
    picture, exif = Image.fromarray(image), Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "who took it"
    alpha = Image.fromarray(np.arange(60 * 80, dtype=np.uint32).reshape(60, 80).astype(np.uint8))
    layered = picture.copy()
    layered.putalpha(alpha)
    profile = _turned().tobytes()
    files = [
        _save(tmp_path / "turned.jpg", picture, exif=exif, icc_profile=profile, comment=b"about her"),
        _save(tmp_path / "layered.png", layered, exif=exif, icc_profile=profile, dpi=(300, 300)),
        _save(tmp_path / "cmyk.jpg", picture.convert("CMYK")),
        _save(tmp_path / "grey.png", picture.convert("L")),
        _save(tmp_path / "la.png", layered.convert("LA")),
        _save(tmp_path / "palette.png", picture.quantize(64), transparency=3),
        _save(tmp_path / "sixteen.png", Image.fromarray(image[:, :, 0].astype(np.uint16) * 257)),
        _save(tmp_path / "float.tiff", Image.fromarray(image[:, :, 0].astype(np.float32) / 255)),
        _save(tmp_path / "moving.gif", picture, save_all=True, append_images=[Image.fromarray(255 - image)]),
        _save(tmp_path / "photo.webp", picture, exif=exif),
    ]
    for path in files:
        out = tmp_path / "out.png"
        out.write_bytes(stripped(path, PIXELS))
        for with_alpha in (False, True):
            before, after = decode(path, PIXELS, with_alpha), decode(out, PIXELS, with_alpha)
            assert np.array_equal(before.image, after.image), path.name
            assert (before.alpha is None) == (after.alpha is None), path.name
            assert before.alpha is None or np.array_equal(before.alpha, after.alpha), path.name
        with Image.open(out) as kept:
            assert (kept.info, len(kept.getexif())) == ({}, 0), path.name
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(SetAside, match="is not a picture"):
        stripped(tmp_path / "text.jpg", PIXELS)


def test_animation_gives_its_first_frame(tmp_path: Path, image: np.ndarray) -> None:
    frames = [Image.fromarray(image), Image.fromarray(255 - image)]
    for kind in ("gif", "png", "webp"):
        path = _save(tmp_path / f"a.{kind}", frames[0], save_all=True, append_images=frames[1:], duration=100)
        _near(path, image, 8)
        assert decode(path, PIXELS).note == "animated; its first frame is used"


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "bmp", "gif"])
def test_truncated(tmp_path: Path, image: np.ndarray, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, kind)
    for share in (0.02, 0.3, 0.6, 0.9):
        (tmp_path / "a").write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
        with pytest.raises(SetAside, match="damaged or truncated|not a picture"):
            decode(tmp_path / "a", PIXELS)


def test_enormous_pictures_are_not_opened(tmp_path: Path) -> None:
    """A few hundred bytes that claim 60,000 x 60,000 pixels, and an honest picture above the limit."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    for limit in (PIXELS, 64_000_000):
        with pytest.raises(SetAside, match=r"preprocess.max_pixels\); it was not opened"):
            decode(tmp_path / "bomb.png", limit)
    _save(tmp_path / "large.png", Image.new("L", (1001, 1000)))
    with pytest.raises(SetAside, match=r"has 1001 x 1000 pixels, more than 1,000,000 \(preprocess.max_pixels\)"):
        decode(tmp_path / "large.png", PIXELS)
    assert decode(tmp_path / "large.png", 1_001_000).image.shape == (1000, 1001, 3)
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(10_000_000_000)
    with pytest.raises(SetAside, match="has 10,000,000,000 bytes"):
        decode(tmp_path / "huge", PIXELS)


def test_what_is_no_picture(tmp_path: Path) -> None:
    contents = {
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"dear diary", "is not a picture .JPEG, PNG"),
        "page.pdf": (b"%PDF-1.4 ...", "is not a picture"),
        "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),
        "phone.jpg": (b"\0\0\0\x18ftypheic" + b"\0" * 40, "is a HEIC picture, which is not read; export it as JPEG or PNG"),
    }
    for name, (data, reason) in contents.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SetAside, match=reason):
            decode(tmp_path / name, PIXELS)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
    for name in ("link.jpg", "pipe.jpg"):
        with pytest.raises(SetAside, match="not a regular file"):
            decode(tmp_path / name, PIXELS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path, image: np.ndarray) -> None:
    path = _save(tmp_path / "a.png", Image.fromarray(image))
    path.chmod(0)
    with pytest.raises(SetAside, match="cannot be read: Permission denied"):
        decode(path, PIXELS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["jpeg", "png", "webp", "gif", "tiff", "bmp"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
@example(kind="gif", places=[(1.0, 33)])  # its end says that another frame follows
def test_hostile_bytes_give_a_picture_or_a_reason(tmp_path: Path, kind: str, places: list[tuple[float, int]]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(tinypack.draw(24, 24, [])).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    for place, value in places:
        data[int(place * (len(data) - 1))] = value
    (tmp_path / "a").write_bytes(data)
    try:
        photo = decode(tmp_path / "a", PIXELS)
    except SetAside as reason:
        assert str(reason)
    else:
        assert photo.image.dtype == np.uint8 and photo.image.ndim == 3 and photo.image.shape[2] == 3


def test_scan(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(ReferencesError, match=r"the photos folder .*nowhere does not exist; give a folder"):
        scan(tmp_path / "nowhere", "photos")
    with pytest.raises(ReferencesError, match="the looks folder .* holds no files"):
        scan(tmp_path, "looks")
    for name in ("b.jpg", "a.PNG", "c", ".hidden", "description.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    assert [path.name for path in scan(tmp_path, "photos")] == ["a.PNG", "b.jpg", "c"]
    with pytest.raises(ReferencesError, match="b.jpg is a file; give the folder it lies in"):
        scan(tmp_path / "b.jpg", "photos")


def test_describe(tmp_path: Path) -> None:
    assert describe(tmp_path) == ""
    (tmp_path / "description.txt").write_bytes("a person ,\n  short brown hair \xe9".encode("latin-1"))
    assert describe(tmp_path) == "a person , short brown hair \N{REPLACEMENT CHARACTER}"


def test_every_sub_folder_is_a_concept_and_a_flat_folder_is_one(tmp_path: Path) -> None:
    for name in ("flat/1.png", "flat/0.png", "both/noir/0.png", "both/.git/x", "both/anna/1.png", "both/anna/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "flat" / "empty").mkdir()
    (tmp_path / "both" / "empty").mkdir()
    (tmp_path / "both" / "description.txt").write_text("words")
    assert {name: [path.name for path in paths] for name, paths in scan_concepts(tmp_path / "flat", "looks").items()} == {
        "": ["0.png", "1.png"]
    }
    found = scan_concepts(tmp_path / "both", "looks")
    assert list(found) == ["anna", "noir"] and [path.name for path in found["anna"]] == ["0.png", "1.png"]
    (tmp_path / "both" / "Noir").mkdir()
    (tmp_path / "both" / "Noir" / "0.png").write_bytes(b"x")
    with pytest.raises(ReferencesError, match="looks: the sub-folders 'Noir' and 'noir' are one word to a text encoder"):
        scan_concepts(tmp_path / "both", "looks")
    (tmp_path / "both" / "Noir").rename(tmp_path / "empty")
    (tmp_path / "both" / "red dress").mkdir()
    (tmp_path / "both" / "red dress" / "0.png").write_bytes(b"x")
    with pytest.raises(ReferencesError, match="sub-folder 'red dress' .*expected letters, digits, - and _: rename it"):
        scan_concepts(tmp_path / "both", "looks")
    (tmp_path / "both" / "0.png").write_bytes(b"x")
    with pytest.raises(ReferencesError, match=r"holds both pictures \(0.png\) and sub-folders \(anna\); expected"):
        scan_concepts(tmp_path / "both", "looks")
    with pytest.raises(ReferencesError, match="the photos folder .*nowhere does not exist"):
        scan_concepts(tmp_path / "nowhere", "photos")
