from __future__ import annotations

import re

import numpy as np

from magicapture.faces.analysis import Face
from magicapture.faces.prepared import Picture
from magicapture.references.sheet import overlay, render, thumbnail
from magicapture.references.verdict import Finding, Verdict


def _picture(name: str) -> Picture:
    image = np.full((64, 64, 3), 200, np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:40, 16:48] = True
    points = np.array([[24, 26], [40, 26], [32, 31], [26, 36], [38, 36]], np.float32)
    return Picture(name, image, mask.astype(np.uint8), mask, points, np.array([14, 18, 50, 42], np.float32), 0.91, 123.4, "ab")


def test_page_is_self_contained_and_escapes_names() -> None:
    faceless = Picture("beach.jpg", np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((64, 64), bool))
    thumb = np.zeros((20, 30, 3), np.uint8)
    verdicts = [
        Verdict("source", "<script>alert(1)</script>.jpg", (Finding("unreadable", True, "is empty (0 bytes)"),)),
        Verdict("reference", "two.jpg", (Finding("several faces", True, "2 faces"),), thumb=thumb),
        Verdict("source", "anna.jpg", (Finding("blurred", False, "almost blurred"),), picture=_picture("anna.jpg"), thumb=thumb),
        Verdict("reference", "beach.jpg", (), picture=faceless, thumb=thumb),
    ]
    page = render(verdicts, ["only one usable picture in photos"], ["all faces look the same way"])
    assert "<script" not in page and "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page) and "http" not in page
    assert page.count("data:image/png;base64,") == 5
    for text in (
        "anna.jpg",
        "face 38% of the height, detection 0.91, sharpness 123",
        "no face: the whole picture counts as look",
        "is empty (0 bytes)",
        "almost blurred",
        "all faces look the same way",
    ):
        assert text in page
    assert "1 photos and 1 reference images can be used, 2 set aside" in page and "only one usable picture" in page
    assert 'name="viewport"' in page


def test_overlay_shows_the_mask() -> None:
    shown = overlay(_picture("a"))
    assert shown.shape == (256, 256, 3)
    assert (shown[116, 100] == 200).all() and (shown[10, 10] == [70, 90, 130]).all()
    assert (shown[26 * 4, 24 * 4] == [0, 255, 120]).all()


def test_thumbnail_shows_every_face() -> None:
    points = np.full((5, 2), 300, np.float32)
    faces = [Face(np.array([x, 100, x + 200, 300], np.float32), points, 0.9) for x in (64, 640)]
    shown = thumbnail(np.zeros((512, 1024, 3), np.uint8), faces)
    assert shown.shape == (128, 256, 3)
    assert shown[50, 16, 0] > 200 and shown[50, 160, 0] > 200 and shown[50, 100, 0] == 0 and (shown[75, 75] == [0, 255, 120]).all()
