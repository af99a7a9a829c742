"""Face embeddings by the recogniser (trains), the judge (selects) or the referee (reports)."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from insightface.model_zoo import get_model

from magicapture.faces import runtime
from magicapture.faces.align import align
from magicapture.faces.analysis import FaceDetector
from magicapture.packs import Pack, PackError

BATCH = 32


class Embedder:
    """A recognition network in insightface's format: RGB (x - 127.5) / 127.5, [N, 3, S, S] -> [N, D]."""

    def __init__(self, pack: Pack, role: str = "recogniser", device: str = "cpu") -> None:
        path = pack.path(role)
        session = {"providers": runtime.providers(device), "sess_options": runtime.options(path)}
        try:
            self.model = get_model(str(path.resolve()), **session)
        except Exception as error:  # onnxruntime's own exception classes share no public base
            raise PackError(f"pack {pack.name!r}: {role} ({path}) is not a usable ONNX model: {error}") from error
        if self.model is None or self.model.taskname != "recognition":
            found = "nothing insightface knows" if self.model is None else f"a {self.model.taskname} model"
            raise PackError(f"pack {pack.name!r}: {role} ({path}) is {found}; expected one input [N, 3, S, S] and one output [N, D]")
        runtime.check(self.model.session, device)
        self.role = role
        self.size = int(self.model.input_size[0])
        first = self.model.input_shape[0]
        self._fixed = isinstance(first, int)
        self._batch = int(first) if self._fixed else BATCH

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """(N, D) float32 unit rows of aligned (N, 112, 112, 3) uint8 RGB crops (other sides are resized to the network's)."""
        crops = np.asarray(crops)
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
            raise ValueError(f"expected (N, S, S, 3) uint8 RGB crops, got {crops.shape} {crops.dtype}")
        if len(crops) == 0:
            return np.zeros((0, self.dimensions), np.float32)
        if crops.shape[1:3] != (self.size, self.size):
            how = cv2.INTER_AREA if crops.shape[1] > self.size else cv2.INTER_LINEAR
            crops = np.stack([cv2.resize(crop, (self.size, self.size), interpolation=how) for crop in crops])
        nchw = crops.transpose(0, 3, 1, 2).astype(np.float32)
        rows = np.concatenate([self._forward(nchw[i : i + self._batch]) for i in range(0, len(nchw), self._batch)]).astype(np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    @property
    def dimensions(self) -> int:
        """D."""
        width = self.model.output_shape[-1]
        if isinstance(width, int):
            return width
        return int(self._forward(np.zeros((1, 3, self.size, self.size), np.float32)).shape[1])

    def embed_faces(self, images: Iterable[np.ndarray], detector: FaceDetector) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (N, D) of the largest face of each picture and found (N,) bool; where no face was found the row is 0."""
        faces = [(image, detector.detect(image)) for image in images]
        found = np.array([bool(detected) for _, detected in faces], bool)
        rows = np.zeros((len(faces), self.dimensions), np.float32)
        if found.any():
            rows[found] = self.embed(np.stack([align(image, detected[0].keypoints, self._crop) for image, detected in faces if detected]))
        return rows, found

    @property
    def _crop(self) -> int:
        return self.size if self.size % 112 == 0 or self.size % 128 == 0 else 112

    def _forward(self, nchw: np.ndarray) -> np.ndarray:
        missing = self._batch - len(nchw) if self._fixed else 0
        if missing:  # a graph with a fixed batch takes no fewer
            nchw = np.concatenate([nchw, np.zeros((missing, *nchw.shape[1:]), nchw.dtype)])
        out = np.asarray(self.model.forward(nchw))
        return out[: len(out) - missing]
