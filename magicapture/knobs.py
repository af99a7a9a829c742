"""Every knob as a person reads it: type, range, default, source and advice, taken from its declaration in ``magicapture.config``."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from magicapture.config import Config, ConfigError
from magicapture.mappings import section_of
from magicapture.options import GENERATE, TRAIN

_BOUNDS = {
    "ge": ">= {}",
    "gt": "> {}",
    "le": "<= {}",
    "lt": "< {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "matches {}",
}
_SOURCES = ("paper", "original", "ours")


@dataclass(frozen=True)
class Knob:
    """A knob, declared in ``magicapture.config``."""

    name: str  # dotted
    type: str  # "whole number", "number or null", "one of a, b"
    range: str  # ">= 1, <= 64"; "" where every value of the type is possible
    default: Any  # JSON-able
    source: str  # "paper", "original", "ours", several of them, or "" where the declaration names none
    advice: str  # the declaration's own words


def knobs(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[Knob]:
    """All of them, in the order of their declaration."""
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            yield from knobs(inner, f"{prefix}{name}.")
        else:
            yield _knob(prefix + name, field)


def find(name: str) -> Knob:
    """The knob of that dotted name, of that last part where only one ends so, or that the command line's option of that name sets.

    Raises ConfigError with the nearest ones.
    """
    known = {knob.name: knob for knob in knobs()}
    ending = [full for full in known if full.endswith(f".{name}")]
    option = name.removeprefix("--").replace("-", "_")
    set_by = {each.knob for each in (*TRAIN, *GENERATE) if each.knob and option in (each.name, *each.aliases)}
    for found in ({name} & known.keys(), ending, set_by if not ending else ()):
        if len(found) == 1:
            return known[next(iter(found))]
    last = {full.rpartition(".")[2]: full for full in known}
    near = ending or [full for full in known if full.startswith(f"{name}.")] or difflib.get_close_matches(name, known, 3)
    near = near or [last[part] for part in difflib.get_close_matches(name.rpartition(".")[2], last, 3)]
    raise ConfigError(f"no knob {name!r}; " + (f"did you mean {' or '.join(near)}?" if near else "`magicapture config show` lists them"))


def markdown() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "<!-- Written by `magicapture config docs`; the source is magicapture/config.py. -->",
        "",
        "Every knob, with its range, its default and where it comes from. A preset (`--preset mini`, or a YAML file that may begin with `preset: mini`)",
        "sets some of them; `--set tuning.steps=200` sets one. `magicapture config show` prints what is in force, `magicapture config explain KNOB` one knob,",
        "`magicapture config diff mini sd15` what two presets differ in. *paper*: arXiv 2309.06895; *original*: the authors' code; *ours*: decided and",
        "measured here.",
        "",
        "The defaults are the paper's where it gives one. The commands use the preset `mini` unless told otherwise, which sets about thirty of them",
        "(`tuning.steps` is 320 there, not 1500).",
    ]
    title = None
    for knob in knobs():
        section = knob.name.rpartition(".")[0]
        if section != title:
            title = section
            lines += [
                "",
                f"## {section or 'The whole run'}",
                "",
                f"{_doc(section)}",
                "",
                "| knob | default | range | what it does |",
                "| --- | --- | --- | --- |",
            ]
        shown = "`" + _yaml(knob.default) + "`"
        lines.append(
            f"| `{knob.name}` | {shown} | {knob.type}{f', {knob.range}' if knob.range else ''} | {knob.advice.replace('|', chr(92) + '|')} |"
        )
    return "\n".join(lines) + "\n"


def _doc(section: str) -> str:
    kind: Any = Config
    for name in filter(None, section.split(".")):
        kind = kind.model_fields[name].annotation
    return str(kind.__doc__).strip().splitlines()[0] if section else "Which weights, on which device."


def _knob(name: str, field: FieldInfo) -> Knob:
    bounds = [
        text.format(value)
        for item in field.metadata
        for bound, text in _BOUNDS.items()
        if (value := getattr(item, bound, None)) is not None
    ]
    advice = field.description or ""
    source = ", ".join(source for source in _SOURCES if source in advice.lower())
    return Knob(name, _type(field.annotation), ", ".join(bounds), _plain(field.default), source, advice)


def _type(kind: Any) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_type, get_args(kind)))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is dict:
        return f"mapping from {_type(get_args(kind)[0])} to {_type(get_args(kind)[1])}"
    if get_origin(kind) is tuple:
        return f"list of {_type(get_args(kind)[0])}s"
    if hasattr(kind, "__metadata__"):  # a bounded one of a list; the description says the bounds
        return _type(get_args(kind)[0])
    return {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null", Any: "value"}[kind]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return str(value) if value != "" else '""'
