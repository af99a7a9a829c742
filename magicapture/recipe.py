"""Recipes: everything that a run of ``magicapture train`` is told, as YAML; options and recipe put together; what a run's folder holds.

::

    photos: pictures/anna       # folders as on the command line, from where it is called
    looks: pictures/noir
    out: runs/anna
    preset: mini
    seeds: [0, 1]               # or search: {seeds: 4, lambda_id: [0.25, 0.5]}
    register: false
    knobs:                      # as in a preset: nested, or tuning.steps: 200
      tuning:
        steps: 200

A run keeps its own, complete, as ``recipe.yaml`` in its folder: ``train --resume`` goes on by it.
"""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from magicapture import options
from magicapture.artifacts import write_text
from magicapture.config import Config, ConfigError, load_config, preset_names
from magicapture.mappings import flatten, read_mapping
from magicapture.search.plan import seeds

FILE = "recipe.yaml"
DEFAULT_PRESET = "mini"


class RecipeError(ValueError):
    """A recipe that cannot be used, or that contradicts the options: names file, value and what to do."""


class Recipe(BaseModel):
    """What ``train`` is told. None: not said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: str | None = Field(None, description="Photos of the person: a folder, or git+URL@REVISION#FOLDER.")
    looks: str | None = Field(None, description="Images of the look: as photos.")
    out: str | None = Field(None, description="Folder for every artifact of the run.")
    preset: str | None = Field(None, description="Preset name or YAML file.")
    seeds: tuple[int, ...] | None = Field(None, min_length=1, description="Training seeds, 0 or more each: the knob search.seeds.")
    search: dict[str, Any] = Field(default_factory=dict, description="The section search of the knobs.")
    register_best: bool | None = Field(None, alias="register", description="Register the best as a model version.")
    knobs: dict[str, Any] = Field(default_factory=dict, description="Knobs of magicapture.config on top of the preset's.")

    def flat(self) -> dict[str, Any]:
        """The knobs by their dotted names."""
        search = {} if self.seeds is None else {"seeds": list(self.seeds)}
        return {f"search.{name}": value for name, value in (self.search | search).items()} | flatten(self.knobs)

    def text(self) -> str:
        """As YAML, what was not said left out."""
        return yaml.safe_dump(self.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=False, allow_unicode=True)


def read_recipe(path: str | Path) -> Recipe:
    """Raises RecipeError for a file that is missing, is not YAML, or holds what a recipe has not."""
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"recipe {path} is not a file; expected YAML with some of {', '.join(_keys())}")
    try:
        return Recipe.model_validate(read_mapping(path))
    except ConfigError as error:
        raise RecipeError(f"recipe {error}") from None
    except ValidationError as error:
        raise RecipeError(f"recipe {path}: {'; '.join(map(_explain, error.errors()))}") from None


def complete(
    recipe: Recipe, told: Recipe, given: Mapping[str, Any], sets: Sequence[str] = (), *, resumed: bool = False
) -> tuple[Recipe, Config]:
    """Recipe and options as one; the configuration they make, which the recipe's knobs then hold in full.

    ``told``: what the command line said of the recipe's own fields; ``given``: its named options (``options.TRAIN``); ``sets``: its
    ``--set``, which stands above the recipe's knobs. ``resumed``: the recipe is one that a run keeps, so that it needs no preset. Raises
    RecipeError or OptionsError where two say different things, ConfigError.
    """
    fields = {name: _one(recipe, told, name) for name in _keys() if name not in ("knobs", "search")}
    model = given.get("pretrained_model_name_or_path")
    fields["preset"] = preset = fields["preset"] or options.HUB.get(str(model), DEFAULT_PRESET)
    knobs = recipe.flat()
    base = load_config(base_of(recipe) if resumed else preset, _items(knobs))
    named = [item.partition("=") for item in options.overrides(options.TRAIN, given, rank=base.tuning.lora.rank)]
    for knob, _, value in named:
        if knob in knobs and options.differ(json.dumps(knobs[knob]), value):
            raise RecipeError(
                f"the recipe has {knob}: {knobs[knob]}, an option says {value}; give one of them (--set stands above the recipe)"
            )
    config = load_config(base, [*_items(told.flat()), *options.overrides(options.TRAIN, given, sets, base.tuning.lora.rank)])
    if told.seeds is not None:
        if "search.seeds" in knobs:
            _same_seeds(told.seeds, "the recipe", base)
        _same_seeds(told.seeds, "--set", config)
    options.affirmed(options.TRAIN, given, lambda knob: value_of(config, knob))
    whole = {name: value for name, value in fields.items() if value is not None and name != "seeds"}
    whole["knobs"] = config.model_dump(mode="json")  # of the seeds too
    return Recipe.model_validate(whole), config


def from_command_line(
    arguments: Mapping[str, str | None],
    named: Mapping[str, str | None],
    *,
    out: str | None,
    preset: str | None,
    seeds: Iterable[int],
    register: bool,
) -> Recipe:
    """What the command line said: photos and looks as ``arguments``, or ``named`` by options. Raises OptionsError where they differ."""
    places = {name: options.one(name, place, named[name]) for name, place in arguments.items()}
    return Recipe(**places, out=out, preset=preset, seeds=tuple(seeds) or None, register=register or None)


@dataclass(frozen=True)
class Run:
    """A run of ``train`` as it will be."""

    recipe: Recipe
    config: Config
    photos: str
    looks: str
    out: Path

    @property
    def seeds(self) -> tuple[int, ...]:
        return seeds(self.config.search)

    @property
    def register(self) -> bool:
        return bool(self.recipe.register_best)

    def begin(self) -> list[str]:
        """Keep the recipe in the run's folder; what to tell of a run that is there already."""
        before, steps = kept(self.out), standing(self.out)
        lines = [f"going on with the run in {self.out}: {', '.join(steps)}"] if before and steps else []
        changed = changes(before, self.recipe) if before else []
        if changed:
            lines.append(f"it was begun otherwise ({'; '.join(changed)}): what that changes starts over")
        keep(self.recipe)
        return lines


def plan(file: Path | None, told: Recipe, given: Mapping[str, Any], sets: Sequence[str] = (), *, resume: bool = False) -> Run:
    """The run that a recipe file and options make; with ``resume`` that of the recipe kept in its folder.

    Raises RecipeError, OptionsError, ConfigError; with ``resume`` RecipeError too where there is nothing to go on with, or where it would
    not go on as it was begun.
    """
    recipe = read_recipe(file) if file is not None else Recipe()
    if not resume:
        recipe, config = complete(recipe, told, given, sets)
        return Run(recipe, config, *needed(recipe))
    if file is not None:
        raise RecipeError("--resume goes on by the recipe in the run's folder; leave --recipe out")
    if told.out is None:
        raise RecipeError("--resume wants --out: the folder of the run to go on with")
    before = kept(Path(told.out))
    if before is None:
        raise RecipeError(f"nothing to resume: {told.out} has no {FILE}, so no run was begun there; leave --resume out to begin one")
    now, config = complete(before.model_copy(update={"out": told.out}), told, given, sets, resumed=True)
    changed = changes(before, now)
    if changed:
        raise RecipeError(f"--resume goes on with a run as it was begun, but {'; '.join(changed)}; leave those out, or leave out --resume")
    return Run(now, config, *needed(now))


def needed(recipe: Recipe) -> tuple[str, str, Path]:
    """Photos, looks and out; raises RecipeError naming those that nobody said."""
    missing = [name for name in ("photos", "looks", "out") if not getattr(recipe, name)]
    if missing:
        raise RecipeError(f"missing: {', '.join(missing)}; `magicapture train PHOTOS LOOKS --out FOLDER`, or a recipe that has them")
    return str(recipe.photos), str(recipe.looks), Path(str(recipe.out))


def keep(recipe: Recipe) -> None:
    """Write the recipe into its run's folder; local folders and a preset's file as absolute paths, so that it holds from everywhere."""
    photos, looks, out = needed(recipe)
    places = {"photos": _absolute(photos), "looks": _absolute(looks), "out": str(out.absolute())}
    places |= {} if recipe.preset is None else {"preset": _preset(recipe.preset)}
    write_text(out / FILE, recipe.model_copy(update=places).text())


def base_of(recipe: Recipe) -> dict[str, Any]:
    """What the knobs of a recipe that a run keeps are laid on: its preset; nothing where that was a file that is gone, for the knobs are
    complete."""
    preset = recipe.preset
    return {"preset": preset} if preset is not None and (preset in preset_names() or Path(preset).is_file()) else {}


def kept(out: Path) -> Recipe | None:
    """The recipe of the run in a folder; None where none is."""
    return read_recipe(out / FILE) if (out / FILE).is_file() else None


def standing(out: Path) -> list[str]:
    """How far the trainings in a run's folder are: "inversion step 60", and "tuning steps 80, 150" of several at once."""
    lines = []
    for phase in ("inversion", "tuning"):
        folders = [path for path in out.glob(f"*/checkpoints/{phase}-*/checkpoints") if path.is_dir()]
        steps = [max((int(path.name.removeprefix("step-")) for path in folder.glob("step-*")), default=0) for folder in folders]
        if any(steps):
            lines.append(f"{phase} step{'s' if len(steps) > 1 else ''} {', '.join(map(str, sorted(steps)))}")
    return lines


def changes(before: Recipe, now: Recipe) -> list[str]:
    """What differs between two complete recipes, a line each: "tuning.steps: 320 -> 300"."""
    places = ("photos", "looks")
    old, new = (recipe.flat() | {name: _absolute(getattr(recipe, name) or "") for name in places} for recipe in (before, now))
    return [f"{name}: {old.get(name)} -> {new.get(name)}" for name in new if old.get(name) != new.get(name)]


def resume_command(out: Path) -> str:
    """What a person types to go on."""
    return f"magicapture train --resume --out {shlex.quote(str(out))}"


def value_of(config: Config, knob: str) -> Any:
    """The value of a knob by its dotted name."""
    value: Any = config
    for name in knob.split("."):
        value = getattr(value, name)
    return value


def _items(knobs: Mapping[str, Any]) -> list[str]:
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in knobs.items()]


def _one(recipe: Recipe, told: Recipe, name: str) -> Any:
    field = _field(name)
    first, second = getattr(recipe, field), getattr(told, field)
    if first is not None and second is not None and not _same(name, first, second):
        raise RecipeError(f"{name}: the recipe says {first!r}, the command line {second!r}; give one of them")
    return second if first is None else first


def _same(name: str, first: Any, second: Any) -> bool:
    if name in ("photos", "looks", "out"):
        return _absolute(first) == _absolute(second)
    if name == "preset":
        return _preset(first) == _preset(second)
    return bool(first == second)


def _absolute(place: str) -> str:
    return place if place.startswith("git+") else str(Path(place).absolute())


def _preset(preset: str) -> str:
    return str(Path(preset).absolute()) if Path(preset).is_file() else preset


def _same_seeds(wanted: Sequence[int], who: str, config: Config) -> None:
    """Raise RecipeError unless a configuration, by ``who`` made it so, has the seeds that ``--seed`` wants."""
    if seeds(config.search) != tuple(wanted):
        said = config.search.model_dump(mode="json")["seeds"]  # a list as it is written
        raise RecipeError(f"search.seeds: {who} says {said}, --seed {', '.join(map(str, wanted))}; give one of them")


def _keys() -> list[str]:
    return [field.alias or name for name, field in Recipe.model_fields.items()]


def _field(key: str) -> str:
    return "register_best" if key == "register" else key


def _explain(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, _keys(), 1)
        return f"unknown {where!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(_keys())}")
    return f"{where} = {problem['input']!r}: {problem['msg']}" if where else f"expected a mapping with some of {', '.join(_keys())}"
