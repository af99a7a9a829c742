from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from magicapture.faces.analysis import FaceDetector
from magicapture.packs import Pack, PackError, load_pack
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render
from magicapture.world.splits import seeds
from tests.faces import tinypack


@pytest.fixture(scope="module")
def detector(tiny_pack: Pack) -> FaceDetector:
    return FaceDetector(tiny_pack)


@pytest.mark.parametrize(
    ("shape", "face"),
    [
        ((64, 64), (32, 32, 29)),
        ((128, 128), (64, 64, 58)),
        ((1500, 1500), (750, 750, 660)),
        ((100, 300), (56, 56, 64)),
        ((260, 60), (32, 130, 56)),
    ],
)
def test_finds_faces_whatever_the_size_of_the_picture(
    detector: FaceDetector, shape: tuple[int, int], face: tuple[float, float, float]
) -> None:
    x, y, side = face
    image = tinypack.draw(*shape, [(x, y, side, 0)])
    (found,) = detector.detect(image)
    assert np.abs((found.box[:2] + found.box[2:]) / 2 - [x, y]).max() < 0.03 * side
    assert 0.8 * side < found.height < 1.25 * side
    assert found.contains(found.keypoints.mean(axis=0)) and found.keypoints.shape == (5, 2)
    assert found.box[0] >= 0 and found.box[1] >= 0 and found.box[2] <= shape[1] and found.box[3] <= shape[0]


def test_takes_rgb(detector: FaceDetector) -> None:
    """The marker is red: with the channels swapped there is no face."""
    image = tinypack.draw(128, 128, [(64, 60, 58, 0)])
    assert detector.detect(image) and not detector.detect(image[:, :, ::-1].copy())


def test_close_up_is_looked_at_with_a_margin(detector: FaceDetector) -> None:
    (face,) = detector.detect(tinypack.draw(128, 128, [(64, 64, 128, 0)]))
    assert np.abs(face.box - [0, 0, 128, 128]).max() < 10


def test_largest_first(detector: FaceDetector) -> None:
    faces = detector.detect(tinypack.draw(256, 256, [(220, 60, 52, 1), (100, 120, 120, 0)]))
    assert len(faces) == 2 and faces[0].area > faces[1].area and faces[0].contains(np.array([100, 120]))


def test_nothing_to_find(detector: FaceDetector) -> None:
    assert detector.detect(tinypack.draw(90, 120, [])) == []
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_refuses_other_arrays(detector: FaceDetector, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected an \(H, W, 3\) uint8 RGB picture"):
        detector.detect(image)


def test_another_detector_in_the_folder_is_not_taken_in_silence(tmp_path: Path) -> None:
    pack = load_pack(tinypack.build(tmp_path / "pack"))
    (tmp_path / "pack" / "faces" / "another.onnx").write_bytes(pack.path("detector").read_bytes())
    with pytest.raises(PackError, match=r"first detector of a folder, here .*/another\.onnx, not detector\.onnx; move it elsewhere"):
        FaceDetector(pack)


def test_unusable_packs(tmp_path: Path) -> None:
    folder = tinypack.build(tmp_path)
    text = (folder / "pack.yaml").read_text()
    (folder / "pack.yaml").write_text(text.replace("det_size: 128", "det_size: 100"))
    with pytest.raises(PackError, match="det_size is 100; expected a positive multiple of 32"):
        FaceDetector(load_pack(folder))
    (folder / "pack.yaml").write_text(text)
    onnx.save(tinypack.embedder(28), str(folder / "faces" / "detector.onnx"))
    with pytest.raises(PackError, match="no ONNX file in .* has a detector's outputs"):
        FaceDetector(load_pack(folder))
    (folder / "faces" / "detector.onnx").write_bytes(b"\0" * 100)
    with pytest.raises(PackError, match="cannot be used"):
        FaceDetector(load_pack(folder))


@pytest.mark.parametrize("size", [64, 256])
def test_mini_finds_rendered_people(mini_pack: Pack, size: int) -> None:
    """Trained pack: at the diffusion model's 64 px and in larger photos, with key points where they belong."""
    detector = FaceDetector(mini_pack)
    errors, found = [], 0
    for i in range(40):
        picture = render(Person.sample(seeds("people", "test")[i]), Look.sample(seeds("looks", "test")[i]), Nuisance.sample(i), size=size)
        faces = detector.detect(picture.image)
        found += len(faces) == 1
        if faces:
            errors.append(np.linalg.norm(faces[0].keypoints - picture.keypoints, axis=1).mean() / (picture.box[3] - picture.box[1]))
    assert found >= 38 and np.median(errors) < 0.04 and np.quantile(errors, 0.9) < 0.08
    assert detector.detect(cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8), (0, 0), 5)) == []
