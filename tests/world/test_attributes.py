from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from magicapture.world import attributes, diffusion_data
from magicapture.world.attributes import LABELS, Reader, accuracy, named, read, trained_reader
from magicapture.world.diffusion_data import labels_of

BALD = {
    "skin": "brown", "hair_style": "bald", "hair_colour": "none", "beard": "none", "glasses": "round", "expression": "smiling",
    "clothing": "tee", "cloth_colour": "red", "look": LABELS["look"][0],
}  # fmt: skip
CAPTION = f"a photo of a person with brown skin , a bald head , round glasses , smiling , wearing a red tee , in the {BALD['look']} style"


def _value(row: np.ndarray, name: str) -> int:
    return int(row[list(LABELS).index(name)])


def test_labels_are_indices_and_nothing_where_an_attribute_does_not_apply() -> None:
    row = labels_of(BALD)
    assert _value(row, "skin") == LABELS["skin"].index("brown")
    assert _value(row, "hair_style") == LABELS["hair_style"].index("bald")
    assert _value(row, "hair_colour") == -1 and _value(row, "age") == -1
    assert _value(labels_of({}), "look") == -1


def test_what_a_caption_leaves_open_is_not_named() -> None:
    found = named(BALD, CAPTION)
    said = {name for name, value in zip(LABELS, found, strict=True) if value}
    assert said == {"skin", "hair_style", "glasses", "expression", "clothing", "cloth_colour", "look"}
    # "brown" stands there, but beside "skin": the colour of the hair is left open.
    hidden = {**BALD, "hair_style": "short", "hair_colour": "brown"}
    assert not named(hidden, "a photo of a person with brown skin , smiling")[list(LABELS).index("hair_colour")]
    assert named(hidden, "a photo of a person with brown skin , short brown hair")[list(LABELS).index("hair_colour")]


def test_accuracy_on_planted_labels() -> None:
    wanted, asked = np.zeros((4, len(LABELS)), int), np.ones((4, len(LABELS)), bool)
    predicted = wanted.copy()
    skin, hair, look, beard = (list(LABELS).index(name) for name in ("skin", "hair_colour", "look", "beard"))
    predicted[0, skin] = 1
    wanted[2:, hair], predicted[0, hair] = -1, 3  # two bald heads; of the others one is wrong
    asked[0, look], predicted[0, look] = False, 5  # wrong, and not asked for
    asked[:, beard] = False
    found = accuracy(predicted, wanted, asked)
    assert found["skin"] == 0.75 and found["hair_colour"] == 0.5 and found["look"] == 1.0 and found["beard"] is None


def test_reading_gives_the_likeliest_value_of_each_head() -> None:
    torch.manual_seed(0)
    model = Reader().eval()
    with torch.no_grad():
        model.heads.weight.zero_()
        model.heads.bias.zero_()
        model.heads.bias[len(LABELS["skin"]) + 2] = 1.0  # the second head's third value
    rows = read(model, np.zeros((3, 64, 64, 3), np.uint8))
    assert rows.shape == (3, len(LABELS)) and (rows[:, 1] == 2).all() and (rows[:, 0] == 0).all()


def test_the_reader_learns_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a handful of pictures it learns by heart which look is which; the second call trains nothing."""
    monkeypatch.setattr(diffusion_data, "SHARD", 24)
    monkeypatch.setattr(attributes, "SHARDS", 1)
    monkeypatch.setattr(attributes, "STEPS", 60)
    monkeypatch.setattr(attributes, "BATCH", 24)
    model = trained_reader(tmp_path)
    pictures = diffusion_data.Pictures.load(tmp_path / "pictures")
    predicted = read(model, pictures.images)
    right = accuracy(predicted, np.asarray(pictures.labels), np.ones(predicted.shape, bool))
    assert right["skin"] is not None and right["skin"] > 0.6
    monkeypatch.setattr(attributes, "Run", None)
    assert (read(trained_reader(tmp_path), pictures.images) == predicted).all()
