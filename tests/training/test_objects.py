"""General objects: composed rows are source photos held by the structure losses; both phases run without any face."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from magicapture.artifacts import read_manifest
from magicapture.backbones import load_backbone
from magicapture.backbones.structure import load_structure
from magicapture.config import Config, ConfigError, load_config
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack, PackError, load_pack
from magicapture.training import inversion, losses, objective, prompts, tuning
from magicapture.training.data import Batch, draw_batch, load_training_data
from magicapture.training.session import Session
from magicapture.training.structure import Structure, mean_cls
from magicapture.training.trainer import Recipe
from magicapture.training.validation import ObjectScore
from tests.backbones import tinyvit
from tests.training import tinymodel
from tests.training.conftest import tiny_config
from tests.training.test_objective import check_gradients

KINDS = ("source", "reference", "composed")
LOSSES = {"lambda_identity": 0, "lambda_structure": 0.1, "lambda_contrast": 0.2, "lambda_appearance": 2}


def object_config(pack: Pack, *overrides: str) -> Config:
    data = tiny_config(pack).model_dump(mode="json")
    data["training"]["class_word"] = data["inversion"]["source_initialiser"] = "vase"
    data["generation"]["prompts"] = ["a photo of a [V1] vase in the [V2] style"]
    data["tuning"] |= LOSSES
    return load_config(data, overrides)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return load_pack(tinyvit.add_role(tinymodel.build_pack(tmp_path_factory.mktemp("pack"))))


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return PreparedSet.load(tinymodel.build_objects(tmp_path_factory.mktemp("things") / "prepared"))


@pytest.fixture
def session(pack: Pack, things: PreparedSet, latents: Path, tmp_path: Path) -> Session:
    config = object_config(pack)
    backbone = load_backbone(pack)
    inversion.add_initial(backbone.tokens, config.inversion, 0)
    data = replace(load_training_data(things, pack, backbone, config.training.augment, latents), word="vase")
    return Session(things, pack, backbone, data, "lineage", tmp_path / "run")


@pytest.fixture
def recipe(session: Session, pack: Pack) -> Recipe:
    recipe = tuning.build_recipe(session, object_config(pack), 0)[0]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for group in recipe.groups[:2]:  # at B = 0 the A matrices have no gradient
            for parameter in group["params"]:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return recipe


def batch_of(session: Session, config: Config, timesteps: list[int], rows: int = 2) -> Batch:
    data = tuning.training_rows(session, config)
    batch = draw_batch(data, KINDS, rows, 1000, torch.Generator().manual_seed(1), torch.device("cpu"))
    return replace(batch, timesteps=torch.tensor(timesteps))


def test_composed_rows_are_source_photos_and_speak_of_the_thing(session: Session, pack: Pack) -> None:
    data = tuning.training_rows(session, object_config(pack))
    assert data.of("composed") is data.source and data.of("reference") is data.reference
    plain = tuning.training_rows(session, object_config(pack, *(f"tuning.lambda_{name}=0" for name in objective.STRUCTURE_TERMS)))
    assert plain.of("composed") is plain.reference
    batch = batch_of(session, object_config(pack), [10] * 6)
    assert all("person" not in prompt and "vase" in prompt for prompt in batch.prompts)
    assert all("[V1] vase in the [V2] style" in batch.prompts[row] for row in batch.rows("composed"))


def test_terms_are_the_losses_of_their_rows(session: Session, recipe: Recipe, pack: Pack) -> None:
    backbone, batch = session.backbone, batch_of(session, object_config(pack), [10, 900, 500, 20, 300, 830])
    assert isinstance(recipe.structure, Structure) and recipe.identity is None
    parts = objective.terms(backbone, batch, recipe.attention, None, True, recipe.structure)
    assert list(parts) == ["source", "reference", "attention", "structure", "contrast", "appearance"]
    net = load_structure(pack)
    with torch.no_grad():
        noisy = backbone.schedule.add_noise(batch.clean, batch.noise, batch.timesteps)
        prediction = backbone.predict(noisy, batch.timesteps, backbone.encode_prompts(batch.prompts))
        alphas = backbone.schedule.alphas_cumprod[batch.timesteps]
        clean = losses.predicted_clean(noisy, prediction, alphas, "v_prediction")[4:5]  # row 5 lies beyond T' = 800
        found, kept = (net(backbone.decode(latents).clamp(-1, 1)) for latents in (clean, batch.clean[4:5]))
        looks = mean_cls(net, [item.image() for item in session.prepared.reference])
    wanted = {
        "structure": losses.self_similarity(found.keys, kept.keys),
        "contrast": losses.patch_contrast(found.keys, kept.keys),
        "appearance": losses.appearance(found.cls, looks[None]),
    }
    for name, value in wanted.items():
        torch.testing.assert_close(parts[name], value[0] * (1000 / 800) / 2, rtol=1e-4, atol=1e-6)


def test_a_reference_is_reconstructed_whole_and_a_source_in_its_mask(session: Session, pack: Pack) -> None:
    regions = objective.regions(batch_of(session, object_config(pack), [10] * 6))
    assert (regions[2:4] == 1).all() and 0 < regions[:2].mean() < 1


@pytest.mark.parametrize("term", objective.STRUCTURE_TERMS)
def test_every_term_reaches_all_of_lora_and_tokens_and_no_frozen_parameter(session: Session, recipe: Recipe, pack: Pack, term: str) -> None:
    batch = batch_of(session, object_config(pack), [300] * 6)
    objective.terms(session.backbone, batch, None, None, True, recipe.structure)[term].backward()
    assert recipe.structure is not None
    assert check_gradients(session, recipe, recipe.structure.net) == set()


def test_no_counted_row_is_zero_and_the_style_token_is_free_in_composed_rows(session: Session, recipe: Recipe, pack: Pack) -> None:
    batch = batch_of(session, object_config(pack), [10] * 4 + [801, 999])
    parts = objective.terms(session.backbone, batch, recipe.attention, None, True, recipe.structure)
    assert all(parts[name] == 0 for name in objective.STRUCTURE_TERMS)
    held = objective.terms(session.backbone, batch, recipe.attention, None, True, None)["attention"]
    assert parts["attention"] < held


def test_both_phases_run_and_a_resumed_run_equals_an_uninterrupted_one(things: PreparedSet, pack: Pack, tmp_path: Path) -> None:
    config = object_config(pack)
    tokens = inversion.run(things.folder, tmp_path / "tokens", config, 0, tmp_path / "checkpoints")
    whole = tuning.run(things.folder, tokens, tmp_path / "whole", config, 0, tmp_path / "a")
    tuning.run(things.folder, tokens, tmp_path / "part", config, 0, tmp_path / "b", until_step=3)
    resumed = tuning.run(things.folder, tokens, tmp_path / "resumed", config, 0, tmp_path / "b")
    first, second = (read_manifest(folder, "adapter")["content"] for folder in (whole, resumed))
    assert first["last_hash"] == second["last_hash"] and first["best_hash"] == second["best_hash"] and first["recogniser"] is None
    assert all(-1 <= score["judge"] <= 1 for score in first["scores"])
    lines = [json.loads(line) for line in (whole / "curves.jsonl").read_text().splitlines()]
    tuned = [line for line in lines if line["phase"] == "tuning"]
    assert len(tuned) == 6 and all(set(objective.STRUCTURE_TERMS) <= set(line) and "composed" not in line for line in tuned)
    assert any(line["contrast"] > 0 for line in tuned)


def test_the_score_is_greatest_for_what_is_built_as_a_photo_and_looks_as_the_looks(things: PreparedSet, pack: Pack) -> None:
    score = ObjectScore(pack, things)
    (photos,), (looks,) = score.photos, score.looks
    photo = np.stack([photos[0]])
    noise = np.random.default_rng(0).integers(0, 256, photo.shape).astype(np.uint8)
    structure, appearance = score.scorer.score(list(photo), photos, looks)
    assert structure[0] == pytest.approx(1, abs=1e-5) and -1 <= appearance[0] <= 1
    assert score(photo, [(0, 0)]) == pytest.approx((1 + appearance[0]) / 2, abs=1e-5)
    assert score.scorer.score(list(noise), photos, looks).structure[0] < 0.9
    with pytest.raises(ValueError, match="at least one photo and one look"):
        score.scorer.score(list(photo), [], looks)


def test_what_cannot_be_trained_is_said_before_training(things: PreparedSet, pack: Pack, session: Session, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lambda_identity is 0.25.*prepared without faces.*set tuning.lambda_identity: 0"):
        tuning.build_recipe(session, object_config(pack, "tuning.lambda_identity=0.25"), 0)
    bare = object_config(load_pack(tinymodel.build_pack(tmp_path / "bare")))
    tokens = inversion.run(things.folder, tmp_path / "tokens", bare, 0, tmp_path / "checkpoints")
    with pytest.raises(PackError, match="has no role 'structure'"):
        tuning.run(things.folder, tokens, tmp_path / "out", bare, 0, tmp_path / "checkpoints")


def test_templates_say_what_the_thing_is() -> None:
    assert prompts.templates("composed", "vase")[0] == "a photo of a [V1] vase in the [V2] style"
    assert prompts.templates("reference", "apple")[0] == "a photo of an apple in the [V2] style"
    assert prompts.templates("source") == prompts.TEMPLATES["source"]
    assert not any("portrait" in template for kind in KINDS for template in prompts.templates(kind, "vase"))
    assert not set(prompts.validation_prompts("vase")) & {prompts.templates("composed", "vase")[0]}


def test_a_prompt_of_a_person_for_a_thing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"class_word is 'vase' but generation.prompts has .*write 'a photo of a \[V1\] vase in"):
        load_config({"training": {"class_word": "vase"}})


def test_presets_carry_the_supplements_weights_and_ask_for_no_face() -> None:
    for name, pack in (("mini-objects", "mini"), ("sd15-objects", "sd15")):
        config = load_config(name)
        knobs = config.tuning
        assert (knobs.lambda_structure, knobs.lambda_contrast, knobs.lambda_appearance, knobs.lambda_identity) == (0.1, 0.2, 2, 0)
        assert (config.pack, config.preprocess.region, config.training.class_word) == (pack, "object", "vase")
        assert config.generation.prompts == (prompts.templates("composed", "vase")[0],)
    person = load_config("mini").tuning
    assert not any((person.lambda_structure, person.lambda_contrast, person.lambda_appearance))
