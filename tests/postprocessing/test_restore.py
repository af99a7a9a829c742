from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import yaml

from magicapture.faces.align import FFHQ, matrix
from magicapture.faces.analysis import Face
from magicapture.packs import Pack, PackError, load_pack
from magicapture.postprocessing.restore import Restorer, face_oval, paste
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import Picture, render
from magicapture.world.splits import seeds
from tests.faces import tinypack


@pytest.fixture(scope="module")
def picture() -> Picture:
    return render(Person.sample(4), Look.sample(4), Nuisance.sample(4), size=256)


def _face(picture: Picture) -> Face:
    return Face(picture.box, picture.keypoints, 0.9)


def test_fidelity_one_gives_the_picture_back(tiny_pack: Pack, picture: Picture) -> None:
    """With a restorer that returns its input, align, paste and blend must change next to nothing."""
    out = Restorer(tiny_pack).restore(picture.image, [_face(picture)], 1.0)
    assert out.dtype == np.uint8 and out.shape == picture.image.shape
    assert np.abs(out.astype(int) - picture.image).max() <= 1


def test_only_the_face_changes(tiny_pack: Pack, picture: Picture) -> None:
    """Fidelity 0 paints grey: it fills the face, falls off softly and leaves every other pixel as it was."""
    out = Restorer(tiny_pack).restore(picture.image, [_face(picture)], 0.0)
    changed = np.abs(out.astype(int) - picture.image).max(axis=2) > 0
    grey = (np.abs(cv2.GaussianBlur(out, (0, 0), 4).astype(int) - 128) <= 8).all(axis=2)
    rows, columns = np.nonzero(changed)
    left, top, right, bottom = picture.box
    tall = bottom - top
    assert rows.min() > top - 0.5 * tall and rows.max() < bottom + 0.35 * tall
    assert columns.min() > left - 0.5 * tall and columns.max() < right + 0.5 * tall
    inner = np.isin(picture.parsing, (4, 5, 10, 12, 13))
    assert grey[inner].mean() > 0.95, np.abs(cv2.GaussianBlur(out, (0, 0), 4).astype(int) - 128)[inner].max()
    assert not changed[:10].any() and not changed[:, :10].any() and not changed[-10:].any()
    delta = np.abs(out.astype(int) - picture.image).max(axis=2)
    rim = changed & ~cv2.erode(changed.astype(np.uint8), np.ones((3, 3))).astype(bool)
    assert np.median(delta[rim]) <= 8, "the edge is feathered"


def test_half_fidelity_is_half_way(tiny_pack: Pack, picture: Picture) -> None:
    restorer = Restorer(tiny_pack)
    crop = picture.image[60:188, 60:188]
    half = restorer.run(crop, 0.5)
    assert np.abs(half - (crop.astype(float) / 2 + 63.75)).max() <= 1


def test_face_at_the_picture_s_edge(tiny_pack: Pack, picture: Picture) -> None:
    """Part of the aligned crop lies outside: what the restorer sees there is no black hole."""
    x = int(picture.keypoints[0, 0])
    cut = np.ascontiguousarray(picture.image[:, x:])
    face = Face(picture.box - [x, 0, x, 0], picture.keypoints - [x, 0], 0.9)
    restorer = Restorer(tiny_pack)
    out = restorer.restore(cut, [face], 0.0)
    assert abs(out[80:180, 0].mean() - 128) < 12


@pytest.mark.parametrize("scale", [0.2, 0.5, 3.0])
def test_small_and_large_faces_are_changed_in_place(scale: float) -> None:
    """A restorer that paints a disc: it appears where the crop had it, at the right size, whether reduced or enlarged."""
    points = FFHQ / 4 * scale + [40, 30]
    transform = matrix(points, 128, FFHQ / 4)
    ys, xs = np.mgrid[:128, :128]
    disc = (np.hypot(xs - 66, ys - 74) < 20).astype(np.float32)
    flat = np.full((600, 600, 3), 50, np.uint8)
    out = paste(flat, np.repeat(100 * disc[:, :, None], 3, axis=2), face_oval(FFHQ / 4, 128), transform)
    ys, xs = np.mgrid[:600, :600]
    weight = (out[:, :, 0] - 50.0) / (out[:, :, 0] - 50.0).sum()
    np.testing.assert_allclose([(weight * xs).sum(), (weight * ys).sum()], [66 * scale + 40, 74 * scale + 30], atol=0.3)
    assert abs((out[:, :, 0] > 100).sum() / (np.pi * (20 * scale) ** 2) - 1) < 0.15


def test_oval_is_soft_and_inside_the_crop() -> None:
    for size in (128, 512):
        soft = face_oval(FFHQ * size / 512, size)
        assert (
            soft.dtype == np.float32
            and soft.max() == 1
            and not soft[0].any()
            and not soft[-1].any()
            and not soft[:, 0].any()
            and not soft[:, -1].any()
        )
        for x, y in FFHQ * size / 512:
            assert soft[int(y), int(x)] > 0.99
        steps = np.abs(np.diff(soft, axis=0)).max(), np.abs(np.diff(soft, axis=1)).max()
        assert max(steps) < 16 / size


def test_graphs_with_and_without_weight(tmp_path: Path) -> None:
    folder = tinypack.build(tmp_path)
    model = tinypack.restorer()
    model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, str(folder / "restorer.onnx"))
    crop = np.full((128, 128, 3), 200, np.uint8)
    assert Restorer(load_pack(folder)).run(crop, 0.0)[0, 0, 0] == 128
    plain = tinypack.restorer()
    del plain.graph.input[1], plain.graph.node[:]
    plain.graph.node.append(onnx.helper.make_node("Identity", ["input"], ["output"]))
    onnx.save(plain, str(folder / "restorer.onnx"))
    assert np.array_equal(Restorer(load_pack(folder)).run(crop, 0.0), crop)
    onnx.save(tinypack.parser(), str(folder / "restorer.onnx"))
    data = yaml.safe_load((folder / "pack.yaml").read_text())
    data["roles"]["restorer"]["settings"]["template"] = [[1, 2]]
    (folder / "pack.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(PackError, match=r"template has shape \(1, 2\), expected five points"):
        Restorer(load_pack(folder))


def test_mini_restores_degraded_faces(mini_pack: Pack) -> None:
    """Trained pack: blurred and noisy faces come back nearer to the clean render."""
    restorer, gains = Restorer(mini_pack), []
    rng = np.random.default_rng(0)
    for i in range(12):
        clean = render(Person.sample(seeds("people", "test")[i]), Look.sample(seeds("looks", "test")[i]), Nuisance.sample(i), size=256)
        blurred = cv2.GaussianBlur(clean.image, (0, 0), 2.5) + rng.normal(0, 8, clean.image.shape)
        bad = blurred.clip(0, 255).astype(np.uint8)
        out = restorer.restore(bad, [_face(clean)], 0.5)
        face = np.isin(clean.parsing, (1, 2, 3, 4, 5, 10, 11, 12, 13))
        errors = [np.square(guess.astype(float) - clean.image)[face].mean() for guess in (out, bad)]
        gains.append(10 * np.log10(errors[1] / errors[0]))
    assert np.mean(gains) > 0.3
