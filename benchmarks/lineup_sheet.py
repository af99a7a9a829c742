"""How a line-up looks: a PNG each, and one self-contained HTML page of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

from magicapture.evaluation.pictures import data_uri

_PHOTO, _PORTRAIT, _GAP, _LABEL = 176, 208, 10, 44
_PAPER, _INK, _SOFT = (250, 248, 245), (29, 27, 31), (107, 102, 112)


@dataclass(frozen=True)
class Row:
    """One candidate: the letter a viewer names, portraits (H, W, 3) uint8, whether it is the person, whether the referee picked it."""

    letter: str
    portraits: Sequence[np.ndarray]
    right: bool
    picked: bool


@dataclass(frozen=True)
class Lineup:
    """Photos of one person (H, W, 3) uint8, and candidates of whom one is that person."""

    title: str
    photos: Sequence[np.ndarray]
    rows: Sequence[Row]


def sheet_png(lineup: Lineup) -> np.ndarray:
    """(H, W, 3) uint8: the photos above, a lettered row of portraits for each candidate below; the answer is not on it."""
    widest = max([len(lineup.photos) * (_PHOTO + _GAP), *(_LABEL + len(row.portraits) * (_PORTRAIT + _GAP) for row in lineup.rows)])
    size = (widest + 2 * _GAP, 2 * _GAP + 34 + _PHOTO + 50 + len(lineup.rows) * (_PORTRAIT + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(size=18), ImageFont.load_default(size=30)
    pen.text((_GAP, _GAP), "These photos show one person.", fill=_INK, font=small)
    top = _GAP + 34
    for i, photo in enumerate(lineup.photos):
        sheet.paste(_fitted(photo, _PHOTO), (_GAP + i * (_PHOTO + _GAP), top))
    top += _PHOTO + 16
    pen.text((_GAP, top), "Which row shows the same person?", fill=_INK, font=small)
    top += 34
    for row in lineup.rows:
        pen.text((_GAP + 6, top + _PORTRAIT // 2 - 18), row.letter, fill=_SOFT, font=large)
        for i, portrait in enumerate(row.portraits):
            sheet.paste(_fitted(portrait, _PORTRAIT), (_GAP + _LABEL + i * (_PORTRAIT + _GAP), top))
        top += _PORTRAIT + _GAP
    return np.array(sheet)


def sheet_html(
    lineups: Sequence[Lineup], summary: Mapping[str, Any], options: Mapping[str, Any], postprocessing: Mapping[str, Any] | None = None
) -> str:
    """All line-ups on one page, each with its answer and the referee's pick behind a fold, and the measured summaries."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["uri"] = data_uri
    page = environment.from_string(Path(__file__).with_name("lineup.html.j2").read_text())
    return page.render(
        lineups=lineups, summary=summary, options={key: str(value) for key, value in options.items()}, postprocessing=postprocessing
    )


def _fitted(image: np.ndarray, side: int) -> Image.Image:
    how = cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_CUBIC
    return Image.fromarray(cv2.resize(image, (side, side), interpolation=how))
