"""The square that is cut from a picture, and what moves with it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from magicapture.config import Preprocess
from magicapture.faces.analysis import Face
from magicapture.references.errors import SetAside


@dataclass(frozen=True)
class Square:
    """``side`` px from (``left``, ``top``) of the picture."""

    left: int
    top: int
    side: int

    def cut(self, image: np.ndarray, resolution: int) -> np.ndarray:
        """(resolution, resolution, 3): averaged when reduced, cubic when enlarged."""
        part = image[self.top : self.top + self.side, self.left : self.left + self.side]
        how = cv2.INTER_AREA if self.side > resolution else cv2.INTER_CUBIC
        return part.copy() if self.side == resolution else cv2.resize(part, (resolution, resolution), interpolation=how)

    def move(self, points: np.ndarray, resolution: int) -> np.ndarray:
        """Points (..., 2) px of the picture in px of the cut."""
        return ((np.asarray(points, np.float64) - [self.left, self.top]) * (resolution / self.side)).astype(np.float32)


def frame(height: int, width: int, face: Face | None, knobs: Preprocess) -> Square:
    """The largest square, centred on the face as far as the picture allows; smaller only to give a small face its least share.

    So a square picture with a well-framed face is kept whole: composition belongs to the look. Raises SetAside for a face
    too large for any square, or too small to leave ``min_side`` px.
    """
    side = min(height, width)
    if face is None:
        return Square((width - side) // 2, (height - side) // 2, side)
    if face.height > knobs.max_face * side:
        raise SetAside(
            f"face too large: it takes {face.height / side:.0%} of the height of the largest square, more than {knobs.max_face:.0%} "
            "(preprocess.max_face); use a picture with more around the face",
            "large face",
        )
    across = float(face.box[2] - face.box[0])
    side = min(side, int(max(face.height / knobs.min_face, across)))
    if side < knobs.min_side:
        raise SetAside(
            f"face too small: {face.height:.0f} px high; framed to {knobs.min_face:.0%} of the height (preprocess.min_face) the picture "
            f"would be {side} px, less than {knobs.min_side} (preprocess.min_side); use one from nearer, or as the camera made it",
            "small face",
        )
    return _centred(height, width, face.box, side)


def frame_object(mask: np.ndarray) -> Square:
    """The largest square of a picture with a mask (H, W) of its object, centred on the object as far as the picture allows."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return _centred(mask.shape[0], mask.shape[1], box, min(mask.shape))


def _centred(height: int, width: int, box: np.ndarray, side: int) -> Square:
    centre = (box[:2] + box[2:]) / 2
    left, top = (int(np.clip(round(float(c) - side / 2), 0, limit - side)) for c, limit in zip(centre, (width, height), strict=True))
    return Square(left, top, side)
