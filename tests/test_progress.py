"""Progress where there is no terminal, and on one."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = """
import sys, time
from magicapture import progress
progress.LINE_EVERY = float(sys.argv[1])
for _ in progress.progress(range(6), what="tuning", unit="step"):
    time.sleep(0.1)
"""


def _run(every: float, stderr: int = subprocess.PIPE) -> str:
    result = subprocess.run((sys.executable, "-c", CODE, str(every)), cwd=ROOT, stderr=stderr, check=True)
    return result.stderr.decode() if result.stderr is not None else ""


def test_lines_without_a_terminal_say_what_is_done_and_what_is_left() -> None:
    lines = _run(0.25).split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(set(lines)) >= 2
    for line in lines:
        assert re.fullmatch(r"tuning: [1-6] of 6 steps, \d\d:\d\d gone, \d\d:\d\d left", line), line
    assert [line.startswith("tuning: 6 of 6 steps") for line in lines].index(True) == len(lines) - 1  # the last one, once


def test_short_work_says_nothing_without_a_terminal() -> None:
    assert _run(10.0) == ""


def test_a_terminal_has_a_bar() -> None:
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 80))
    _run(10.0, writer)
    os.close(writer)
    drawn = b""
    while b"100%" not in drawn:
        drawn += os.read(reader, 1000)  # OSError when all is read: it never got there
    assert b"\rtuning:" in drawn
