"""The page of a search, of hand-made candidates; tests/search/test_halving.py has a real one."""

from __future__ import annotations

from pathlib import Path

from magicapture.artifacts import page_tag, writing
from magicapture.search import sheet


def test_the_page_tells_purge_whose_pictures_it_holds(tmp_path: Path) -> None:
    """Of the candidates that came as far as a picture."""
    with writing(tmp_path / "seed-0" / "adapter", "adapter/1", subjects={"anna": ["1"]}) as draft:
        draft.content = {"best_step": 1, "scores": [{"step": 1, "judge": 0.5}]}
    checks = [{"step": 1, "judge": 0.5, "cpu_seconds": 1.0}]
    entry = {"seed": 0, "knobs": {}, "reason": "won", "state": "best", "checks": checks}
    record = {
        "candidates": {"seed-0": entry, "seed-1": entry | {"seed": 1, "state": "failed", "checks": []}},
        "inversions": {"a": {"steps": 1, "cpu_seconds": 1.0}},
        "cost": {"steps": 1, "full_steps": 1, "ratio": 1.0, "cpu_seconds": 1.0},
    }
    assert page_tag({"anna": ["1"]}) in sheet.render(tmp_path, record)
