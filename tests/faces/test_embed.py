from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from magicapture.faces.align import align
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.packs import Pack, PackError, load_pack
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person, matched_stranger
from magicapture.world.render import render
from magicapture.world.splits import seeds
from tests.faces import tinypack


def _expected(crops: np.ndarray, channel: int) -> np.ndarray:
    values = (crops[:, :, :, channel].astype(np.float64) - 127.5) / 127.5
    cells = values.reshape(len(crops), 4, 28, 4, 28).mean(axis=(2, 4)).reshape(len(crops), 16)
    cells -= cells.mean(axis=1, keepdims=True)
    return cells / np.linalg.norm(cells, axis=1, keepdims=True)


@pytest.mark.parametrize(("channel", "batch"), [(0, "n"), (1, "n"), (2, 1), (0, 4), (0, 40)])
def test_format_is_insightfaces(tmp_path: Path, channel: int, batch: int | str) -> None:
    """RGB order, (x - 127.5) / 127.5, unit rows; and graphs with a fixed batch give the same."""
    folder = tinypack.build(tmp_path)
    onnx.save(tinypack.embedder(28, channel, batch), str(folder / "judge" / "judge.onnx"))
    crops = np.random.default_rng(0).integers(0, 256, (35, 112, 112, 3), dtype=np.uint8)
    embedder = Embedder(load_pack(folder), "judge")
    rows = embedder.embed(crops)
    assert rows.dtype == np.float32 and embedder.dimensions == 16
    np.testing.assert_allclose(rows, _expected(crops, channel), atol=2e-4)
    np.testing.assert_allclose(embedder.embed(np.repeat(np.repeat(crops[:2], 2, axis=1), 2, axis=2)), rows[:2], atol=1e-3)
    assert embedder.embed(crops[:0]).shape == (0, 16)


def test_faces_of_pictures(tiny_pack: Pack) -> None:
    people = [0, 0, None, 1, 2]
    images = [tinypack.draw(128, 128, [] if who is None else [(64 + i, 60, 58, who)], seed=i) for i, who in enumerate(people)]
    rows, found = Embedder(tiny_pack, "recogniser").embed_faces(images, FaceDetector(tiny_pack))
    assert found.tolist() == [True, True, False, True, True]
    cosines = rows @ rows.T
    assert cosines[0, 1] > 0.9 and abs(cosines[0, 3]) < 0.3 and abs(cosines[3, 4]) < 0.3
    assert not rows[2].any() and np.allclose(np.diag(cosines)[found], 1, atol=1e-5)


def test_refuses_what_is_no_recogniser(tmp_path: Path, tiny_pack: Pack) -> None:
    folder = tinypack.build(tmp_path)
    onnx.save(tinypack.detector(), str(folder / "judge" / "judge.onnx"))
    with pytest.raises(PackError, match=r"judge .* is a detection model; expected one input"):
        Embedder(load_pack(folder), "judge")
    onnx.save(tinypack.upscaler(), str(folder / "judge" / "judge.onnx"))
    with pytest.raises(PackError, match=r"judge .* cannot be|judge .* is"):
        Embedder(load_pack(folder), "judge")
    (folder / "judge" / "judge.onnx").write_bytes(b"junk")
    with pytest.raises(PackError, match="judge .* is not a usable ONNX model"):
        Embedder(load_pack(folder), "judge")
    with pytest.raises(ValueError, match=r"expected \(N, S, S, 3\) uint8"):
        Embedder(tiny_pack).embed(np.zeros((2, 3, 112, 112), np.float32))


@pytest.mark.parametrize("role", ["recogniser", "judge", "referee"])
def test_mini_tells_a_person_from_matched_strangers(mini_pack: Pack, role: str) -> None:
    """Trained pack: two pictures of a person are nearer than her picture and one of somebody whom the same words describe."""
    embedder = Embedder(mini_pack, role)

    def row(person: Person, seed: int) -> np.ndarray:
        picture = render(person, Look.sample(seeds("looks", "test")[seed]), Nuisance.sample(seed), size=64)
        return embedder.embed(align(picture.image, picture.keypoints)[None])[0]

    nearer = []
    for i in range(24):
        person = Person.sample(seeds("people", "test")[i])
        anchor = row(person, 3 * i)
        nearer.append(anchor @ row(person, 3 * i + 1) > anchor @ row(matched_stranger(person, 1), 3 * i + 2))
    assert np.mean(nearer) >= 0.75
