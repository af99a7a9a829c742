"""The command line, run as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
runner = CliRunner()


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    command = (sys.executable, "-m", "magicapture", *map(str, arguments))
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
