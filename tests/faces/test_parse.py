from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from magicapture.faces.classes import FACE_CLASSES, PARSING_CLASSES
from magicapture.faces.parse import Parser, face_mask
from magicapture.packs import Pack, PackError, load_pack
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render
from magicapture.world.splits import seeds
from tests.faces import tinypack


@pytest.mark.parametrize(
    ("shape", "face"), [((128, 128), (64, 60, 60)), ((64, 64), (30, 36, 30)), ((300, 200), (100, 190, 120)), ((90, 400), (330, 50, 60))]
)
def test_labels_lie_where_things_are(tiny_pack: Pack, shape: tuple[int, int], face: tuple[int, int, int]) -> None:
    x, y, side = face
    labels = Parser(tiny_pack).parse(tinypack.draw(*shape, [(x, y, side, 0)]))
    assert labels.shape == shape and labels.dtype == np.uint8 and set(np.unique(labels)) == {0, 1}
    rows, columns = np.nonzero(labels == 1)
    slack = max(shape) / 128 + 1
    edges = [
        columns.min() - (x - side / 2),
        columns.max() + 1 - (x + side / 2),
        rows.min() - (y - side / 2),
        rows.max() + 1 - (y + side / 2),
    ]
    assert np.abs(edges).max() <= slack


def test_other_output_size(tiny_pack: Pack) -> None:
    image = tinypack.draw(256, 256, [(128, 128, 128, 0)])
    labels = Parser(tiny_pack).parse(image, (32, 32))
    assert labels.shape == (32, 32)
    assert (labels[9:23, 9:23] == 1).all() and (labels[:7] == 0).all() and (labels[25:] == 0).all()


def test_takes_rgb(tiny_pack: Pack) -> None:
    parser = Parser(tiny_pack)
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[:, :, 2] = 255
    assert (parser.parse(blue) == 17).all() and (parser.parse(blue[:, :, ::-1].copy()) == 1).all()


def test_face_mask_is_face_classes_inside_the_box() -> None:
    labels = np.tile(np.arange(19, dtype=np.uint8), (6, 1))
    mask = face_mask(labels, np.array([1, 2, 13, 4]))
    assert mask.dtype == bool and not mask[:2].any() and not mask[4:].any()
    assert np.flatnonzero(mask[2]).tolist() == [c for c in FACE_CLASSES if c < 13]
    names = {PARSING_CLASSES[c] for c in FACE_CLASSES}
    assert "skin" in names and not names & {"glasses", "earring", "neck", "hair", "cloth", "background", "hat", "necklace"}


def test_wrong_network_is_named(tmp_path: Path) -> None:
    folder = tinypack.build(tmp_path)
    onnx.save(tinypack.upscaler(), str(folder / "parser.onnx"))
    with pytest.raises(PackError, match=r"parser gives \(3, 512, 512\) for one picture, expected \(19, 128, 128\)"):
        Parser(load_pack(folder)).parse(np.zeros((32, 32, 3), np.uint8))


def test_mini_parses_rendered_people(mini_pack: Pack) -> None:
    """Trained pack: the face mask covers the rendered face and little else."""
    parser = Parser(mini_pack)
    overlaps = []
    for i in range(24):
        picture = render(Person.sample(seeds("people", "test")[i]), Look.sample(seeds("looks", "test")[i]), Nuisance.sample(i), size=256)
        truth, guess = (face_mask(labels, picture.box) for labels in (picture.parsing, parser.parse(picture.image)))
        overlaps.append((truth & guess).sum() / (truth | guess).sum())
    assert np.median(overlaps) >= 0.85 and min(overlaps) >= 0.5
