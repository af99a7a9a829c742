"""What every stage has in common; what each does is tested in its room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from magicapture import stages
from magicapture.artifacts import ArtifactError

Stage = Callable[[Path, Path], Path]
STAGES: dict[str, Stage] = {
    "prepared": lambda none, out: stages.preprocess(none, none, out, "mini"),
    "tokens": lambda none, out: stages.invert(none, out, "mini", 0, none),
    "adapter": lambda none, out: stages.tune(none, none, out, "mini", 0, none),
    "images": lambda none, out: stages.generate(none, out, "mini"),
    "portraits": lambda none, out: stages.postprocess(none, out, "mini"),
    "evaluation": lambda none, out: stages.evaluate(none, none, out, "mini"),
    "promotion": lambda none, out: stages.promote([{"adapter": none, "evaluation": none}], out, "mini"),
}


@pytest.mark.parametrize("kind", STAGES)
def test_an_out_that_would_not_be_replaced_is_refused_before_anything_else(tmp_path: Path, kind: str) -> None:
    """After hours of training, or with a model version registered, it would come too late."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(ArtifactError, match=f"out exists and is no {kind} artifact"):
        STAGES[kind](tmp_path / "missing", tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]
    (tmp_path / "out" / "mine.txt").unlink()  # an empty folder is taken, so that what comes next is told: there is no input
    with pytest.raises((ArtifactError, ValueError), match="missing"):
        STAGES[kind](tmp_path / "missing", tmp_path / "out")
