"""Super-resolution by the pack's ``upscaler``."""

from __future__ import annotations

import cv2
import numpy as np

from magicapture.faces import runtime
from magicapture.packs import Pack, PackError

#: Px of context around a tile that are computed and thrown away, so that no seam shows.
OVERLAP = 16
#: Rounds of back-projection: the third moves no pixel by more than a level or two.
ROUNDS = 3


def consistent(large: np.ndarray, small: np.ndarray, share: float) -> np.ndarray:
    """(H, W, 3) uint8: ``large`` moved so that, averaged down to the size of ``small``, it is nearer to it by ``share`` (0 to 1).

    Iterative back-projection (Irani and Peleg, 1991): what an upscaler adds stays where the small picture cannot hold it, and goes where
    it contradicts the small picture, whose face was judged.
    """
    if share == 0:
        return large
    size, shrunk = large.shape[1::-1], small.shape[1::-1]
    out, first = large.astype(np.float32), cv2.resize(large.astype(np.float32), shrunk, interpolation=cv2.INTER_AREA)
    wanted = first + share * (small - first)
    for _ in range(ROUNDS):
        missing = wanted - cv2.resize(out, shrunk, interpolation=cv2.INTER_AREA)
        out = (out + cv2.resize(missing, size, interpolation=cv2.INTER_CUBIC)).clip(0, 255)
    return out.round().astype(np.uint8)


class Upscaler:
    """[N, 3, H, W] RGB 0..1 -> [N, 3, scale x H, scale x W]. Settings: ``scale``; ``tile``, the longest side in px that is run at once
    (512); ``multiple``, what both sides must be a multiple of (1).
    """

    def __init__(self, pack: Pack, device: str = "cpu") -> None:
        settings = pack.role("upscaler").settings
        self.scale = int(settings.get("scale", 4))
        self.tile = int(settings.get("tile", 512))
        self.multiple = int(settings.get("multiple", 1))
        if self.tile <= 2 * OVERLAP:
            raise PackError(f"pack {pack.name!r}: upscaler tile is {self.tile} px; expected more than {2 * OVERLAP}")
        self.session = runtime.session(pack.path("upscaler"), device)
        self._input = self.session.get_inputs()[0].name
        self._output = self.session.get_outputs()[0].name
        self._pack = pack.name

    def upscale(self, image: np.ndarray) -> np.ndarray:
        """(scale x H, scale x W, 3) uint8 of an (H, W, 3) uint8 RGB picture; in overlapping tiles when a side exceeds ``tile``."""
        height, width = image.shape[:2]
        if max(height, width) <= self.tile:
            return self._run(image)
        out = np.empty((height * self.scale, width * self.scale, 3), np.uint8)
        step = self.tile - 2 * OVERLAP
        for top in range(0, height, step):
            for left in range(0, width, step):
                y, x = max(top - OVERLAP, 0), max(left - OVERLAP, 0)
                bottom, right = min(top + step, height), min(left + step, width)
                part = self._run(image[y : bottom + OVERLAP, x : right + OVERLAP])
                rows = slice((top - y) * self.scale, (bottom - y) * self.scale)
                columns = slice((left - x) * self.scale, (right - x) * self.scale)
                out[top * self.scale : bottom * self.scale, left * self.scale : right * self.scale] = part[rows, columns]
        return out

    def _run(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        padded = cv2.copyMakeBorder(image, 0, -height % self.multiple, 0, -width % self.multiple, cv2.BORDER_REPLICATE)
        pixels = (padded.astype(np.float32) / 255).transpose(2, 0, 1)[None]
        result = self.session.run([self._output], {self._input: pixels})[0][0]
        expected = (3, padded.shape[0] * self.scale, padded.shape[1] * self.scale)
        if result.shape != expected:
            raise PackError(
                f"pack {self._pack!r}: the upscaler gives {result.shape} for scale {self.scale}, expected {expected}; check pack.yaml"
            )
        picture = (np.clip(result.transpose(1, 2, 0), 0, 1) * 255).round().astype(np.uint8)
        return picture[: height * self.scale, : width * self.scale]
