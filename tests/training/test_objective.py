"""One pass a step, every term from it, and gradients where they belong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from magicapture import adapters
from magicapture.config import Config
from magicapture.training import losses, objective
from magicapture.training.data import Batch, draw_batch
from magicapture.training.session import Session
from magicapture.training.trainer import Recipe
from magicapture.training.tuning import build_recipe

KINDS = ("source", "reference", "composed")
#: Of the tiny UNet all that comes after the queries and keys of the last map that Attention Refocusing reads.
AFTER_THE_LAST_MAP = re.compile(r"unet\.up_blocks\.(1\.|0\.attentions\.1\.transformer_blocks\.0\.(attn2\.to_(v|out)\.|ff\.))")


@pytest.fixture
def session(make_session: Callable[..., Session], config: Config) -> Session:
    return make_session(config)


@pytest.fixture
def recipe(session: Session, config: Config) -> Recipe:
    """Phase 2, its adapter moved away from zero (at B = 0 the A matrices have no gradient)."""
    recipe = build_recipe(session, config, 0)[0]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for group in recipe.groups[:2]:
            for parameter in group["params"]:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return recipe


def batch_of(session: Session, seed: int = 0, rows: int = 2, timesteps: list[int] | None = None) -> Batch:
    batch = draw_batch(session.data, KINDS, rows, 1000, torch.Generator().manual_seed(seed), torch.device("cpu"))
    return batch if timesteps is None else replace(batch, timesteps=torch.tensor(timesteps))


def test_all_terms_come_from_one_pass(session: Session, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    predict = session.backbone.predict
    monkeypatch.setattr(session.backbone, "predict", lambda *inputs: passes.append(len(inputs[0])) or predict(*inputs))
    parts = objective.terms(session.backbone, batch_of(session, timesteps=[10] * 6), recipe.attention, recipe.identity)
    assert passes == [6]
    assert list(parts) == ["source", "reference", "composed", "identity", "attention"]
    assert all(value.ndim == 0 and value > 0 for value in parts.values())


def test_terms_are_the_losses_of_their_rows(session: Session, recipe: Recipe) -> None:
    backbone, batch = session.backbone, batch_of(session, timesteps=[10, 900, 500, 20, 790, 830])
    parts = objective.terms(backbone, batch, recipe.attention, recipe.identity)
    with torch.no_grad():
        noisy = backbone.schedule.add_noise(batch.clean, batch.noise, batch.timesteps)
        prediction = backbone.predict(noisy, batch.timesteps, backbone.encode_prompts(batch.prompts))
        velocity = backbone.schedule.get_velocity(batch.clean, batch.noise, batch.timesteps)
        masks = torch.cat([batch.face[:2], 1 - batch.face[2:]])
        errors = losses.masked_reconstruction(prediction, velocity, masks)
        for index, kind in enumerate(KINDS):
            torch.testing.assert_close(parts[kind], errors[2 * index : 2 * index + 2].mean())
        alphas = backbone.schedule.alphas_cumprod[batch.timesteps]
        clean = losses.predicted_clean(noisy, prediction, alphas, "v_prediction")
        assert recipe.identity is not None
        wanted = recipe.identity(clean[4:5], batch.keypoints[4:5])[0] * (1000 / 800) / 2  # row 5 lies beyond T' = 800
        torch.testing.assert_close(parts["identity"], wanted, rtol=1e-4, atol=1e-5)


def test_attention_holds_v1_to_the_face_and_v2_to_the_rest(session: Session, recipe: Recipe) -> None:
    assert recipe.attention is not None
    backbone, batch = session.backbone, batch_of(session, rows=1)
    parts = objective.terms(backbone, batch, recipe.attention, None)
    with torch.no_grad(), recipe.attention.recording():
        noisy = backbone.schedule.add_noise(batch.clean, batch.noise, batch.timesteps)
        backbone.predict(noisy, batch.timesteps, backbone.encode_prompts(batch.prompts))
    maps = recipe.attention.of(torch.stack([backbone.token_positions(batch.prompts, token) for token in ("[V1]", "[V2]")], dim=1))
    face = losses.attention_refocusing(maps[:, 0], batch.face)
    rest = losses.attention_refocusing(maps[:, 1], 1 - batch.face)
    wanted = torch.stack([face[0], rest[1], (face[2] + rest[2]) / 2]).mean()
    torch.testing.assert_close(parts["attention"], wanted)


def check_gradients(session: Session, recipe: Recipe, *instruments: nn.Module) -> set[str]:
    """No frozen parameter of the networks and ``instruments`` has a gradient; the names of the trainable ones without, or with 0."""
    networks = {**adapters.lora.networks(session.backbone), "vae": session.backbone.vae, **dict(enumerate(instruments))}
    named = {f"{prefix}.{name}": parameter for prefix, network in networks.items() for name, parameter in network.named_parameters()}
    trainable = {id(parameter) for group in recipe.groups for parameter in group["params"]}
    assert trainable == {id(parameter) for parameter in named.values() if parameter.requires_grad}
    assert all(parameter.grad is None for parameter in named.values() if id(parameter) not in trainable)
    learnt = {name: parameter.grad for name, parameter in named.items() if id(parameter) in trainable}
    for part in ("unet.", "text_encoder.", "lora_A.", "lora_B.", "[V1]", "[V2]"):
        assert any(part in name for name in learnt)
    return {name for name, gradient in learnt.items() if gradient is None or not gradient.any()}


@pytest.mark.parametrize("term", ["source", "reference", "composed", "identity", "attention"])
def test_every_term_reaches_all_of_lora_and_tokens_and_no_frozen_parameter(session: Session, recipe: Recipe, term: str) -> None:
    """But for the token that a row's prompt does not name, and for what attention is not made of."""
    parts = objective.terms(session.backbone, batch_of(session, timesteps=[300] * 6), recipe.attention, recipe.identity)
    parts[term].backward()
    assert recipe.identity is not None
    without = check_gradients(session, recipe, recipe.identity.recogniser)
    if term == "attention":
        names = {name for name, parameter in session.backbone.unet.named_parameters(prefix="unet") if parameter.requires_grad}
        after = {name for name in names if AFTER_THE_LAST_MAP.match(name)}
        assert without == after and 0 < len(after) < len(names) / 2
    else:
        unnamed = {"source": "[V2]", "reference": "[V1]"}.get(term)
        assert without == ({f"text_encoder.embeddings.token_embedding.vectors.{unnamed}"} if unnamed else set())


def test_identity_without_a_counted_row_is_zero(session: Session, recipe: Recipe) -> None:
    late = objective.terms(session.backbone, batch_of(session, timesteps=[10] * 4 + [801, 999]), recipe.attention, recipe.identity)
    assert late["identity"] == 0
    batch = batch_of(session, timesteps=[10] * 6)
    faceless = replace(batch, keypoints=torch.full((6, 5, 2), np.nan), face=torch.zeros_like(batch.face))
    parts = objective.terms(session.backbone, faceless, recipe.attention, recipe.identity)
    assert parts["identity"] == 0 and parts["source"] == 0 and parts["reference"] > 0
    assert all(torch.isfinite(value) for value in parts.values())


def test_total_weighs_each_term_once() -> None:
    parts = {"source": torch.tensor(1.0), "reference": torch.tensor(2.0), "identity": torch.tensor(4.0)}
    assert objective.total(parts, {"reference": 2.0, "identity": 0.25, "composed": 9.0}).item() == 1 + 4 + 1
