"""What the documents say to type is typed: their code blocks, in order, in an empty folder with data/ drawn anew.

Left out are blocks after ``<!-- not executed: ... -->``. Trainings have few steps: ``magicapture`` is a script that adds them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from magicapture.world.samples import write_samples

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"(?:<!-- (not executed: [^>]+) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
SHORT = {
    "inversion.steps": "2", "tuning.steps": "2", "tuning.samples": "1", "tuning.sample_every": "0", "training.augment.versions": "1",
    "generation.steps": "8", "generation.seeds": "[7,8]", "evaluation.baseline_images": "1", "training.rows": "1",
}  # fmt: skip
# As the command of that name, with few steps where it trains: options of the document that say how many are left out.
COMMAND = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from magicapture.cli import main
arguments = sys.argv[1:]
for option in ("--max_train_steps_ti", "--max_train_steps_tuning"):
    if option in arguments:
        del arguments[arguments.index(option) : arguments.index(option) + 2]
if arguments[0] == "train" and "--resume" not in arguments:
    arguments += [part for knob in {[f"{name}={value}" for name, value in SHORT.items()]!r} for part in ("--set", knob)]
sys.argv = ["magicapture", *arguments]
main()
"""


class Block(NamedTuple):
    """A code block of a document: why it is not executed ("": it is), its language, its text."""

    left_out: str
    language: str
    text: str


def blocks(document: str) -> list[Block]:
    """In their order."""
    return [Block(*match) for match in BLOCK.findall((ROOT / document).read_text())]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader stands: data/, and the command on the PATH."""
    write_samples(tmp_path / "data", count=2, size=128)
    (tmp_path / "bin").mkdir()
    for name, text in (("magicapture", COMMAND), ("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def execute(block: Block, folder: Path) -> str:
    """What the block prints; its failure fails the test."""
    if block.language == "python":
        short = ", ".join(repr(f"{name}={value}") for name, value in SHORT.items())
        command = (sys.executable, "-c", block.text.replace('MagiCapture("mini")', f'MagiCapture("mini", {short})'))
    else:
        command = ("bash", "-euo", "pipefail", "-c", block.text)
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MAGICAPTURE_PACKS": str(folder / "packs"),
    }
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{block.text}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_blocks_are_found_and_only_what_cannot_be_is_left_out() -> None:
    found = {name: blocks(name) for name in ("README.md", *(f"docs/{name}.md" for name in ("tutorial", "faq", "migrate", "method")))}
    assert all(len(own) > len([block for block in own if block.left_out]) for own in found.values())
    left = [block.left_out for own in found.values() for block in own if block.left_out]
    assert len(left) == 6 and all(len(why) > 20 for why in left)


@pytest.mark.timeout(1800)
def test_the_tutorial(folder: Path) -> None:
    said = [execute(block, folder) for block in blocks("docs/tutorial.md") if not block.left_out]
    runs = folder / "runs"
    assert (runs / "first/seed-0/evaluation/report.html").is_file()
    assert len(list((runs / "more/portraits/images").iterdir())) >= 4
    assert not (runs / "raw/portraits").exists() and (runs / "raw/images").is_dir()
    assert (runs / "python/best/0000.png").is_file() and (runs / "first/stock.png").is_file()
    assert any("magicapture.subject.style" in text for text in said) and "A second look, by name and by hash, found nothing" in said[-1]
    assert any("best: runs/neon/seed-" in text for text in said)


@pytest.mark.timeout(1800)
def test_the_readme_and_the_method(folder: Path) -> None:
    write_samples(folder / "drawn", count=2, size=128)
    (folder / "pictures").mkdir()
    for drawn, name in (("person", "anna"), ("look", "noir")):
        (folder / "drawn" / drawn).rename(folder / "pictures" / name)
    for block in (block for name in ("README.md", "docs/method.md") for block in blocks(name) if not block.left_out):
        text = block.text.replace(".venv/bin/", "").replace("--best 4 --of 16", "--best 2 --of 6").replace("/tmp/vase", "vase")
        execute(block._replace(text=text.replace("count=8", "count=4")), folder)
    assert (folder / "gallery.html").is_file() and (folder / "out/anna/anna.safetensors").is_file()
    assert (folder / "out/0000.png").is_file() and (folder / "runs/more/evaluation/report.html").is_file()
    assert (folder / "runs/vase/seed-0/evaluation/report.html").is_file()


@pytest.mark.timeout(600)
def test_migrate_and_faq(folder: Path) -> None:
    recipe = next(block.text for block in blocks("docs/migrate.md") if block.language == "yaml")
    (folder / "recipe.yaml").write_text(recipe)
    shown = execute(Block("", "sh", "magicapture train --recipe recipe.yaml --dry-run --json"), folder)
    assert '"seeds": [' in shown
    for block in [*blocks("docs/migrate.md"), *blocks("docs/faq.md")]:
        if block.language != "yaml" and not block.left_out:
            execute(block, folder)
    assert list((folder / "runs/migrated/more/portraits/images").iterdir())
