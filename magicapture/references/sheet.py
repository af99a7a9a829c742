"""sheet.html: every picture with its mask and verdict on one self-contained page, set-aside ones with their reasons."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jinja2 import Environment

from magicapture.faces.prepared import Picture, SetName, png

#: Longest side in px of the pictures on the sheet.
THUMB = 256

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Prepared set</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.2rem; color: #222; background: #fff; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .6rem; border: 1px solid #ddd; border-radius: .5rem; }
figure.aside { border-color: #c33; background: #fff6f5; }
.pair { display: flex; gap: .4rem; }
img { width: 50%; flex: 1; min-width: 0; border-radius: .3rem; object-fit: contain; image-rendering: pixelated; }
figcaption { margin-top: .4rem; overflow-wrap: anywhere; }
.numbers { color: #666; font-size: 13px; }
.reason, .warning { color: #a11; }
</style></head><body>
<h1>Prepared set</h1>
<p>{{ source|length }} photos and {{ reference|length }} reference images can be used, {{ aside|length }} set aside.</p>
{% for warning in warnings %}<p class="warning">{{ warning }}</p>{% endfor %}
{% for title, cards in ((photos, source), ("Reference images of the look", reference)) %}
<h2>{{ title }}</h2><div class="grid">
{% for card in cards %}<figure>
<div class="pair"><img alt="{{ card.name }}" src="{{ card.image }}"><img alt="its mask" src="{{ card.overlay }}"></div>
<figcaption>{{ card.name }}<div class="numbers">{{ card.numbers }}</div></figcaption></figure>
{% endfor %}</div>{% endfor %}
{% if aside %}<h2>Set aside</h2><div class="grid">
{% for card in aside %}<figure class="aside">{% if card.image %}<img alt="{{ card.name }}" src="{{ card.image }}">{% endif %}
<figcaption>{{ card.name }} ({{ card.set }})<div class="reason">{{ card.reason }}</div></figcaption></figure>
{% endfor %}</div>{% endif %}
</body></html>
"""


@dataclass(frozen=True)
class Aside:
    """A picture that was set aside; ``thumb`` (h, w, 3) uint8 where it could be decoded."""

    set: SetName
    name: str
    reason: str
    thumb: np.ndarray | None = None


def render(source: Sequence[Picture], reference: Sequence[Picture], aside: Sequence[Aside], warnings: Sequence[str]) -> str:
    """The page as one string; pictures are inside it as data URIs, names are escaped."""
    page = Environment(autoescape=True).from_string(TEMPLATE)
    return page.render(
        photos="Photos of the person" if any(picture.box is not None for picture in source) else "Photos of the object",
        source=[_card(picture) for picture in source],
        reference=[_card(picture) for picture in reference],
        aside=[{"set": a.set, "name": a.name, "reason": a.reason, "image": "" if a.thumb is None else _uri(a.thumb)} for a in aside],
        warnings=warnings,
    )


def overlay(picture: Picture) -> np.ndarray:
    """(THUMB, THUMB, 3) uint8: what the mask leaves out is dimmed, key points and box are drawn."""
    size = (THUMB, THUMB)
    image = cv2.resize(picture.image, size, interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(picture.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    shown = np.where(mask[:, :, None], image, (image * 0.35 + np.array([0, 20, 60])).astype(np.uint8))
    scale = THUMB / picture.image.shape[0]
    if picture.box is not None and picture.keypoints is not None:
        left, top, right, bottom = (int(round(v)) for v in picture.box * scale)
        cv2.rectangle(shown, (left, top), (right, bottom), (255, 220, 0), 1, cv2.LINE_AA)
        for x, y in picture.keypoints * scale:
            cv2.circle(shown, (int(round(x)), int(round(y))), 3, (0, 255, 120), -1, cv2.LINE_AA)
    return shown


def _card(picture: Picture) -> dict[str, str]:
    share = picture.mask.mean()
    numbers = f"usable: {share:.0%} of the picture count as the object" if share else "no face: the whole picture counts as look"
    if picture.box is not None:
        share = (picture.box[3] - picture.box[1]) / picture.image.shape[0]
        numbers = f"usable: face {share:.0%} of the height, detection {picture.score:.2f}, sharpness {picture.sharpness:.0f}"
    size = (THUMB, THUMB)
    how = cv2.INTER_AREA if picture.image.shape[0] > THUMB else cv2.INTER_NEAREST
    return {
        "name": picture.name,
        "numbers": numbers,
        "image": _uri(cv2.resize(picture.image, size, interpolation=how)),
        "overlay": _uri(overlay(picture)),
    }


def _uri(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(np.ascontiguousarray(image))).decode()
