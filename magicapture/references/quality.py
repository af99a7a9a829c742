"""Verdicts on a picture and on a set: which face, sharp and lit enough, the same person throughout."""

from __future__ import annotations

import cv2
import numpy as np

from magicapture.config import Preprocess
from magicapture.faces.analysis import Face
from magicapture.references.errors import SetAside


def check_size(image: np.ndarray, knobs: Preprocess) -> None:
    """Raise SetAside for a picture whose short side is below ``min_side``."""
    side = min(image.shape[:2])
    if side < knobs.min_side:
        raise SetAside(f"too small: {image.shape[1]} x {image.shape[0]} px; at least {knobs.min_side} px a side (preprocess.min_side)")


def only_face(faces: list[Face], knobs: Preprocess) -> Face | None:
    """The one face, or None; raises SetAside when a second of comparable size stands beside it (a small one behind is no harm).

    Boxes whose centre lies inside the first one's are the same head seen twice.
    """
    if not faces:
        return None
    first = max(faces, key=lambda face: face.height)
    rivals = [
        face
        for face in faces
        if face is not first and face.height >= knobs.second_face * first.height and not first.contains((face.box[:2] + face.box[2:]) / 2)
    ]
    if rivals:
        raise SetAside(
            f"{len(rivals) + 1} faces of comparable size (preprocess.second_face {knobs.second_face:g}): it is not clear whose picture "
            "this is; cut one person out"
        )
    return first


def sharpness(image: np.ndarray, box: np.ndarray) -> float:
    """Variance of the Laplacian of the grey values (0..255) in the box, at the size training sees."""
    return float(cv2.Laplacian(_grey(image)[_inside(image, box)].astype(np.float64), cv2.CV_64F).var())


def check_photo(image: np.ndarray, mask: np.ndarray, sharp: float, knobs: Preprocess) -> None:
    """Raise SetAside for a face that is blurred, in the dark or burnt out.

    Only for photos of the person: softness and light of a reference image belong to the look, and its face is masked out.
    Brightness is judged by the face's lightest and darkest parts, not by its mean, which would judge the skin.
    """
    dark, light = np.percentile(_grey(image)[mask], (5, 95))
    if light < knobs.min_brightness:
        raise SetAside(
            f"too dark: 95 % of the face lies below {light:.0f} of 255, expected {knobs.min_brightness:g} (preprocess.min_brightness)"
        )
    if dark > knobs.max_brightness:
        raise SetAside(
            f"burnt out: 95 % of the face lies above {dark:.0f} of 255, expected {knobs.max_brightness:g} (preprocess.max_brightness)"
        )
    if sharp < knobs.min_sharpness:
        raise SetAside(f"blurred: sharpness of the face {sharp:.1f}, at least {knobs.min_sharpness:g} (preprocess.min_sharpness)")


def strangers(embeddings: np.ndarray, threshold: float) -> dict[int, float]:
    """Rows (n, D) that are someone else -> cosine to the mean of the others; fewer than three rows say nothing.

    The farthest goes first and the rest are judged again without it, so that a stranger does not drag others out.
    """
    out: dict[int, float] = {}
    left = list(range(len(embeddings)))
    while len(left) >= 3:
        rows = embeddings[left]
        others = rows.sum(axis=0) - rows
        cosines = (rows * others).sum(axis=1) / np.maximum(np.linalg.norm(others, axis=1), 1e-12)
        worst = int(cosines.argmin())
        if cosines[worst] >= threshold:
            break
        out[left.pop(worst)] = float(cosines[worst])
    return out


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _inside(image: np.ndarray, box: np.ndarray) -> tuple[slice, slice]:
    height, width = image.shape[:2]
    left, top = np.floor(box[:2]).astype(int).clip(0, [width - 3, height - 3])
    right, bottom = np.ceil(box[2:]).astype(int)
    return slice(top, max(bottom, top + 3)), slice(left, max(right, left + 3))
