"""Recipes: files and options put together, what is kept in a run's folder, and going on by it."""

from pathlib import Path
from typing import Any

import pytest

from magicapture import recipe as recipes
from magicapture.config import ConfigError, load_config
from magicapture.options import OptionsError
from magicapture.recipe import Recipe, RecipeError, plan

FILE = """
photos: p
looks: l
preset: mini
seeds: [3, 4]
knobs:
  tuning.steps: 7
  tuning:
    lora: {rank: 2}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(FILE)
    return path


def test_a_recipe_and_options_make_one_run(file: Path) -> None:
    run = plan(file, Recipe(out="o", photos="p"), {"lora_scale": 2.0, "lora_rank": 2}, ["tuning.steps=9"])
    assert (run.photos, run.looks, run.out, run.seeds, run.register) == ("p", "l", Path("o"), (3, 4), False)
    assert (run.config.tuning.steps, run.config.tuning.lora.rank, run.config.tuning.lora.alpha) == (9, 2, 4.0)
    assert run.config == load_config("mini", ["tuning.steps=9", "tuning.lora.rank=2", "tuning.lora.alpha=4", "search.seeds=[3, 4]"])


def test_seeds_and_a_search_are_knobs(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("search: {seeds: 4, lambda_id: [0.25, 0.5]}")
    run = plan(tmp_path / "r.yaml", Recipe(photos="p", looks="l", out="o"), {})
    assert run.seeds == (0, 1, 2, 3) and run.config.search.grid == {"tuning.lambda_identity": (0.25, 0.5)}
    run = plan(tmp_path / "r.yaml", Recipe(photos="p", looks="l", out=str(tmp_path / "o")), {})
    run.begin()
    assert plan(None, Recipe(out=str(tmp_path / "o")), {}, resume=True).config == run.config
    assert plan(None, Recipe(photos="p", looks="l", out="o", seeds=(7,)), {}).config == load_config("mini", ["search.seeds=[7]"])


def test_options_alone_and_their_preset() -> None:
    run = plan(None, Recipe(photos="p", looks="l", out="o"), {"pretrained_model_name_or_path": "runwayml/stable-diffusion-v1-5"})
    assert run.config == load_config("sd15")
    assert run.seeds == (0,)
    run = plan(None, Recipe(photos="p", looks="l", out="o", preset="mini"), {"pretrained_model_name_or_path": "my/pack"})
    assert run.config == load_config("mini", ["pack=my/pack"])


@pytest.mark.parametrize(
    ("told", "given", "parts"),
    [
        ({"photos": "other"}, {}, ["photos", "'p'", "'other'"]),
        ({"preset": "sd15"}, {}, ["preset", "'mini'", "'sd15'"]),
        ({"seeds": (3,)}, {}, ["seeds", "(3, 4)", "(3,)"]),
        ({}, {"max_train_steps_tuning": 8}, ["tuning.steps: 7", "says 8"]),
    ],
)
def test_what_recipe_and_options_say_differently_is_refused(
    file: Path, told: dict[str, Any], given: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(RecipeError) as caught:
        plan(file, Recipe(**{"out": "o", **told}), given)
    for part in parts:
        assert part in str(caught.value)


def test_places_given_twice_are_refused() -> None:
    arguments, named = {"photos": "a", "looks": "l"}, {"photos": "b", "looks": None}
    with pytest.raises(OptionsError, match="photos: a and b were given"):
        recipes.from_command_line(arguments, named, out=None, preset=None, seeds=(), register=False)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("photo: p", ["unknown 'photo'", "did you mean 'photos'"]),
        ("seeds: 3", ["seeds = 3"]),
        ("- a", ["expected a mapping"]),
        ("a: [", ["not valid YAML"]),
        ("knobs: {tuning: {stepz: 1}}", ["unknown knob 'tuning.stepz'", "tuning.steps"]),
        ("photos: p\nlooks: l", ["missing: out", "--out FOLDER"]),
    ],
)
def test_recipes_that_cannot_be_used(tmp_path: Path, text: str, parts: list[str]) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ValueError) as caught:  # RecipeError or ConfigError
        plan(tmp_path / "r.yaml", Recipe(), {})
    for part in parts:
        assert part in str(caught.value)
    with pytest.raises(RecipeError, match=r"none\.yaml is not a file"):
        plan(tmp_path / "none.yaml", Recipe(), {})


def test_a_run_goes_on_by_what_it_kept(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "o"
    run = plan(file, Recipe(out="o"), {"lambda_arc": 0.125})
    assert run.begin() == []
    monkeypatch.chdir("/")  # its places hold from elsewhere too
    again = plan(None, Recipe(out=str(out)), {}, resume=True)
    assert (again.config, again.seeds, again.photos) == (run.config, (3, 4), str(tmp_path / "p"))
    assert plan(None, Recipe(out=str(out)), {"lambda_arc": 0.125}, resume=True).config == run.config
    with pytest.raises(RecipeError, match=r"tuning\.lambda_identity: 0\.125, an option says 0\.25"):
        plan(None, Recipe(out=str(out)), {"lambda_arc": 0.25}, resume=True)
    with pytest.raises(RecipeError, match=r"as it was begun, but tuning\.steps: 7 -> 8"):
        plan(None, Recipe(out=str(out)), {}, ["tuning.steps=8"], resume=True)
    with pytest.raises(RecipeError, match="photos: the recipe says"):
        plan(None, Recipe(out=str(out), photos="elsewhere"), {}, resume=True)


def test_resuming_nothing_is_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(RecipeError, match="nothing to resume"):
        plan(None, Recipe(out=str(tmp_path)), {}, resume=True)
    with pytest.raises(RecipeError, match="--resume wants --out"):
        plan(None, Recipe(), {}, resume=True)
    with pytest.raises(RecipeError, match="leave --recipe out"):
        plan(file, Recipe(out=str(tmp_path)), {}, resume=True)


def test_without_resume_it_says_what_goes_on_and_what_starts_over(tmp_path: Path, file: Path) -> None:
    plan(file, Recipe(out=str(tmp_path)), {}).begin()
    for phase, key, step in (("inversion", "a", 60), ("tuning", "b", 25), ("tuning", "b", 50), ("tuning", "c", 25)):
        (tmp_path / f"seed-3/checkpoints/{phase}-{key}/checkpoints/step-{step:06d}").mkdir(parents=True)
    (line,) = plan(file, Recipe(out=str(tmp_path)), {}).begin()
    assert line == f"going on with the run in {tmp_path}: inversion step 60, tuning steps 25, 50"
    lines = plan(file, Recipe(out=str(tmp_path)), {}, ["tuning.steps=8"]).begin()
    assert lines[1] == "it was begun otherwise (tuning.steps: 7 -> 8): what that changes starts over"


def test_a_run_goes_on_from_elsewhere_and_without_its_presets_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.yaml").write_text("preset: mini\ntuning: {steps: 7}")
    monkeypatch.chdir(tmp_path)
    run = plan(None, Recipe(photos="p", looks="l", out="o", preset="my.yaml"), {})
    run.begin()
    monkeypatch.chdir("/")
    for preset in (None, str(tmp_path / "my.yaml")):
        assert plan(None, Recipe(out=str(tmp_path / "o"), preset=preset), {}, resume=True).config == run.config
    (tmp_path / "my.yaml").unlink()
    assert plan(None, Recipe(out=str(tmp_path / "o")), {}, resume=True).config == run.config


@pytest.mark.parametrize(
    ("text", "sets", "other"),
    [
        ("search: {seeds: 4}", [], "the recipe says 4"),
        ("knobs: {search: {seeds: [1]}}", [], "the recipe says [1]"),
        ("", ["search.seeds=3"], "--set says 3"),
        ("", ["search.seeds=[5, 6]"], "--set says [5, 6]"),
        ("", ["search={seeds: 3}"], "--set says 3"),
    ],
)
def test_a_seed_beside_other_seeds_is_refused(tmp_path: Path, text: str, sets: list[str], other: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        plan(tmp_path / "r.yaml", Recipe(photos="p", looks="l", out="o", seeds=(5,)), {}, sets)
    assert f"search.seeds: {other}, --seed 5" in str(caught.value)
    same = plan(None, Recipe(photos="p", looks="l", out="o", seeds=(0, 1, 2)), {}, ["search.seeds=3"])
    assert same.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("text", "sets", "said"),
    [
        ("", ["search.seeds=[1"], "override 'search.seeds=[1': '[1' is not YAML"),
        ("", ["search.seeds=1.5"], "search.seeds"),
        ("search: {seeds: 1.5}", [], "search.seeds"),
        ("knobs: {search: {seeds: {a: 1}}}", [], "search.seeds"),
    ],
)
def test_seeds_that_cannot_be_are_an_error_of_knobs(tmp_path: Path, text: str, sets: list[str], said: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path / "r.yaml", Recipe(photos="p", looks="l", out="o", seeds=(5,)), {}, sets)
    assert said in str(caught.value)


def test_a_picture_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(RecipeError, match=r"photo\.jpg is not valid YAML"):
        plan(tmp_path / "photo.jpg", Recipe(), {})
