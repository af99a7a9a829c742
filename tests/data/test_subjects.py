"""The names by which a person's things are found again."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from magicapture.artifacts import sha256_file
from magicapture.data import folder_concepts, folder_name, is_photo, name_subjects, photo_hashes
from magicapture.data.subjects import word


@pytest.mark.parametrize(
    ("concepts", "subject", "named"),
    [
        ({"": ["b", "a"]}, "subject", {"photos": ["a", "b"]}),
        ({"": ["a"]}, "anna", {"anna": ["a"]}),
        ({"anna": ["a"], "ben": ["b"]}, "subject", {"anna": ["a"], "ben": ["b"]}),
        ({"anna": ["a"], "ben": ["b"]}, "couple", {"anna": ["a"], "couple": ["a", "b"], "ben": ["b"]}),
        ({"anna": ["a"], "ben": ["b"]}, "ben", {"anna": ["a"], "ben": ["a", "b"]}),
    ],
)
def test_whose_photos_they_are(concepts: dict[str, list[str]], subject: str, named: dict[str, list[str]]) -> None:
    assert name_subjects(concepts, "photos", subject) == named


def test_names_of_folders_and_of_addresses(tmp_path: Path) -> None:
    assert folder_name(tmp_path / "anna" / ".." / "ben") == "ben"
    assert folder_name("git+https://git.example.org/p.git@main#subjects/anna") == "anna"
    for name in ("two/anna/0.png", "two/ben/0.png", "two/.hidden/0.png", "one/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "two" / "empty").mkdir()
    assert folder_concepts(tmp_path / "two") == ["anna", "ben"] and folder_concepts(tmp_path / "one") == [""]
    assert folder_concepts("git+https://h/p.git#s", ["anna/0.png", "ben/0.png"]) == ["anna", "ben"]
    assert folder_concepts("git+https://h/p.git#s", ["0.png", "description.txt"]) == [""]


@given(st.text(alphabet="ab1 -_.", max_size=8), st.text(alphabet="ab1 -_.", max_size=8))
def test_a_name_is_a_word_of_its_own(before: str, after: str) -> None:
    text = f"{before}anna{after}"
    alone = not before[-1:].isalnum() and not after[:1].isalnum()
    assert bool(word("anna").search(text)) is alone


def test_only_photos_count_as_the_persons(tmp_path: Path) -> None:
    """Damaged, unread and oversized ones too; what lies in every folder of pictures, empty files and what cannot be read do not."""
    whole = io.BytesIO()
    Image.new("RGB", (40, 30), (9, 8, 7)).save(whole, "JPEG")
    photos = {"whole.jpg": whole.getvalue(), "cut.jpg": whole.getvalue()[:30], "phone.heic": b"\0\0\0\x18ftypheic" + bytes(20)}
    Image.new("RGB", (3, 3)).save(tmp_path / "scan.bmp")
    junk = {"empty.jpg": b"", "Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(50), "desktop.ini": b"[.ShellClassInfo]"}
    for name, data in (photos | junk).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "failing.jpg").symlink_to("/proc/self/mem")  # opens, and fails when it is read
    known = [hashlib.sha256(data).hexdigest() for data in photos.values()] + [sha256_file(tmp_path / "scan.bmp")]
    assert photo_hashes(tmp_path.iterdir()) == sorted(known)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000"])
def test_pictures_are_known_by_how_they_start(kind: str, tmp_path: Path) -> None:
    Image.new("RGB", (5, 4)).save(tmp_path / "x", kind)
    assert is_photo(tmp_path / "x")
