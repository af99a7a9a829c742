"""Alignment: the similarity transform that brings five key points onto a template.

Key points are (5, 2) px, x then y: left eye, right eye (the picture's left and right), nose tip, left and right mouth
corner, in insightface's convention (scaling a picture by s scales its key points by s).
"""

from __future__ import annotations

import cv2
import numpy as np

#: ArcFace's template at 112 px (insightface); shifted by 8 px for the 128 px family.
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])

#: FFHQ's framing at 512 px (facexlib), which face restorers are trained on.
FFHQ = np.array([[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043], [313.08905, 371.15118]])


def arcface_template(size: int) -> np.ndarray:
    """(5, 2) px of the recognition template for a ``size`` px crop. Raises ValueError unless size is a multiple of 112 or 128."""
    if size % 112 == 0:
        return ARCFACE * (size / 112)
    if size % 128 == 0:
        return (ARCFACE + [8.0, 0.0]) * (size / 128)
    raise ValueError(f"aligned crops are a multiple of 112 or 128 px, got {size}")


def matrix(keypoints: np.ndarray, size: int = 112, template: np.ndarray | None = None) -> np.ndarray:
    """(2, 3) similarity (rotation, uniform scale, shift) from picture px to crop px, least squares over the five points.

    ``template`` (5, 2) px of the crop; None: ArcFace's for ``size``. Raises ValueError for points that all coincide.
    """
    target = arcface_template(size) if template is None else template
    # As complex numbers a similarity is w = a z + b, and least squares has a closed form (equal to Umeyama's here).
    z, w = (points.astype(np.float64) @ [1, 1j] for points in (np.asarray(keypoints), np.asarray(target)))
    centred = z - z.mean()
    spread = np.vdot(centred, centred).real
    if not spread > 1e-12:
        raise ValueError(f"key points {np.asarray(keypoints).tolist()} coincide: no face can be aligned to them")
    a = np.vdot(centred, w - w.mean()) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def warp(image: np.ndarray, transform: np.ndarray, width: int, height: int, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    """Warp (H, W[, C]) by a (2, 3) similarity, bilinear; strong reductions are averaged first, not aliased.

    Outside the picture it is black, as recognisers are trained, or what ``border`` (cv2.BORDER_...) says.
    """
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    reduce = int(0.5 / scale) if scale > 0 else 1
    if reduce > 1:
        small = (max(1, round(image.shape[1] / reduce)), max(1, round(image.shape[0] / reduce)))
        back = np.diag([image.shape[1] / small[0], image.shape[0] / small[1]])
        # cv2 puts integer coordinates at pixel centres: going through the smaller grid keeps half a pixel in place.
        shift = 0.5 * (np.diag(back) - 1)
        transform = np.column_stack([transform[:, :2] @ back, transform[:, :2] @ shift + transform[:, 2]])
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.warpAffine(image, transform, (width, height), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=0)


def on_grids(transform: np.ndarray, ratio: float = 1.0) -> np.ndarray:
    """The (2, 3) matrix between pixel grids, as cv2 wants it, of a ``transform`` between positions (pixel centres lie at .5 there).

    ``ratio``: the picture at hand is that many times smaller than the one whose positions ``transform`` takes.
    """
    turned = transform[:, :2] * ratio
    return np.column_stack([turned, turned @ [0.5, 0.5] + transform[:, 2] - 0.5])


def crop_matrix(keypoints: np.ndarray, size: int = 112) -> np.ndarray:
    """(2, 3) from the picture's pixel grid to that of a ``size`` px crop in ArcFace's framing; for :func:`warp`.

    Key points are positions (pixel centres lie at .5), grids count pixel centres from 0: half a pixel of a 64 px picture is two of the
    same picture at 256 px, and without it the same face at two sizes is two crops.
    """
    return matrix(np.asarray(keypoints) - 0.5, size)


def align(image: np.ndarray, keypoints: np.ndarray, size: int = 112) -> np.ndarray:
    """(size, size, 3) uint8: the face in ArcFace's framing, from an (H, W, 3) picture."""
    return warp(image, crop_matrix(keypoints, size), size, size)
