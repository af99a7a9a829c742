"""A command that takes the named options of a table (``magicapture.options``) beside its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any, get_type_hints

import typer

from magicapture.options import Option, flag

#: Where a command's signature wants the table's options: option's name -> value, None where it was not given.
GIVEN = "given"


def takes(table: Iterable[Option]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: the table's options are added to the command's own, which gets their values as its parameter ``given``."""
    options = {option.name: option for option in table}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != GIVEN]
        parameters = [parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY) for parameter in own]
        parameters += [_parameter(option) for option in options.values()]

        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            command(**{GIVEN: {name: values.pop(name) for name in options}, **values})

        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapper

    return decorate


def _parameter(option: Option) -> inspect.Parameter:
    names = [flag(name) for name in (option.name, *option.aliases)]
    if option.kind is bool:
        names = [f"{name}/{flag('no-' + name[2:])}" for name in names]
    text = f"{option.knob}. {option.note}" if option.knob and option.note else option.knob or f"Sets nothing: {option.note}"
    kind: Any = option.kind
    annotation = Annotated[kind | None, typer.Option(*names, help=text, show_default=False)]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
