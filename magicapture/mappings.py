"""Nested mappings of knobs: read, by their dotted names, and what is wrong with one in words; used by ``magicapture.config``."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

#: The one knob that is a mapping itself.
GRID = "search.grid"


class ConfigError(ValueError):
    """A configuration that cannot be used: names the knob, the value given and what is expected."""


def read_mapping(file: Path) -> dict[str, Any]:
    """A YAML file that is a mapping; {} of an empty one. Raises ConfigError."""
    try:
        data = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); expected a YAML file") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{file}: expected a mapping of names to values, got {type(data).__name__}")
    return data or {}


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> dotted names; the value of :data:`GRID` stays whole."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        dotted = f"{prefix}{name}"
        flat |= flatten(value, f"{dotted}.") if isinstance(value, Mapping) and dotted != GRID else {dotted: value}
    return flat


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with what ``top`` says in its place, section by section."""
    merged = dict(base)
    for key, value in top.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def assign(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a knob by its dotted name; raises ConfigError where a part of it is a value and no section."""
    *parents, leaf = dotted.split(".")
    for name in parents:
        child = data.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {dotted}: {name!r} is a single value, not a section")
        data = child
    data[leaf] = value


def quoted(value: str, several: bool = False) -> str:
    """A value as YAML in quotes, of a knob that holds ``several`` as a list of it.

    >>> quoted("[V1] blurry"), quoted("[V1] blurry", True), quoted("[a [V1] person]", True)
    ('"[V1] blurry"', '["[V1] blurry"]', '["a [V1] person"]')
    """
    inner = re.fullmatch(r"\[((?:[^][]|\[[^][]*\])*)\]", value)  # brackets of the list itself
    return json.dumps([inner[1] if inner else value]) if several else json.dumps(value)


def number(value: Any) -> Any:
    """A text that is a number in all but YAML 1.1, as 1e-5 is, as the number; anything else as it is."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+\.?\d*[eE][+-]?\d+", value) else value


def without(data: Mapping[str, Any], names: Collection[str], prefix: str = "") -> dict[str, Any]:
    """``data`` less the knobs of these dotted names, and less the sections that are empty then."""
    left: dict[str, Any] = {}
    for name, value in data.items():
        dotted = f"{prefix}{name}"
        if dotted in names:
            continue
        if isinstance(value, Mapping) and dotted != GRID:
            value = without(value, names, f"{dotted}.")
            if not value:
                continue
        left[name] = value
    return left


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a section's knobs, by the annotation of its field; None for that of a single knob."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def leaves(model: type[BaseModel]) -> list[str]:
    """Dotted names of all knobs of a model, its sections left out."""
    return [name for name, section in _fields(model) if not section]


def shortened(names: Collection[str], model: type[BaseModel]) -> list[str]:
    """Dotted names of knobs, those that are all of a section of the model as the section."""
    every, short = leaves(model), list[str]()
    for name in every:
        section = name.partition(".")[0]
        whole = all(own in names for own in every if own == section or own.startswith(f"{section}."))
        if name in names:
            short.append(section if whole else name)
    return list(dict.fromkeys(short))


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong with a mapping of the model's knobs: name, value and what is expected."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where, [name for name, _ in _fields(model)], 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"valid sections: {', '.join(model.model_fields)}"
            lines.append(f"unknown knob {where!r}: {hint}")
        elif where:
            lines.append(f"{where} = {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(problem["msg"].removeprefix("Value error, "))
    return "; ".join(lines)


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """(dotted name, whether it is a section) of all fields."""
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        yield f"{prefix}{name}", section is not None
        if section is not None:
            yield from _fields(section, f"{prefix}{name}.")
