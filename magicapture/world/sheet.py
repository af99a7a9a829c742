"""Pictures side by side. `python -m magicapture.world.sheet OUT.png [SIZE]` draws the world: people, looks and parsing maps."""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

_GAP, _LINE = 4, 18
_PALETTE = np.array(
    [
        (30, 30, 34),
        (240, 196, 160),
        (120, 70, 30),
        (160, 100, 50),
        (60, 130, 255),
        (90, 200, 255),
        (255, 255, 0),
        (255, 140, 100),
        (220, 110, 80),
        (255, 215, 0),
        (255, 90, 160),
        (120, 0, 30),
        (220, 40, 60),
        (250, 100, 120),
        (200, 160, 120),
        (0, 255, 200),
        (70, 160, 80),
        (140, 80, 200),
        (255, 255, 255),
    ],
    np.uint8,
)


def contact_sheet(
    images: list[list[np.ndarray]], cell: int | None = None, labels: Sequence[str | Sequence[str]] | None = None
) -> np.ndarray:
    """Rows of pictures (h, w, 3) uint8 RGB on one sheet (H, W, 3) uint8.

    `cell`: side in pixels that pictures are brought to (None: that of the first); `labels`: one text above each picture,
    as rows like `images`, or one text a row.
    """
    cell = images[0][0].shape[0] if cell is None else cell
    line = _LINE if labels is not None else 0
    columns = max(len(row) for row in images)
    sheet = np.full((len(images) * (cell + line + _GAP) + _GAP, columns * (cell + _GAP) + _GAP, 3), 255, np.uint8)
    for i, row in enumerate(images):
        y = _GAP + i * (cell + line + _GAP)
        for j, image in enumerate(row):
            x = _GAP + j * (cell + _GAP)
            if image.shape[0] != cell:
                mode = cv2.INTER_AREA if image.shape[0] > cell else cv2.INTER_NEAREST
                image = cv2.resize(image, (cell, cell), interpolation=mode)
            sheet[y + line : y + line + cell, x : x + cell] = image
            text = None if labels is None else labels[i][j] if not isinstance(labels[i], str) else labels[i] if j == 0 else None
            if text:
                cv2.putText(sheet, str(text), (x + 1, y + line - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return sheet


def coloured(parsing: np.ndarray) -> np.ndarray:
    """A parsing map (h, w) uint8 in colours: (h, w, 3) uint8 RGB."""
    return _PALETTE[parsing]


def main(out: str, size: int = 128) -> None:
    """Writes OUT.png (people x nuisance), OUT-looks.png (one person in every look, close and as a bust) and OUT-parsing.png."""
    from magicapture.world.looks import FRAMINGS, LOOKS, Look
    from magicapture.world.nuisance import Nuisance
    from magicapture.world.people import Person
    from magicapture.world.render import render
    from magicapture.world.splits import seeds

    people = [Person.sample(s) for s in seeds("people", "train")[:8]]
    poses = [Nuisance.frontal()] + [Nuisance.sample(s) for s in (3, 4, 5)]
    rows = [[render(p, Look.sample(700 + i), n, size) for n in poses] for i, p in enumerate(people)]
    pairs = [[x for row in rows[i : i + 2] for x in row] for i in range(0, 8, 2)]
    framed = [[next(k for k in (Look.sample(s, n) for s in range(40, 99)) if k.framing_word == w) for n in LOOKS] for w in FRAMINGS]
    half = len(LOOKS) // 2
    halves = [(looks[part], LOOKS[part]) for part in (slice(half), slice(half, None)) for looks in framed]
    looks = [[render(people[2], look, Nuisance.sample(j), size).image for j, look in enumerate(row)] for row, _ in halves]
    path = Path(out)
    for name, images, labels in (
        ("", [[x.image for x in row] for row in pairs], None),
        ("-looks", looks, [names for _, names in halves]),
        ("-parsing", [[coloured(x.parsing) for x in row] for row in pairs], None),
    ):
        sheet = contact_sheet(images, labels=labels)
        cv2.imwrite(str(path.with_name(path.stem + name + path.suffix)), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main(sys.argv[1], *(int(a) for a in sys.argv[2:3]))
