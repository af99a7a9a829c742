"""The sheet: every picture with its mask and verdict on one self-contained page, set-aside ones with their reasons."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jinja2 import Environment

from magicapture.artifacts import page_tag
from magicapture.faces.analysis import Face
from magicapture.faces.prepared import SETS, Picture, png
from magicapture.references.verdict import Verdict

#: Longest side in px of the pictures on the sheet.
THUMB = 256
_YELLOW, _GREEN = (255, 220, 0), (0, 255, 120)

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{{ tag | safe }}
<title>{{ title }}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.2rem; color: #222; background: #fff; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .6rem; border: 1px solid #ddd; border-radius: .5rem; }
figure.warn { border-color: #c90; background: #fffaf0; }
figure.aside { border-color: #c33; background: #fff6f5; }
.pair { display: flex; gap: .4rem; align-items: flex-start; }
img { width: 50%; flex: 1; min-width: 0; border-radius: .3rem; object-fit: contain; image-rendering: pixelated; }
figcaption { margin-top: .4rem; overflow-wrap: anywhere; }
.numbers { color: #555; font-size: 13px; }
.reason, .warning { color: #a11; }
.warn .reason { color: #750; }
</style></head><body>
<h1>{{ title }}</h1>
<p>{{ counts.source }} photos and {{ counts.reference }} reference images can be used, {{ counts.aside }} set aside.</p>
{% for warning in warnings %}<p class="warning">{{ warning }}</p>{% endfor %}
{% for sentence in advice %}<p class="advice">{{ sentence }}</p>{% endfor %}
{% for heading, cards in groups %}{% if cards %}
<h2>{{ heading }}</h2><div class="grid">
{% for card in cards %}<figure class="{{ card.kind }}">
{% if card.images %}<div class="pair">{% for alt, uri in card.images %}<img alt="{{ alt }}" src="{{ uri }}">{% endfor %}</div>{% endif %}
<figcaption>{{ card.name }}{% if card.reason %}<div class="reason">{{ card.reason }}</div>{% endif %}
<div class="numbers">{{ card.numbers }}</div></figcaption></figure>
{% endfor %}</div>{% endif %}{% endfor %}
</body></html>
"""


def render(
    verdicts: Sequence[Verdict],
    warnings: Sequence[str] = (),
    advice: Sequence[str] = (),
    title: str = "Prepared set",
    subjects: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The page as one string; pictures are inside it as data URIs, names are escaped. ``warnings`` and ``advice`` are of the whole set,
    ``subjects`` says whose photos they are (``artifacts.subjects_of``)."""
    usable = {name: [v for v in verdicts if v.set == name and not v.severe] for name in SETS}
    aside = [verdict for verdict in verdicts if verdict.severe]
    objects = usable["source"] and all(verdict.picture is None or verdict.picture.box is None for verdict in usable["source"])
    groups = {
        "Photos of the object" if objects else "Photos of the person": usable["source"],
        "Reference images of the look": usable["reference"],
        "Set aside": aside,
    }
    return (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            title=title,
            tag=page_tag(subjects or {}),
            groups=[(heading, [_card(verdict) for verdict in cards]) for heading, cards in groups.items()],
            counts={name: len(cards) for name, cards in usable.items()} | {"aside": len(aside)},
            warnings=warnings,
            advice=advice,
        )
    )


def thumbnail(image: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """(h, w, 3) uint8, at most THUMB px a side: the picture with box and key points of every face found in it."""
    scale = min(1.0, THUMB / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image.copy()
    for face in faces:
        _draw(small, face.box * scale, face.keypoints * scale)
    return small


def overlay(picture: Picture) -> np.ndarray:
    """(THUMB, THUMB, 3) uint8: what the mask leaves out is dimmed, key points and box are drawn."""
    size = (THUMB, THUMB)
    image = cv2.resize(picture.image, size, interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(picture.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    shown = np.where(mask[:, :, None], image, (image * 0.35 + np.array([0, 20, 60])).astype(np.uint8))
    scale = THUMB / picture.image.shape[0]
    if picture.box is not None and picture.keypoints is not None:
        _draw(shown, picture.box * scale, picture.keypoints * scale, radius=3)
    return shown


def _draw(image: np.ndarray, box: np.ndarray, keypoints: np.ndarray, radius: int = 2) -> None:
    left, top, right, bottom = (int(round(float(v))) for v in box)
    cv2.rectangle(image, (left, top), (right, bottom), _YELLOW, 1, cv2.LINE_AA)
    for x, y in keypoints:
        cv2.circle(image, (int(round(float(x))), int(round(float(y)))), radius, _GREEN, -1, cv2.LINE_AA)


def _card(verdict: Verdict) -> dict[str, object]:
    picture, images, numbers = verdict.picture, [], ""
    if verdict.thumb is not None:
        images.append((verdict.name, _uri(verdict.thumb)))
    if picture is not None:
        images.append(("its mask", _uri(overlay(picture))))
        share = picture.mask.mean()
        numbers = f"{share:.0%} of the picture count as the object" if share else "no face: the whole picture counts as look"
    if picture is not None and picture.box is not None:
        share = (picture.box[3] - picture.box[1]) / picture.image.shape[0]
        numbers = f"face {share:.0%} of the height, detection {picture.score:.2f}, sharpness {picture.sharpness:.0f}"
    word = "" if verdict.severe else "usable: "
    what = f" ({'photo' if verdict.set == 'source' else 'look'})" if verdict.severe else ""
    kind = {"use": "use", "warn": "warn", "set aside": "aside"}[verdict.word]
    return {"name": verdict.name + what, "kind": kind, "images": images, "reason": verdict.reason, "numbers": numbers and word + numbers}


def _uri(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(np.ascontiguousarray(image))).decode()
