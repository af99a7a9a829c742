"""Golden runs on the tiny model whose every loss is written down: four steps of phase 1, twenty of phase 2.

A change that moves a loss by more than 1e-4 changes the method: if it is meant, write the files anew with
``python -m tests.training.test_golden`` and say why in the commit.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack, load_pack
from magicapture.training import inversion
from magicapture.training.checkpoints import CheckpointFolder
from magicapture.training.session import Session
from magicapture.training.trainer import Trainer
from magicapture.training.tuning import build_recipe
from tests.training.conftest import tiny_config

GOLDEN = Path(__file__).with_name("golden.json")
GOLDEN_INVERSION = Path(__file__).with_name("golden_inversion.json")
TERMS = ("source", "reference", "composed", "identity", "attention", "total")
INVERSION_TERMS = ("source", "reference", "total")
# Small rates: what another processor rounds otherwise must not grow to 1e-4 in twenty steps.
KNOBS = (
    "tuning.steps=20",
    "tuning.sample_every=0",
    "tuning.learning_rate=1e-3",
    "tuning.text_learning_rate=1e-3",
    "tuning.token_learning_rate=1e-3",
)


def losses(make_session: Callable[..., Session], pack: Pack, folder: Path) -> list[dict[str, float]]:
    """The terms of every step, from the initial tokens, seed 0."""
    config = tiny_config(pack, *KNOBS)
    session = make_session(config)
    recipe, _ = build_recipe(session, config, 0)
    trainer = Trainer(session.backbone, session.data, recipe, config.training, 0, CheckpointFolder(folder))
    return [{name: line[name] for name in TERMS} for line in map(trainer.step, range(20))]


def test_twenty_steps_have_the_losses_written_down(make_session: Callable[..., Session], pack: Pack, tmp_path: Path) -> None:
    found, wanted = losses(make_session, pack, tmp_path), json.loads(GOLDEN.read_text())
    assert len(found) == len(wanted) == 20
    for step, (line, golden) in enumerate(zip(found, wanted, strict=True)):
        assert line == pytest.approx(golden, abs=1e-4), f"step {step + 1}"
        # To the tiny random recogniser all faces are nearly one: at 1e-4 the term might as well be missing.
        assert line["identity"] == pytest.approx(golden["identity"], abs=5e-6), f"step {step + 1}"


def inversion_losses(prepared: Path, pack: Pack, folder: Path) -> list[dict[str, float]]:
    """The terms of the four steps of phase 1, seed 0."""
    out = inversion.run(prepared, folder / "tokens", tiny_config(pack), 0, folder / "checkpoints")
    lines = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in INVERSION_TERMS} for line in lines]


def test_four_steps_of_inversion_have_the_losses_written_down(prepared: PreparedSet, pack: Pack, tmp_path: Path) -> None:
    found, wanted = inversion_losses(prepared.folder, pack, tmp_path), json.loads(GOLDEN_INVERSION.read_text())
    assert len(found) == len(wanted) == 4
    for step, (line, golden) in enumerate(zip(found, wanted, strict=True)):
        assert line == pytest.approx(golden, abs=1e-4), f"step {step + 1}"


def _write() -> None:
    import copy

    import torch

    from magicapture.backbones import load_backbone
    from magicapture.training.data import load_training_data
    from tests.training import tinymodel

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pack = load_pack(tinymodel.build_pack(folder / "pack"))
        prepared, backbone = PreparedSet.load(tinymodel.build_prepared(folder / "prepared")), load_backbone(pack)

        def make(config, seed=0):
            fresh = copy.deepcopy(backbone)
            inversion.add_initial(fresh.tokens, config.inversion, seed)
            data = load_training_data(prepared, pack, fresh, config.training.augment, folder / "latents")
            return Session(prepared, pack, fresh, data, "lineage", folder / "run")

        found = {GOLDEN: losses(make, pack, folder / "checkpoints"), GOLDEN_INVERSION: inversion_losses(prepared.folder, pack, folder)}
    for path, lines in found.items():
        path.write_text("[\n" + ",\n".join(json.dumps({name: round(value, 6) for name, value in line.items()}) for line in lines) + "\n]\n")


if __name__ == "__main__":
    _write()
