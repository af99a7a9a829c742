"""The command line: ``magicapture train | generate | evaluate | gallery | adapter | data | purge | packs | registry | config ...``.

Rooms are imported inside the commands: ``magicapture --help`` answers at once, and a command loads only what it uses. Exit status: see
:mod:`magicapture.exits`.
"""

from __future__ import annotations

import logging
import sys

import typer

from magicapture import exits
from magicapture.cli import adapter, check, config, data, doctor, gallery, packs, portraits, purge, registry
from magicapture.cli.named import Once

app = typer.Typer(
    name="magicapture",
    help="Personalised portraits: photos of a person and images of a look in; ranked, measured portraits and a registered model out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},  # --lora_rank, as the original code has it
)
app.command(cls=Once)(portraits.train)
app.command(cls=Once)(portraits.generate)
app.command()(portraits.evaluate)
app.command()(registry.track)
app.command()(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(packs.app, name="packs")
app.add_typer(registry.app, name="registry")
app.add_typer(config.app, name="config")
app.command()(purge.purge)
app.command()(gallery.gallery)
app.add_typer(adapter.app, name="adapter")
app.command()(check.check)


def main() -> None:
    """Entry point: errors a person can act on are one line on stderr, others keep their traceback (``magicapture.exits``)."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("magicapture").setLevel(logging.INFO)
    try:
        app()
    except Exception as error:
        sys.exit(exits.status(error))
