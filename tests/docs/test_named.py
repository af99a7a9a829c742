"""Commands that the documents name, in code spans and in blocks, executed or not: each exists and is understood as it stands."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

import pipeline
from magicapture import cli
from tests.docs.test_commands import ROOT
from tests.manifests.test_operate import understood

DOCUMENTS = {*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("magicapture/packs/*/README.md")}
DOCUMENTS -= {ROOT / "docs/migrate.md"}  # names other programs' options; what it says to type, test_commands.py types
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:\S*/)?(?:python\S* (-m \S+|pipeline\.py)|(magicapture)|(make))(?: (.*))?")
PLACEHOLDERS = {"SEED": "1", "METHOD": "dreambooth"}  # the others stand for names and folders, which nobody checks


def commands(document: Path) -> list[tuple[str, list[str]]]:
    """(module, "pipeline.py", "magicapture" or "make"; the words after it) of every command that the document names."""
    text = document.read_text()
    lines = [line.strip() for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    lines += [" ".join(span.split()) for span in SPAN.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))]
    found = []
    for line in lines:
        if match := COMMAND.fullmatch(line):
            words = shlex.split((match[4] or "").split(" | ")[0].split(" && ")[0], comments=True)
            what = (match[1] or match[2] or match[3]).removeprefix("-m ")
            found.append((what, [PLACEHOLDERS.get(word, word) for word in words if word not in ("...", "\u2026")]))
    return found


NAMED = [(document, what, words) for document in sorted(DOCUMENTS) for what, words in commands(document)]


class Parsed(Exception):
    """The program's own parser has understood its arguments; nothing else of it runs."""


@pytest.mark.parametrize(
    ("document", "module", "words"), [named for named in NAMED if named[1] not in ("make", "pipeline.py", "magicapture")]
)
def test_a_modules_own_parser_understands(document: Path, module: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *given: object) -> None:
        parse(parser, *given)  # type: ignore[call-overload]
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(Parsed):
        importlib.import_module(module).main()


@pytest.mark.parametrize(("document", "what", "words"), [named for named in NAMED if named[1] in ("magicapture", "pipeline.py")])
def test_a_command_and_its_options_exist(document: Path, what: str, words: list[str]) -> None:
    app = typer.main.get_command(cli.app if what == "magicapture" else pipeline.app)
    if words:
        understood(app, f"{what} {' '.join(words)}", list(words))


@pytest.mark.parametrize(("document", "words"), [(document, words) for document, what, words in NAMED if what == "make"])
def test_make_has_the_target(document: Path, words: list[str]) -> None:
    for target in (word for word in words if "=" not in word):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (document.name, target)


def test_the_documents_name_them() -> None:
    """Else the tests above would hold of nothing."""
    seen = {what for _, what, _ in NAMED}
    assert {"make", "magicapture", "pipeline.py", "benchmarks.method", "magicapture.world.train"} <= seen and len(NAMED) > 80
