"""Face detection by ``insightface.app.FaceAnalysis`` over a pack's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from insightface.app import FaceAnalysis

from magicapture.faces import runtime
from magicapture.packs import Pack, PackError


@dataclass(frozen=True)
class Face:
    """One detected face, in px of the picture it was found in.

    ``box`` (4,) left, top, right, bottom; ``keypoints`` (5, 2) in the order of ``faces.align``; ``score`` 0..1.
    """

    box: np.ndarray
    keypoints: np.ndarray
    score: float

    @property
    def height(self) -> float:
        """Of the box, px."""
        return float(self.box[3] - self.box[1])

    @property
    def area(self) -> float:
        """Of the box, px squared."""
        return float(self.box[2] - self.box[0]) * self.height

    def contains(self, point: np.ndarray) -> bool:
        """Whether a point (x, y) lies in the box."""
        return bool(self.box[0] <= point[0] <= self.box[2] and self.box[1] <= point[1] <= self.box[3])


class FaceDetector:
    """The pack's ``detector``. Its settings: ``det_size``, the side in px the network looks at (a multiple of 32)."""

    def __init__(self, pack: Pack, device: str = "cpu", threshold: float = 0.5) -> None:
        path = pack.path("detector")
        folder = path if path.is_dir() else path.parent
        self.size = int(pack.role("detector").settings.get("det_size", 640))
        if self.size <= 0 or self.size % 32:
            raise PackError(f"pack {pack.name!r}: detector det_size is {self.size}; expected a positive multiple of 32")
        session = {"providers": runtime.providers(device), "sess_options": runtime.options(path)}
        try:
            # An absolute folder that exists is never downloaded; other ONNX files in it are opened and let go.
            self.analysis = FaceAnalysis(name=str(folder.resolve()), allowed_modules=["detection"], **session)
        except AssertionError:
            raise PackError(f"pack {pack.name!r}: no ONNX file in {folder} has a detector's outputs") from None
        except Exception as error:  # onnxruntime's own exception classes share no public base
            raise PackError(f"pack {pack.name!r}: an ONNX file in {folder} cannot be used: {error}; `magicapture packs verify`") from error
        taken = Path(self.analysis.det_model.model_file)
        if not path.is_dir() and taken.name != path.name:
            raise PackError(
                f"pack {pack.name!r}: insightface takes the first detector of a folder, here {taken}, not {path.name}; move it elsewhere"
            )
        runtime.check(self.analysis.det_model.session, device)
        self.analysis.prepare(ctx_id=0, det_thresh=threshold, det_size=(self.size, self.size))

    def detect(self, image: np.ndarray) -> list[Face]:
        """Faces of an (H, W, 3) uint8 RGB picture of any size, largest first.

        The picture is brought to ``det_size`` first (averaged down, cubic up: insightface's own bilinear step aliases). When
        nothing is found it is looked at again with a margin around it, because close-ups that fill the frame are missed.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected an (H, W, 3) uint8 RGB picture, got {image.shape} {image.dtype}")
        faces = self._look(image, 0)
        return faces or self._look(image, max(image.shape[:2]) // 3)

    def _look(self, image: np.ndarray, margin: int) -> list[Face]:
        height, width = image.shape[:2]
        scale = self.size / (max(height, width) + 2 * margin)
        small = cv2.resize(
            image,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
        )
        pad = round(margin * scale)
        if pad:
            small = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
        found = self.analysis.get(np.ascontiguousarray(small[:, :, ::-1]))  # insightface takes BGR
        ratio = np.array([width / max(1, round(width * scale)), height / max(1, round(height * scale))])
        faces = []
        for entry in found:
            if entry.kps is None:
                raise PackError("the pack's detector gives no key points; use one with 9 outputs (see docs on packs)")
            box = (entry.bbox.reshape(2, 2).astype(np.float64) - pad) * ratio
            limited = np.clip(box, 0, [width, height]).reshape(4)
            if (limited[2:] - limited[:2] > 1).all():
                keypoints = (entry.kps.astype(np.float64) - pad) * ratio
                faces.append(Face(limited.astype(np.float32), keypoints.astype(np.float32), float(entry.det_score)))
        return sorted(faces, key=lambda face: -face.area)
