"""Prior preservation: class pictures are the untuned model's, drawn once, and their rows are reconstructed whole."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from magicapture.backbones import Backbone
from magicapture.packs import Pack
from magicapture.training import objective
from magicapture.training.data import TrainingData, draw_batch
from magicapture.training.prior import FIRST_SEED, class_examples
from tests.training.conftest import tiny_config

PRIOR = ("tuning.lambda_prior=1", "tuning.class_prompt=a photo of a person", "tuning.class_images=3")


def test_class_pictures_are_samples_of_the_untuned_model(backbone: Backbone, pack: Pack, tmp_path: Path) -> None:
    config = tiny_config(pack, *PRIOR)
    examples = class_examples(backbone, pack, config, tmp_path)
    assert len(examples) == 3 and all(example.keypoints is None and not example.face.any() for example in examples)
    knobs = config.generation
    seeds = [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]
    pictures = backbone.sample(
        ["a photo of a person"] * 3, seeds, steps=knobs.steps, guidance=knobs.guidance, sampler=knobs.sampler, batch=2
    )
    mean, _ = backbone.posterior(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1)
    np.testing.assert_allclose(torch.cat([example.mean for example in examples]), mean.detach(), atol=0.05)


def test_class_pictures_are_drawn_once_for_equal_settings(
    backbone: Backbone, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = class_examples(backbone, pack, tiny_config(pack, *PRIOR), tmp_path)
    monkeypatch.setattr(type(backbone), "sample", lambda *_, **__: pytest.fail("drawn again"))
    again = class_examples(backbone, pack, tiny_config(pack, *PRIOR), tmp_path)
    assert all(torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std) for a, b in zip(first, again, strict=True))
    monkeypatch.undo()
    other = class_examples(backbone, pack, tiny_config(pack, *PRIOR[:2], "tuning.class_images=2"), tmp_path)
    assert len(other) == 2 and len(list(tmp_path.glob("class-*.safetensors"))) == 2


def test_damaged_class_pictures_are_drawn_again(backbone: Backbone, pack: Pack, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = class_examples(backbone, pack, tiny_config(pack, *PRIOR), tmp_path)
    (path,) = tmp_path.glob("class-*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        second = class_examples(backbone, pack, tiny_config(pack, *PRIOR), tmp_path)
    assert "damaged" in caplog.text
    assert all(torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std) for a, b in zip(first, second, strict=True))


def test_an_autoencoder_that_leaves_channels_last_has_class_pictures_too(
    backbone: Backbone, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with attention does, as those of the published models."""
    posterior = backbone.posterior
    monkeypatch.setattr(backbone, "posterior", lambda images: [part.to(memory_format=torch.channels_last) for part in posterior(images)])
    assert len(class_examples(backbone, pack, tiny_config(pack, *PRIOR), tmp_path)) == 3


def test_prior_rows_are_reconstructed_whole_under_the_class_prompt(
    backbone: Backbone, pack: Pack, data: TrainingData, tmp_path: Path, make_session
) -> None:
    config = tiny_config(pack, *PRIOR)
    session = make_session(config)
    prior = class_examples(session.backbone, pack, config, tmp_path)
    data = replace(data, prior=prior, class_prompt=config.tuning.class_prompt)
    batch = draw_batch(data, ("source", "prior"), 2, 1000, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert batch.kinds == ("source", "source", "prior", "prior") and batch.prompts[2:] == ["a photo of a person"] * 2
    assert objective.regions(batch)[2:].all() and not objective.regions(batch)[:2].all()
    with torch.no_grad():
        parts = objective.terms(session.backbone, batch, None, None)
        noisy = session.backbone.schedule.add_noise(batch.clean, batch.noise, batch.timesteps)
        prediction = session.backbone.predict(noisy, batch.timesteps, session.backbone.encode_prompts(batch.prompts))
    target = session.backbone.schedule.get_velocity(batch.clean, batch.noise, batch.timesteps)
    assert set(parts) == {"source", "prior"}
    torch.testing.assert_close(parts["prior"], (prediction - target)[2:].square().mean(), rtol=1e-5, atol=1e-6)


def test_without_masks_every_row_counts_whole(make_session, data: TrainingData, pack: Pack) -> None:
    session = make_session(tiny_config(pack))
    batch = draw_batch(data, ("source", "reference"), 1, 1000, torch.Generator().manual_seed(0), torch.device("cpu"))
    with torch.no_grad():
        masked, whole = (objective.terms(session.backbone, batch, None, None, masked) for masked in (True, False))
        noisy = session.backbone.schedule.add_noise(batch.clean, batch.noise, batch.timesteps)
        prediction = session.backbone.predict(noisy, batch.timesteps, session.backbone.encode_prompts(batch.prompts))
    target = session.backbone.schedule.get_velocity(batch.clean, batch.noise, batch.timesteps)
    for row, kind in enumerate(("source", "reference")):
        torch.testing.assert_close(whole[kind], (prediction - target)[row].square().mean(), rtol=1e-5, atol=1e-6)
        assert not torch.isclose(whole[kind], masked[kind])
