"""What ``pipeline.py`` says of an error, and what it leaves to the traceback."""

from __future__ import annotations

import errno

import pytest

import pipeline
from magicapture.artifacts import ArtifactError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ArtifactError("x is damaged"), "pipeline.py run: x is damaged"),
        (FileExistsError(errno.EEXIST, "File exists", "runs"), "pipeline.py run: cannot write runs: File exists; "),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), "pipeline.py run: cannot read or write runs: Permission denied"),
        (RuntimeError("a stage failed"), "pipeline.py run: a stage failed"),
        (ConnectionError("no server"), "pipeline.py run: no server"),
    ],
)
def test_what_a_person_can_act_on_is_one_line(error: Exception, said: str) -> None:
    with pytest.raises(SystemExit) as caught, pipeline.said("run"):
        raise error
    assert str(caught.value.code).startswith(said)


def test_a_fault_of_the_program_is_shown_as_one() -> None:
    with pytest.raises(KeyError), pipeline.said("run"):
        raise KeyError("x")
