"""Face parsing: which pixel is skin, hair, eye..."""

from __future__ import annotations

import cv2
import numpy as np

from magicapture.faces import runtime
from magicapture.faces.classes import FACE_CLASSES, HEAD_CLASSES, PARSING_CLASSES
from magicapture.packs import Pack, PackError


class Parser:
    """The pack's ``parser``. Its settings: ``size`` px, ``mean``, ``std`` of RGB in 0..1, ``parts``: whether it knows eyes, nose, mouth,
    ``lenses``: whether it calls all of clear glasses glasses, the eyes behind them too."""

    def __init__(self, pack: Pack, device: str = "cpu") -> None:
        settings = pack.role("parser").settings
        self.size = int(settings.get("size", 512))
        self.mean = np.array(settings.get("mean", (0.485, 0.456, 0.406)), np.float32)
        self.std = np.array(settings.get("std", (0.229, 0.224, 0.225)), np.float32)
        self.parts = bool(settings.get("parts", True))
        self.lenses = bool(settings.get("lenses", True))
        self.session = runtime.session(pack.path("parser"), device)
        self._input = self.session.get_inputs()[0].name
        self._output = self.session.get_outputs()[0].name
        self._pack = pack.name

    def parse(self, image: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
        """(H, W) uint8 labels of an (H, W, 3) uint8 RGB picture, or at ``size`` = (height, width) of the same view.

        Pictures that are not square are padded to a square, as the networks expect.
        """
        height, width = image.shape[:2]
        out_height, out_width = size or (height, width)
        side = max(height, width)
        if height != width:
            image = cv2.copyMakeBorder(image, 0, side - height, 0, side - width, cv2.BORDER_REPLICATE)
        how = cv2.INTER_AREA if side > self.size else cv2.INTER_LINEAR
        square = cv2.resize(image, (self.size, self.size), interpolation=how)
        pixels = (square.astype(np.float32) / 255 - self.mean) / self.std
        logits = self.session.run([self._output], {self._input: pixels.transpose(2, 0, 1)[None]})[0][0]
        if logits.shape != (len(PARSING_CLASSES), self.size, self.size):
            expected = (len(PARSING_CLASSES), self.size, self.size)
            raise PackError(f"pack {self._pack!r}: the parser gives {logits.shape} for one picture, expected {expected}")
        return _winners(logits, (round(out_height * side / height), round(out_width * side / width)))[:out_height, :out_width]


def face_mask(labels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of the face classes inside the box (left, top, right, bottom px)."""
    left, top, right, bottom = np.asarray(box, np.float64)
    rows, columns = np.arange(labels.shape[0]) + 0.5, np.arange(labels.shape[1]) + 0.5
    inside = ((rows >= top) & (rows <= bottom))[:, None] & ((columns >= left) & (columns <= right))[None, :]
    return np.isin(labels, FACE_CLASSES) & inside


def head_mask(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of the head classes, the face with glasses, earrings and hair, wherever they lie."""
    return np.isin(labels, HEAD_CLASSES)


def _winners(logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Class of the greatest resized logit, class by class: 19 maps of a large picture need not be in memory at once."""
    height, width = shape
    how = cv2.INTER_AREA if height < logits.shape[1] else cv2.INTER_LINEAR
    best = np.full((height, width), -np.inf, np.float32)
    labels = np.zeros((height, width), np.uint8)
    for index, plane in enumerate(logits):
        values = cv2.resize(plane, (width, height), interpolation=how)
        better = values > best
        best[better] = values[better]
        labels[better] = index
    return labels
