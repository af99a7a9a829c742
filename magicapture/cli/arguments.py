"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

PLACE = "a folder, or git+URL@REVISION#FOLDER"
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Set a knob, for example tuning.steps=50; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
