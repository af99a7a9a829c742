"""A scheduler that contradicts the UNet is refused; nothing else is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from magicapture.artifacts import sha256_file
from magicapture.backbones import Backbone, BackboneError, Text, load_backbone
from magicapture.backbones.prediction import check_prediction_type, echoes
from magicapture.packs import Pack, load_pack
from tests.backbones.tinysd import write_pack


@pytest.fixture(scope="module")
def mini() -> Pack:
    """A trained model, of v-prediction."""
    return load_pack("mini")


@pytest.fixture
def epsilon(mini: Pack, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """The same trained UNet as an epsilon model: its v as the epsilon that it stands for."""
    backbone = load_backbone(mini)
    velocity = backbone.predict

    def predict(latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        alphas = backbone.schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        return (1 - alphas).sqrt() * latents + alphas.sqrt() * velocity(latents, timesteps, text)

    monkeypatch.setattr(backbone, "predict", predict)
    backbone.schedule.register_to_config(prediction_type="epsilon")
    return backbone


def test_a_trained_model_tells_what_it_predicts(mini: Pack, epsilon: Backbone) -> None:
    last, quarter = echoes(load_backbone(mini))
    assert last < 0.3 and quarter > 0.8
    last, quarter = echoes(epsilon)
    assert last > 0.99 and quarter > 0.9


def test_epsilon_stated_for_a_v_model_is_refused(mini: Pack, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    shutil.copytree(mini.folder, folder)
    file = folder / "diffusion/scheduler/scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": "epsilon"}))
    pack = yaml.safe_load((folder / "pack.yaml").read_text())
    pack["roles"]["diffusion"]["sha256"]["scheduler/scheduler_config.json"] = sha256_file(file)
    (folder / "pack.yaml").write_text(yaml.safe_dump(pack))
    message = (
        r"scheduler_config.json says prediction_type 'epsilon', but the UNet predicts 'v_prediction'.*write \"prediction_type\": \"v_pr"
    )
    with pytest.raises(BackboneError, match=message):
        load_backbone(load_pack(folder))


def test_v_prediction_stated_for_an_epsilon_model_is_refused(epsilon: Backbone, tmp_path: Path) -> None:
    check_prediction_type(epsilon, tmp_path)
    epsilon.schedule.register_to_config(prediction_type="v_prediction")
    with pytest.raises(BackboneError, match=r"says prediction_type 'v_prediction', but the UNet predicts 'epsilon'"):
        check_prediction_type(epsilon, tmp_path)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_random_weights_contradict_nothing(tmp_path: Path, prediction_type: str) -> None:
    state = torch.get_rng_state()
    assert load_backbone(write_pack(tmp_path, prediction_type=prediction_type)).prediction_type == prediction_type
    assert torch.equal(torch.get_rng_state(), state)


def test_other_kinds_of_prediction_are_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="prediction_type 'sample'; MagiCapture trains and samples models of epsilon and v_prediction"):
        load_backbone(write_pack(tmp_path, prediction_type="sample"))
