"""Face restoration as CodeFormer is used: align, restore, paste back where the face is, and nowhere else."""

from __future__ import annotations

import cv2
import numpy as np

from magicapture.faces import runtime
from magicapture.faces.align import FFHQ, matrix, warp
from magicapture.faces.analysis import Face
from magicapture.packs import Pack, PackError


class Restorer:
    """The pack's ``restorer``: "input" [N, 3, S, S] aligned RGB -1..1 and, where the graph has it, "weight", the fidelity.

    Settings: ``size`` S px; ``template``, five key points in px of the crop (default: FFHQ's framing, scaled to S).
    """

    def __init__(self, pack: Pack, device: str = "cpu") -> None:
        settings = pack.role("restorer").settings
        self.size = int(settings.get("size", 512))
        self.template = np.array(settings.get("template", FFHQ * (self.size / 512)), np.float64)
        if self.template.shape != (5, 2):
            raise PackError(f"pack {pack.name!r}: the restorer's template has shape {self.template.shape}, expected five points (5, 2)")
        self.session = runtime.session(pack.path("restorer"), device)
        self._types = {entry.name: entry.type for entry in self.session.get_inputs()}
        if "input" not in self._types:
            raise PackError(f"pack {pack.name!r}: the restorer has inputs {sorted(self._types)}, expected 'input' (and 'weight')")
        self._output = self.session.get_outputs()[0].name
        self._soft = face_oval(self.template, self.size)

    def restore(self, image: np.ndarray, faces: list[Face], fidelity: float) -> np.ndarray:
        """(H, W, 3) uint8: the picture with every face restored; ``fidelity`` 0 (most restoration) to 1 (closest to the input)."""
        for face in faces:
            transform = matrix(face.keypoints, self.size, self.template)
            crop = warp(image, transform, self.size, self.size, cv2.BORDER_REPLICATE)  # black would bleed into faces at the edge
            change = self.run(crop, fidelity).astype(np.float32) - crop
            image = paste(image, change, self._soft, transform)
        return image

    def run(self, crop: np.ndarray, fidelity: float) -> np.ndarray:
        """(S, S, 3) uint8: one aligned face, restored."""
        feed = {"input": (crop.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]}
        if "weight" in self._types:
            feed["weight"] = np.array(fidelity, np.float64 if self._types["weight"] == "tensor(double)" else np.float32)
        result = self.session.run([self._output], feed)[0][0]
        return ((np.clip(result.transpose(1, 2, 0), -1, 1) + 1) * 127.5).round().astype(np.uint8)


def face_oval(template: np.ndarray, size: int) -> np.ndarray:
    """(size, size) float32 in 0..1: 1 on the face, falling softly to exactly 0 before the crop ends.

    An oval from hairline to chin in units of the distance between eyes and mouth (FFHQ's proportions).
    """
    eyes, mouth = template[:2].mean(axis=0), template[3:].mean(axis=0)
    unit = float(np.linalg.norm(mouth - eyes))
    centre = eyes + 0.4 * (mouth - eyes)
    ys, xs = np.mgrid[:size, :size].astype(np.float64)
    reach = np.hypot((xs - centre[0]) / (1.2 * unit), (ys - centre[1]) / (1.45 * unit))
    edge = np.minimum.reduce([xs, ys, size - 1 - xs, size - 1 - ys]) / (0.08 * size)
    soft = np.clip(np.minimum((1 - reach) / 0.35, edge), 0, 1)
    return (soft * soft * (3 - 2 * soft)).astype(np.float32)


def paste(image: np.ndarray, change: np.ndarray, soft: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Add what the restorer changed in an aligned crop to the picture the crop came from.

    ``change`` (S, S, 3) float32, restored minus crop; ``soft`` (S, S) 0..1 weighs it; ``transform`` (2, 3) made the crop. CodeFormer
    pastes the restored crop itself, which blurs every face larger than the crop; so the detail that the crop cannot hold
    stays, and for smaller faces both are the same (ours). Pixels where the weight is 0 stay as they are, bit for bit.
    """
    height, width = image.shape[:2]
    back = cv2.invertAffineTransform(transform)
    added = warp(change * soft[:, :, None], back, width, height)
    return (image + added).round().clip(0, 255).astype(np.uint8)
