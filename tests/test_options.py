"""Named options: every one of the original code, what each sets, and what contradicts what."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from magicapture import options
from magicapture.config import ConfigError, load_config
from magicapture.knobs import knobs
from magicapture.options import GENERATE, TRAIN, OptionsError, overrides
from magicapture.recipe import value_of

# What the users of the original repository type; the rest are folders, seed and prompt, which the commands take themselves.
ORIGINAL_TRAIN = """
pretrained_model_name_or_path class_data_dir resolution with_prior_preservation class_prompt num_class_images train_text_encoder
train_batch_size gradient_accumulation_steps gradient_checkpointing scale_lr initializer_tokens initializer_tokens_style
placeholder_tokens placeholder_tokens_style use_template learning_rate_unet learning_rate_text learning_rate_ti continue_inversion
continue_inversion_lr color_jitter lr_scheduler lr_warmup_steps save_steps max_train_steps_ti max_train_steps_tuning
perform_inversion clip_ti_decay weight_decay_ti weight_decay_lora lora_rank lora_dropout_p lora_scale mask_temperature
cached_latents use_8bit_adam lambda_arc lambda_style device log_wandb
"""
ORIGINAL_GENERATE = "pretrained_model_name step guidance_scale start_scheduler negative_prompt"


def test_every_option_of_the_original_is_there() -> None:
    assert {option.name for option in TRAIN} - set(ORIGINAL_TRAIN.split()) == {"network_alpha", "mixed_precision"}
    assert set(ORIGINAL_TRAIN.split()) < {option.name for option in TRAIN}
    assert set(ORIGINAL_GENERATE.split()) < {option.name for option in GENERATE}


def test_every_option_sets_a_knob_that_exists_or_says_what_superseded_it() -> None:
    known = {knob.name for knob in knobs()}
    for option in (*TRAIN, *GENERATE):
        assert option.knob in known if option.knob else len(option.note) > 20, option.name


@pytest.mark.parametrize(
    ("given", "knob", "value"),
    [
        ({"pretrained_model_name_or_path": "runwayml/stable-diffusion-v1-5"}, "pack", "sd15"),
        ({"with_prior_preservation": True, "class_prompt": "a photo of a person: any"}, "tuning.lambda_prior", 1.0),
        ({"with_prior_preservation": True, "class_prompt": "a photo of a person: any"}, "tuning.class_prompt", "a photo of a person: any"),
        ({"train_text_encoder": False}, "tuning.text_learning_rate", 0.0),
        ({"train_batch_size": 3}, "training.rows", 3),
        ({"initializer_tokens": "<rand-0.017>"}, "inversion.source_initialiser", ""),
        ({"initializer_tokens_style": "painting"}, "inversion.reference_initialiser", "painting"),
        ({"learning_rate_ti": 0.00005}, "inversion.learning_rate", 5e-5),
        ({"continue_inversion": False}, "tuning.token_learning_rate", 0.0),
        ({"color_jitter": False}, "training.augment.brightness", 0.0),
        ({"color_jitter": False}, "training.augment.contrast", 0.0),
        ({"lr_scheduler": "constant_with_warmup"}, "tuning.schedule", "constant"),
        ({"perform_inversion": False}, "inversion.steps", 0),
        ({"clip_ti_decay": True}, "inversion.norm_pull", True),
        ({"lora_scale": 0.5}, "tuning.lora.alpha", 4.0),  # of the rank of the preset, 8
        ({"lora_scale": 0.5, "lora_rank": 2}, "tuning.lora.alpha", 1.0),
        ({"lambda_arc": 0.125}, "tuning.lambda_identity", 0.125),
        ({"device": "cuda:0"}, "device", "cuda"),
        ({"network_alpha": 2.5}, "tuning.lora.alpha", 2.5),
        ({"mixed_precision": "bf16"}, "precision", "bf16"),
    ],
)
def test_what_options_of_train_set(given: dict[str, Any], knob: str, value: Any) -> None:
    assert value_of(load_config("mini"), knob) != value
    assert value_of(load_config("mini", overrides(TRAIN, given, rank=8)), knob) == value


@pytest.mark.parametrize(
    ("given", "knob", "value"),
    [
        ({"start_scheduler": "DDIMScheduler"}, "generation.sampler", "ddim"),
        ({"start_scheduler": "kdpm2_ancestral"}, "generation.sampler", "kdpm2_ancestral"),
        ({"step": 7}, "generation.steps", 7),
        ({"negative_prompt": "[blur] # no"}, "generation.negative_prompt", "[blur] # no"),
        ({"upscale": False}, "postprocessing.upscale", False),
        ({"fidelity": 0.9}, "postprocessing.fidelity", 0.9),
        ({"size": 128}, "generation.size", 128),
    ],
)
def test_what_options_of_generate_set(given: dict[str, Any], knob: str, value: Any) -> None:
    assert value_of(load_config("mini"), knob) != value
    assert value_of(load_config("mini", overrides(GENERATE, given)), knob) == value


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(1e-9, 1), text=st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30))
def test_values_come_through_exactly(rate: float, text: str) -> None:
    config = load_config("mini", overrides(TRAIN, {"learning_rate_unet": rate, "class_prompt": text}))
    assert (config.tuning.learning_rate, config.tuning.class_prompt) == (rate, text)


def test_options_not_given_set_nothing() -> None:
    assert overrides(TRAIN, {option.name: None for option in TRAIN}) == []
    assert overrides(TRAIN, {"train_text_encoder": True, "perform_inversion": True, "continue_inversion": True, "color_jitter": True}) == []


@pytest.mark.parametrize(
    ("given", "sets", "parts"),
    [
        ({"lambda_arc": 0.5}, ["tuning.lambda_identity=0.2"], ["--lambda-arc", "--set tuning.lambda_identity=0.2"]),
        ({"continue_inversion": False, "continue_inversion_lr": 1e-4}, [], ["--no-continue-inversion", "--continue-inversion-lr"]),
        ({"perform_inversion": False, "max_train_steps_ti": 5}, [], ["--no-perform-inversion", "--max-train-steps-ti"]),
        ({}, ["tuning.steps=1", "tuning.steps=2"], ["--set tuning.steps=1", "--set tuning.steps=2"]),
        ({}, ["tuning.steps"], ["name=value", "tuning.steps=50"]),
    ],
)  # fmt: skip
def test_contradictions_are_refused(given: dict[str, Any], sets: list[str], parts: list[str]) -> None:
    with pytest.raises(OptionsError) as caught:
        overrides(TRAIN, given, sets)
    for part in parts:
        assert part in str(caught.value)


def test_the_same_said_twice_is_no_contradiction() -> None:
    assert overrides(TRAIN, {"learning_rate_unet": 1e-4}, ["tuning.learning_rate=0.0001"]) == ["tuning.learning_rate=0.0001"]


def test_a_flag_that_something_else_denies_is_refused() -> None:
    config = load_config("mini", ["tuning.text_learning_rate=0"])
    options.affirmed(TRAIN, {"train_text_encoder": False}, lambda knob: value_of(config, knob))
    with pytest.raises(OptionsError, match=r"--train-text-encoder was given, but tuning\.text_learning_rate is 0"):
        options.affirmed(TRAIN, {"train_text_encoder": True}, lambda knob: value_of(config, knob))


def test_superseded_options_are_answered() -> None:
    (note,) = options.notes(TRAIN, {"use_8bit_adam": True, "lora_rank": 4, "scale_lr": None})
    assert note.startswith("--use-8bit-adam sets nothing: ")


def test_seeds_to_draw_with() -> None:
    assert options.seeds([], None, (7, 8)) == [7, 8]
    assert options.seeds([3], 2, (7, 8)) == [3, 4]
    assert options.seeds([], 3, (7, 8)) == [7, 8, 9]
    assert options.seeds([5, 1], 2, (7,)) == [5, 1]
    with pytest.raises(OptionsError, match="--count 3 with 2 seeds"):
        options.seeds([5, 1], 3, (7,))


def test_overrides_are_yaml() -> None:
    for item in overrides(TRAIN, {"class_prompt": 'he said "no": #1', "lora_rank": 2}):
        assert yaml.safe_load(item.partition("=")[2]) in ('he said "no": #1', 2)


@pytest.mark.parametrize("rank", ["abc", "inf"])
def test_a_rank_that_is_none_is_told_as_every_knob_is(rank: str) -> None:
    for options_given in ({}, {"lora_scale": 2.0}):
        with pytest.raises(ConfigError, match=rf"tuning\.lora\.rank = '?{rank}'?"):
            load_config("mini", overrides(TRAIN, options_given, [f"tuning.lora.rank={rank}"]))


@pytest.mark.parametrize("count", [0, -1])
def test_no_pictures_cannot_be_asked_for(count: int) -> None:
    with pytest.raises(OptionsError, match=f"count {count}: expected 1 or more"):
        options.seeds([], count, (7, 8))
