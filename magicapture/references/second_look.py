"""Where no clear upright face was found at first sight: the picture may lie on its side, the person stand far away, or it be no face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magicapture.faces.analysis import Face, FaceDetector
from magicapture.faces.parse import Parser, face_mask

#: Detectors find something in pictures on their side, and in empty ones turned about; what is believed must be as sure as this, and surer
#: than the upright face by MARGIN.
SURE, MARGIN = 0.9, 0.03
#: Score from near at which a small face is believed (validation: .85 and more; scenery .58, at times .9).
NEAR = 0.75
#: Share of a doubtful face's box that the parser must see as face.
SKIN = 0.3


def quarter_turn(detector: FaceDetector, image: np.ndarray, upright: Face | None = None) -> int:
    """Degrees clockwise (90, 180, 270) by which a picture must be turned for its face to stand upright; 0 where it does, or has none."""
    scores = {}
    for quarters in (1, 2, 3):
        faces = detector.detect(np.ascontiguousarray(np.rot90(image, -quarters)))
        scores[90 * quarters] = max((face.score for face in faces), default=0.0)
    best = max(scores, key=lambda turn: scores[turn])
    return best if scores[best] >= max(SURE, upright.score + MARGIN if upright else 0.0) else 0


def far_face(detector: FaceDetector, parser: Parser, image: np.ndarray) -> Face | None:
    """A face too small to be found in the whole picture, in its px: looked for in nine overlapping parts of half the size."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    found = []
    for top in (0, height // 2, height):
        for left in (0, width // 2, width):
            for face in detector.detect(np.ascontiguousarray(image[top : top + height, left : left + width])):
                if face.score >= NEAR:
                    found.append(Face(face.box + np.tile([left, top], 2), face.keypoints + [left, top], face.score))
    found.sort(key=lambda face: -face.score)
    return next((face for face in found if with_skin(parser, image, [face])), None)


def with_skin(parser: Parser, image: np.ndarray, faces: Sequence[Face]) -> list[Face]:
    """Those of the faces in which the parser sees one too; detectors take wheels, handles and flowers for small ones."""
    return [face for face in faces if _skin(parser, image, face.box) >= SKIN]


def _skin(parser: Parser, image: np.ndarray, box: np.ndarray) -> float:
    """Share of a box that is face to the parser, which sees the box with as much again around it."""
    extent = (box[2:] - box[:2]).max()
    middle = (box[:2] + box[2:]) / 2
    left, top = np.maximum(middle - extent, 0).astype(int)
    right, bottom = np.ceil(middle + extent).astype(int)
    labels = parser.parse(np.ascontiguousarray(image[top:bottom, left:right]))
    inside = box - np.tile([left, top], 2)
    area = float(np.prod(inside[2:] - inside[:2]))
    return float(face_mask(labels, inside).sum()) / max(area, 1.0)
