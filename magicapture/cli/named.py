"""A command that takes the named options of a table (``magicapture.options``) beside its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from magicapture.options import Option, OptionsError, flag

#: Where a command's signature wants the table's options: option's name -> value, None where it was not given.
GIVEN = "given"


class Once(TyperCommand):
    """A command that refuses an option given twice, of which the parser would keep the last in silence.

    Flags may be written with a value too, as in the original's scripts: ``--train_text_encoder=True``, ``--scale_lr False``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        pairs = [zip(option.opts, option.secondary_opts, strict=False) for option in self.params]
        args = list(self._plain(args, {name: denied for own in pairs for name, denied in own}))
        order = [] if ctx.resilient_parsing else self.make_parser(ctx).parse_args(args=list(args))[2]  # resilient: shell completion
        for option in self.params:
            if option.param_type_name == "option" and not getattr(option, "multiple", False) and order.count(option) > 1:
                raise OptionsError(f"{' / '.join(option.opts)} was given {order.count(option)} times; give it once")
        return super().parse_args(ctx, args)

    @staticmethod
    def _plain(args: Sequence[str], denied: Mapping[str, str]) -> Iterator[str]:
        """Arguments with ``--flag=True``, ``--flag False`` as ``--flag``, ``--no-flag``; ``denied``: --flag -> --no-flag."""
        waiting = list(reversed(args))
        while waiting:
            arg = waiting.pop()
            if arg == "--":
                yield from (arg, *reversed(waiting))
                return
            name, sign, value = arg.replace("_", "-").partition("=")
            if name in denied and not sign and waiting and waiting[-1].lower() in ("true", "false"):
                value = waiting.pop()
            told = value.lower() if name in denied else ""
            yield {"true": name, "false": denied.get(name, "")}.get(told, arg)


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
