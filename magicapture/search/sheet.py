"""The search on one page: every candidate's pictures, score by step, cost, and why it went on or stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from magicapture.artifacts import MANIFEST, page_tag, read_manifest, subjects_of
from magicapture.evaluation.charts import line_chart
from magicapture.evaluation.pictures import data_uri
from magicapture.faces.prepared import read_png

_ORDER = ("best", "finished", "stopped", "failed")
_SHOWN = 8


def render(out: Path, record: Mapping[str, Any]) -> str:
    """Self-contained HTML of a finished search: ``record`` is ``search.json``, ``out`` holds the candidates' folders.

    The pictures of all candidates are of the same validation prompts and seeds, each of the candidate's best step.
    """
    rows = [{"name": name, **entry, **_shown(out / name / "adapter")} for name, entry in record["candidates"].items()]
    rows.sort(key=lambda row: (_ORDER.index(row["state"]), -row["checks"][-1]["judge"] if row["checks"] else 0))
    every = [point for row in rows for point in row["points"]]
    for row in rows:
        row["chart"] = line_chart(row["points"], f"Judge's score of {row['name']} by step", smooth=False, within=every)
        row["steps"] = row["checks"][-1]["step"] if row["checks"] else 0
        row["cpu_seconds"] = sum(check["cpu_seconds"] for check in row["checks"]) + row.get("failed_cpu_seconds", 0)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    adapters = [out / name / "adapter" for name in record["candidates"]]
    whose = subjects_of(*(read_manifest(adapter, "adapter") for adapter in adapters if (adapter / MANIFEST).is_file()))
    page = environment.from_string(Path(__file__).with_name("sheet.html.j2").read_text())
    return page.render(
        rows=rows, tag=page_tag(whose), inversions=record["inversions"], cost=record["cost"], seeds=len({row["seed"] for row in rows})
    )


def _shown(adapter: Path) -> dict[str, Any]:
    """Pictures and scores by step of a candidate as far as it came; nothing where it failed before it had any."""
    if not (adapter / MANIFEST).is_file():
        return {"pictures": [], "points": [], "best_step": None}
    content = read_manifest(adapter, "adapter")["content"]
    files = sorted((adapter / "samples").glob(f"step-{content['best_step']:05d}-*.png"))[:_SHOWN]
    return {
        "pictures": [data_uri(read_png(adapter, f"samples/{file.name}")) for file in files],
        "points": sorted((score["step"], score["judge"]) for score in content["scores"]),
        "best_step": content["best_step"],
    }
