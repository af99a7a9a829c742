"""Pictures from strangers' files: whatever lies in a folder becomes upright RGB, or is set aside with its reason.

The content decides, not the extension. The number of pixels is known before any is decoded.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from magicapture.artifacts import legible
from magicapture.faces.concepts import NAME
from magicapture.references.errors import ReferencesError, SetAside

#: Decoders that are tried; PIL has more (EPS runs Ghostscript), which photos do not need.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
DESCRIPTION = "description.txt"
WHITE, GREY = (255, 255, 255), (128, 128, 128)
BYTES_PER_PIXEL = 8  # a file with more is no picture of at most max_pixels: 4 channels of 16 bits, uncompressed


@dataclass(frozen=True)
class Photo:
    """A decoded picture: ``image`` (H, W, 3) uint8 RGB, upright; ``sha256`` of the file's bytes; ``note`` worth telling, or "".

    ``alpha`` (H, W) uint8: opacity, where it was asked for and is not the same everywhere; None otherwise.
    """

    name: str
    image: np.ndarray
    sha256: str
    note: str = ""
    alpha: np.ndarray | None = None


def scan(folder: str | Path, what: str) -> list[Path]:
    """Everything in a folder that might be a picture, by name; raises ReferencesError when there is no such folder or nothing in it.

    Hidden files, sub-folders and description.txt are left out. ``what`` names the folder in errors ("photos").
    """
    folder = Path(folder)
    if not folder.exists():
        raise ReferencesError(f"the {what} folder {folder} does not exist; give a folder with one or more pictures")
    if not folder.is_dir():
        raise ReferencesError(f"{what}: {folder} is a file; give the folder it lies in")
    try:
        found = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name != DESCRIPTION and not p.is_dir())
    except OSError as error:
        raise ReferencesError(f"the {what} folder {folder} cannot be read: {error.strerror}") from error
    if not found:
        raise ReferencesError(f"the {what} folder {folder} holds no files; put one or more pictures into it")
    return found


def check_folders(photos: Path, looks: Path, out: Path) -> None:
    """Raise ReferencesError for folders that cannot be a run's together."""
    if photos.resolve() == looks.resolve():
        raise ReferencesError(f"photos and looks are the same folder ({photos}); the look comes from pictures of its own")
    for what, folder in (("photos", photos), ("looks", looks)):
        if folder.resolve().is_relative_to(out.resolve()):
            raise ReferencesError(f"out ({out}) holds the {what} folder and would replace it; choose another folder")


def scan_concepts(folder: str | Path, what: str) -> dict[str, list[Path]]:
    """The pictures of every concept in a folder, by name: of every sub-folder that holds something, or else of the folder itself, "".

    Raises ReferencesError as :func:`scan` does, for pictures beside such sub-folders, and for names that cannot stand in a prompt.
    """
    folder = Path(folder)
    inside = sorted(folder.iterdir()) if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) else []
    folders = [path for path in inside if path.is_dir() and not path.name.startswith(".") and any(path.iterdir())]
    if not folders:
        return {"": scan(folder, what)}
    beside = [path.name for path in inside if not path.is_dir() and not path.name.startswith(".") and path.name != DESCRIPTION]
    if beside:
        raise ReferencesError(
            f"the {what} folder {folder} holds both pictures ({beside[0]}) and sub-folders ({folders[0].name}); expected pictures of one "
            "subject or look, or one sub-folder for each of several"
        )
    seen: dict[str, str] = {}
    for path in folders:
        if not NAME.fullmatch(path.name):
            raise ReferencesError(
                f"{what}: the sub-folder {path.name!r} is called by its name in prompts; expected letters, digits, - and _: rename it"
            )
        other = seen.setdefault(path.name.lower(), path.name)
        if other != path.name:
            raise ReferencesError(f"{what}: the sub-folders {other!r} and {path.name!r} are one word to a text encoder; rename one of them")
    return {path.name: scan(path, what) for path in folders}


def describe(folder: str | Path) -> str:
    """The folder's description.txt on one line (at most 500 characters), or ""."""
    path = Path(folder) / DESCRIPTION
    return " ".join(path.read_text(errors="replace").split())[:500] if path.is_file() else ""


def decode(path: Path, max_pixels: int, alpha: bool = False) -> Photo:
    """Read one picture. Raises SetAside with the reason; nothing else, whatever the bytes are.

    What is transparent is put on white; with ``alpha`` on mid grey, and the opacity is kept.
    """
    data = _bytes(path, max_pixels * BYTES_PER_PIXEL)
    with _upright_srgb(data, max_pixels) as (picture, note):
        image, opacity = _rgb(picture, GREY if alpha else WHITE), _opacity(picture) if alpha else None
    return Photo(legible(path.name), image, hashlib.sha256(data).hexdigest(), note, opacity)


def stripped(path: Path, max_pixels: int) -> bytes:
    """A picture's pixels and nothing else of it, as PNG: :func:`decode` reads the same from both. Raises SetAside as that does."""
    with _upright_srgb(_bytes(path, max_pixels * BYTES_PER_PIXEL), max_pixels) as (picture, _):
        pixels = np.array(picture.convert("RGBA")) if _is_layer(picture) else _rgb(picture, WHITE)
    buffer = io.BytesIO()
    # Made of an array, so that nothing PIL knows of the file goes along. Level 6 takes six times as long for 15 % less.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@contextmanager
def _upright_srgb(data: bytes, max_pixels: int) -> Iterator[tuple[Image.Image, str]]:
    """The picture in a file's bytes, and a note; what decoders raise on them, here or in the block, becomes SetAside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns of sizes that max_pixels decides about, and of odd EXIF
        try:
            opened = Image.open(io.BytesIO(data), formats=_formats())
        except Image.DecompressionBombError:
            raise SetAside(f"has far more than {max_pixels:,} pixels (preprocess.max_pixels); it was not opened") from None
        except Exception:  # decoders raise anything on hostile bytes
            raise SetAside(_not_a_picture(data)) from None
        width, height = opened.size
        if width * height > max_pixels:
            raise SetAside(f"has {width} x {height} pixels, more than {max_pixels:,} (preprocess.max_pixels); it was not opened")
        kind = opened.format or "picture"
        try:
            # Asked for its frames, a GIF is read to its end.
            note = "animated; its first frame is used" if kind != "MPO" and getattr(opened, "is_animated", False) else ""
            opened.load()
            yield _srgb(_upright(opened)), note
        except Exception as error:  # see above
            raise SetAside(f"is a damaged or truncated {kind} ({error or type(error).__name__})") from None


def _bytes(path: Path, limit: int) -> bytes:
    if not path.is_file():
        raise SetAside("is not a regular file (a broken link or a device?)")
    try:
        size = path.stat().st_size
        if size == 0:
            raise SetAside("is empty (0 bytes)")
        if size > limit:
            raise SetAside(f"has {size:,} bytes, more than a picture of preprocess.max_pixels can have; it was not opened")
        return path.read_bytes()
    except OSError as error:
        raise SetAside(f"cannot be read: {error.strerror}") from error


def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _not_a_picture(data: bytes) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return "is a HEIC picture, which is not read; export it as JPEG or PNG"
    return f"is not a picture ({', '.join(_formats())} are read)"


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing about the pixels
        return image


def _srgb(image: Image.Image) -> Image.Image:
    """Pixels in sRGB: phones write Display P3, print shops CMYK with a profile."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile: the plain conversion is near enough
        return image


def _rgb(image: Image.Image, backdrop: tuple[int, int, int]) -> np.ndarray:
    """(H, W, 3) uint8: 16-bit and float scaled to 8 bits, alpha put on the backdrop."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        top = values.max(initial=0.0)
        unit = 65535.0 if image.mode.startswith("I;16") or top > 255 else 1.0 if image.mode == "F" and top <= 1 else 255.0
        grey = np.clip(values / unit * 255, 0, 255).round().astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if _is_layer(image):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (*backdrop, 255)), layer)
    return np.array(image.convert("RGB"))


def _is_layer(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _opacity(image: Image.Image) -> np.ndarray | None:
    """(H, W) uint8; None without transparency, or where it is equal everywhere and cuts nothing out (unless it hides all)."""
    if not _is_layer(image):
        return None
    opacity = np.array(image.convert("RGBA").getchannel("A"))
    return None if opacity.min() == opacity.max() > 127 else opacity
