"""Knobs: presets, overrides, and refusals that say what to do."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicapture.config import Config, ConfigError, load_config, preset_names

# What a person can type; YAML knows several line breaks and normalises them.
PRINTED = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))


def test_presets_are_valid_and_carry_the_papers_numbers() -> None:
    assert {"mini", "mini-objects", "sd15", "sd15-objects", "sdxl"} <= set(preset_names())
    assert all(load_config(name) for name in preset_names())
    sd15 = load_config("sd15")
    assert (sd15.inversion.steps, sd15.inversion.learning_rate) == (1200, 5e-4)
    assert (sd15.tuning.steps, sd15.tuning.learning_rate, sd15.tuning.text_learning_rate) == (1500, 1e-4, 1e-5)
    assert (sd15.tuning.lora.rank, sd15.tuning.lambda_attention, sd15.generation.unet_scale, sd15.generation.text_scale) == (
        4,
        2.5,
        0.6,
        0.9,
    )
    sdxl = load_config("sdxl")  # starts from sd15 and changes pack and sizes
    assert (sdxl.pack, sdxl.precision, sdxl.preprocess.min_side) == ("sdxl", "bf16", 512)
    assert load_config("mini").pack == "mini"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("tuning.stepz=50", ["'tuning.stepz'", "'tuning.steps'"]),
        ("tunning.steps=50", ["'tunning'", "'tuning'"]),
        ("tuning.lora.rnak=4", ["'tuning.lora.rnak'", "'tuning.lora.rank'"]),
        ("zzz=1", ["'zzz'", "valid sections", "preprocess"]),
        ("tuning.steps=0", ["tuning.steps = 0", "greater than or equal to 1"]),
        ("inversion.steps=-1", ["inversion.steps = -1", "greater than or equal to 0"]),
        ("tuning.lambda_prior=1", ["tuning.lambda_prior is 1", "tuning.class_prompt is empty", "a photo of a person"]),
        ("tuning.lora.rank=0", ["tuning.lora.rank = 0", "greater than or equal to 1"]),
        ("tuning.steps=many", ["tuning.steps = 'many'", "integer"]),
        ("generation.sampler=eular", ["generation.sampler = 'eular'", "euler_ancestral"]),
        ("generation.prompts=[]", ["generation.prompts", "at least 1"]),
        ("tuning.warmup_steps=10000", ["tuning.warmup_steps (10000)", "below tuning.steps"]),
        ("tuning.steps", ["'tuning.steps'", "name=value", "tuning.steps=50"]),
        ("pack.name=a", ["pack.name", "single value, not a section"]),
        ("promotion.subject=a b", ["promotion.subject = 'a b'", "pattern"]),
    ],
)
def test_refusals_name_the_knob_and_the_remedy(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("mini", [override])
    for part in parts:
        assert part in str(caught.value)


def test_impossible_combinations_are_refused_when_read() -> None:
    with pytest.raises(ConfigError, match="fp16 does not run on device cpu"):
        load_config("mini", ["device=cpu", "precision=fp16"])
    with pytest.raises(ConfigError, match=r"min_face must be below preprocess\.max_face"):
        load_config("mini", ["preprocess.min_face=0.9", "preprocess.max_face=0.5"])


def test_unknown_preset_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'mini'"):
        load_config("minni")
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("tuning: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(broken)
    broken.write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError, match="expected a mapping of knobs, got list"):
        load_config(broken)


def test_sources_are_equivalent_and_overrides_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("preset: mini\ntuning:\n  steps: 7\n  lora:\n    alpha: 2\n")
    config = load_config(file, ["tuning.steps=9", "generation.seeds=[5, 6]"])
    assert (config.tuning.steps, config.tuning.lora.alpha, config.tuning.lora.rank) == (9, 2.0, load_config("mini").tuning.lora.rank)
    assert config.generation.seeds == (5, 6)
    assert load_config(config) == config == load_config(config.model_dump(mode="json"))


def test_overriding_a_config_object_leaves_it_unchanged() -> None:
    config = load_config("mini")
    assert load_config(config, ["tuning.steps=1"]).tuning.steps == 1
    assert config == load_config("mini")
    with pytest.raises(ValueError, match="frozen"):
        config.tuning.steps = 3  # type: ignore[misc]


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 10**6),
    rate=st.floats(1e-9, 1),
    prompts=st.lists(st.text(PRINTED, min_size=1, max_size=40), min_size=1, max_size=4),
    seeds=st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
)
def test_yaml_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, steps: int, rate: float, prompts: list[str], seeds: list[int]
) -> None:
    generation = {"prompts": prompts, "seeds": seeds}
    config = load_config({"inversion": {"steps": steps, "learning_rate": rate}, "generation": generation})
    file = tmp_path_factory.mktemp("yaml") / "config.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(file) == config
    assert load_config(file).digest() == config.digest()


def test_digest_sees_each_section_and_only_the_named_ones() -> None:
    config = load_config("mini")
    other = load_config("mini", ["tuning.steps=77"])
    assert config.digest() != other.digest()
    assert config.digest("tuning") != other.digest("tuning")
    assert config.digest("inversion", "training") == other.digest("inversion", "training")
    assert len(config.digest()) == 16


def test_every_knob_says_what_it_is() -> None:
    for name, section in Config.model_fields.items():
        kind = section.annotation
        fields = kind.model_fields if isinstance(kind, type) and hasattr(kind, "model_fields") else {name: section}
        for knob, field in fields.items():
            nested = isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields")
            assert nested or field.description, f"{name}.{knob} has no description"


def test_what_a_stage_was_not_given_is_unknown_and_not_recorded() -> None:
    given = {"pack": "p", "training": {"rows": 3, "class_word": "vase"}, "search": {"seeds": 2}}
    config = load_config(given, partial=True)
    assert config.recorded() == given
    assert {"device", "tuning", "training.threads", "search.grid"} <= set(config.untold)
    assert config.generation.prompts == ("a photo of a [V1] vase in the [V2] style",)  # those of the run are not at hand
    more = load_config(config, ["tuning.lora.rank=2"])
    assert more.recorded() == {**given, "tuning": {"lora": {"rank": 2}}}
    assert "tuning" not in more.untold and "tuning.steps" in more.untold
    inputs = {"config": {"pack": "q", "inversion": {"steps": 9}}}, {"config": {"inversion": {"steps": 8}, "training": {"rows": 1}}}
    assert config.recorded(*inputs) == {**given, "inversion": {"steps": 8}}
    older = {"config": {"preprocess": {"max_brightness": 1, "rim": 0.1}, "gone": {"a": 1}}}
    assert load_config(config.recorded(older), partial=True).preprocess.rim == 0.1


def test_a_configuration_that_was_told_whole_is_recorded_whole() -> None:
    for config in (load_config("mini"), load_config({}), load_config(load_config("mini", ["tuning.steps=3"]).model_dump(), partial=True)):
        assert config.untold == []
        assert config.recorded({"config": {"tuning": {"steps": 1}}}) == config.model_dump(mode="json")


def test_a_folder_called_like_a_preset_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config("mini").pack == "mini"


def test_what_is_no_yaml_is_told_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not YAML; put it in quotes: generation\.negative_prompt=\"\[V1\] blurry\""):
        load_config("mini", ["generation.negative_prompt=[V1] blurry"])
    with pytest.raises(ConfigError, match=r"put it in quotes: generation\.prompts=\[\"a \[V1\] person\"\]"):
        load_config("mini", ["generation.prompts=[a [V1] person]"])
    assert load_config("mini", ['generation.negative_prompt="[V1] blurry"']).generation.negative_prompt == "[V1] blurry"
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError, match="photo.jpg is not valid YAML"):
        load_config(tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    ("knob", "said"),
    [
        ("generation.seeds=[-1]", "greater than or equal to 0"),
        ("generation.seeds=[9223372036854775808]", "less than 9223372036854775808"),
        ('generation.prompts=["a [V3] x"]', r"generation.prompts has \[V3\]"),
        ('generation.prompts=["a [v12:b] x"]', r"has \[v12:b\]"),
        ("evaluation.weight_style=.inf", "less than or equal to 1000"),
        ("preprocess.max_pixels=250000000", "less than or equal to 178956970"),
    ],
)
def test_what_could_not_be_drawn_or_opened_is_refused_at_once(knob: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("mini", [knob])


def test_a_grid_holds_numbers_however_they_are_written() -> None:
    config = load_config("mini", ["search.grid={tuning.learning_rate: [1e-5, 2.0e-5], tuning.schedule: [linear]}"])
    assert config.search.grid == {"tuning.learning_rate": (1e-5, 2e-5), "tuning.schedule": ("linear",)}


def test_a_preset_may_start_from_a_preset_but_not_from_itself(tmp_path: Path) -> None:
    assert load_config({"preset": "mini-dreambooth"}) == load_config("mini-dreambooth")
    (tmp_path / "a.yaml").write_text(f"preset: {tmp_path / 'a.yaml'}")
    with pytest.raises(ConfigError, match="start from one another"):
        load_config(tmp_path / "a.yaml")
