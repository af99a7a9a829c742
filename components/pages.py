"""What the Kubeflow page shows of an artifact: numbers, a Markdown summary, and one self-contained HTML page.

Read from the artifact's own folder. An edit here does not make a stage run again: cached stages keep the page they have.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from magicapture.artifacts import MANIFEST, write_text

# Bytes of a page that a stage wrote. Kubeflow's page holds it in memory as one text (20 MB of Markdown crashed the browser,
# kubeflow/pipelines issue 5513): what is longer is shown in short, and lies whole in the artifact.
LIMIT = 4_000_000
# Of the pages written here: px of a picture's longer side (smaller ones stay as they are), and pictures of a grid. 48 take about 1 MB.
LONGEST = 256
PICTURES = 48
MEASURES = ("selection", "identity", "referee", "likeness", "head", "style", "aesthetic", "structure")
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; margin: 1.2rem; color: #222; background: #fff; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 1.6rem; }
.grid { display: flex; flex-wrap: wrap; gap: .8rem; } figure { margin: 0; max-width: 256px; }
img { max-width: 256px; min-width: 96px; image-rendering: pixelated; border-radius: .3rem; }
figcaption { font-size: 13px; color: #555; overflow-wrap: anywhere; } svg { width: 340px; height: 130px; background: #f7f5f2; }"""


@dataclass
class View:
    """Numbers by name, Markdown, the body of the HTML page, and a whole page that the stage wrote itself."""

    title: str
    numbers: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    page: Path | None = None

    def html(self) -> str:
        """The page; the stage's own where there is one and it is not too long."""
        if self.page is not None and self.page.is_file() and self.page.stat().st_size <= LIMIT:
            return self.page.read_text()
        body = list(self.body)
        if self.page is not None:
            body.insert(0, f"<p>{escape(self.page.name)} is too long to be shown here; it lies in the artifact.</p>")
        head = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title><style>{STYLE}</style></head>'
        )
        return f"{head}<body><h1>{escape(self.title)}</h1>{''.join(body)}</body></html>"

    def markdown(self) -> str:
        """The summary."""
        return "\n".join([f"# {_plain(self.title)}", "", *self.lines]) + "\n"


def write(folder: str | Path, metrics: Any, page: Any, summary: Any, used: Mapping[str, float]) -> None:
    """Fill the KFP artifacts ``metrics``, ``page`` (HTML) and ``summary`` (Markdown) from the artifact in ``folder``.

    ``used`` are the task's own numbers (seconds, memory). Raises KeyError for a kind of artifact that has no view.
    """
    folder = Path(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    view = VIEWS[manifest["schema"].partition("/")[0]](folder, manifest["content"])
    numbers = {name: value for name, value in {**view.numbers, **used}.items() if math.isfinite(value)}
    for name, value in numbers.items():
        metrics.log_metric(name, value)
    write_text(Path(metrics.path), json.dumps(numbers))  # Kubeflow reads the metadata; kfp.local's cache misses outputs without a file
    write_text(Path(page.path), view.html())
    write_text(Path(summary.path), view.markdown())


def prepared(folder: Path, content: Mapping[str, Any]) -> View:
    """The quality sheet, and the verdicts in words."""
    view = View("Prepared set", page=folder / "sheet.html")
    aside = content["set_aside"]
    view.numbers = {"photos": len(content["source"]), "looks": len(content["reference"]), "set_aside": len(aside)}
    view.lines = [f"{len(content['source'])} photos and {len(content['reference'])} pictures of looks can be used, {len(aside)} set aside."]
    view.lines += ["", *(f"- {_plain(warning)}" for warning in content["warnings"])]
    if aside:
        view.lines += ["", *_table(("set", "picture", "reason"), [(row["set"], row["name"], row["reason"]) for row in aside])]
    view.body = [_grid((folder / row["file"], row["name"]) for row in [*content["source"], *content["reference"]])]
    return view


def tokens(folder: Path, content: Mapping[str, Any]) -> View:
    """Loss curves of phase 1."""
    view = View("Tokens (phase 1)")
    view.numbers = {"steps": content["steps"]}
    curves = _curves(folder / "curves.jsonl", "inversion")
    view.numbers |= {f"last_{name}": points[-1][1] for name, points in curves.items()}
    view.lines = _facts(content, ("steps", "tensor_hash", "machine", "threads", "pack"))
    view.body = _charts(curves)
    return view


def adapter(folder: Path, content: Mapping[str, Any]) -> View:
    """Attention maps, validation samples and loss curves of phase 2."""
    view = View("Adapter (phase 2)")
    view.numbers = {name: content[name] for name in ("best_step", "last_step", "train_seconds") if content.get(name) is not None}
    scores = [(row["step"], row["judge"]) for row in content["scores"] if row["judge"] is not None]
    curves = _curves(folder / "curves.jsonl", "tuning")
    view.numbers |= {f"last_{name}": points[-1][1] for name, points in curves.items()}
    if scores:
        view.numbers["judge"] = max(judge for _, judge in scores)
    view.lines = _facts(content, ("best_step", "last_step", "train_seconds", "best_hash", "last_hash", "seed", "pack"))
    view.lines += ["", *_table(("step", "judge"), [(step, f"{judge:.4f}") for step, judge in scores])]
    maps = [(file, file.stem) for file in sorted((folder / "attention").glob("*.png"))]
    samples = sorted((folder / "samples").glob("*.png"), key=lambda file: file.stem)[::-1]
    view.body = ["<h2>Where each token looks</h2>", _grid(maps), "<h2>Samples while training, last first</h2>"]
    view.body += [_grid((file, file.stem) for file in samples), "<h2>Losses</h2>", *_charts({"judge": scores, **curves})]
    return view


def images(folder: Path, content: Mapping[str, Any]) -> View:
    """Every picture with prompt and seed."""
    view = View("Pictures as sampled")
    items = content["items"]
    kinds = sorted({item["kind"] for item in items})
    view.numbers = {f"pictures_{kind}": sum(item["kind"] == kind for item in items) for kind in kinds}
    view.lines = _table(("kind", "prompt", "pictures"), _counted((item["kind"], item["prompt"]) for item in items))
    view.body = [_grid((folder / item["file"], f"{item['kind']}, seed {item['seed']}") for item in items)]
    return view


def portraits(folder: Path, content: Mapping[str, Any]) -> View:
    """Before and after."""
    view = View("Portraits, before and after")
    items = content["items"]
    view.numbers = {"pictures": len(items)}
    view.lines = _table(("kind", "size", "pictures"), _counted((item["kind"], " x ".join(map(str, item["size"]))) for item in items))
    pairs = [(folder / item[which], f"{item['kind']}, seed {item['seed']}, {name}") for item in items for which, name in _BOTH]
    view.body = [_grid(pairs)]
    return view


def evaluation(folder: Path, content: Mapping[str, Any]) -> View:
    """The report, and the scores of every set."""
    view = View("Scores", page=folder / "report.html")
    result = json.loads((folder / "scores.json").read_text())
    sets: Mapping[str, Any] = result["sets"]
    view.numbers = {name: content[name] for name in ("selection", "identity") if content.get(name) is not None}
    rows = []
    for measure in MEASURES:
        cells = [values.get(measure) for values in sets.values()]
        for kind, cell in zip(sets, cells):
            if isinstance(cell, Mapping) and cell.get("mean") is not None:
                view.numbers[f"{kind}.{measure}"] = cell["mean"]
        if any(cells):
            rows.append((measure, *map(_interval, cells)))
    view.lines = [
        *_table(("mean (95 % interval)", *sets), rows),
        "",
        f"Protocol {content['protocol']}, best {content.get('best')}.",
    ]
    ranked = sorted((item for item in result["items"] if item["kind"] == "portrait"), key=lambda item: item["rank"])
    view.body = [_grid((folder / item["file"], f"rank {item['rank']}") for item in ranked)]
    return view


def promotion(folder: Path, content: Mapping[str, Any]) -> View:
    """The verdict, and the report of the best seed."""
    best = content["candidates"][content["best"]]
    view = View("Promotion", page=Path(best["folders"]["evaluation"]) / "report.html")
    view.numbers = {"champion": float(content["champion"]), "selection": best["selection"], "identity": best["identity"]}
    version = f"version {content['version']}" if content["version"] else "not registered (tracking is down)"
    verdict = "**champion**" if content["champion"] else "not champion"
    view.lines = [f"{_plain(content['model'])} {version}: {verdict}. {_plain(content['reason'])}.", ""]
    table = [(row["seed"], f"{row['selection']:.4f}", f"{row['identity']:.4f}", row["protocol"]) for row in content["candidates"]]
    view.lines += _table(("seed", "selection", "identity", "protocol"), table)
    view.body = [f"<p>{escape(content['reason'])}</p>"]
    return view


def plan(folder: str | Path, links: Mapping[str, str], champion: str | None) -> str:
    """Markdown of a run/1 artifact: what the run is of, whether anything changed, and the way to MLflow."""
    content = json.loads((Path(folder) / MANIFEST).read_text())["content"]
    view = View("Lineage", lines=["The stages run: no champion carries this lineage.", ""])
    if champion:
        view.lines[0] = f"**Nothing changed**: {_plain(champion)}. The run ends here."
    view.lines += [f"- [{_plain(name)}]({link})" for name, link in links.items() if link]
    if content["reason"]:
        view.lines.append(f"- {_plain(content['reason'])}")
    view.lines += ["", *_table(("tag", "value"), sorted(content["tags"].items()))]
    return view.markdown()


VIEWS: dict[str, Callable[[Path, Mapping[str, Any]], View]] = {
    "prepared": prepared, "tokens": tokens, "adapter": adapter, "images": images,
    "portraits": portraits, "evaluation": evaluation, "promotion": promotion,
}  # fmt: skip
_BOTH = (("before", "before"), ("file", "after"))


def _plain(value: Any) -> str:
    """Text that neither Markdown nor HTML reads as its own."""
    text = escape(" ".join(str(value).split()), quote=False)
    return "".join("\\" + letter if letter in "\\`*_[]|#" else letter for letter in text)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [f"| {' | '.join(map(_plain, row))} |" for row in (head, *rows)]
    return [lines[0], f"|{' --- |' * len(head)}", *lines[1:]]


def _facts(content: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    return _table(("", ""), [(name.replace("_", " "), content[name]) for name in names if content.get(name) is not None])


def _counted(keys: Iterable[tuple[str, str]]) -> list[tuple[str, str, int]]:
    return [(*key, count) for key, count in Counter(keys).items()]


def _interval(cell: Any) -> str:
    if not isinstance(cell, Mapping) or cell.get("mean") is None:
        return "-"
    span = "" if cell.get("low") is None else f" ({cell['low']:.2f}, {cell['high']:.2f})"
    return f"{cell['mean']:.2f}{span}"


def _curves(file: Path, phase: str) -> dict[str, list[tuple[int, float]]]:
    """Loss -> (step, value) of one phase."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in map(json.loads, file.read_text().splitlines()) if file.is_file() else ():
        if row.get("phase") == phase:
            for name, value in row.items():
                if name not in ("phase", "step", "lr") and isinstance(value, int | float) and math.isfinite(value):
                    curves.setdefault(name, []).append((row["step"], float(value)))
    return curves


def _charts(curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
    figures = []
    for name, points in curves.items():
        steps, values = [step for step, _ in points], [value for _, value in points]
        if len(points) < 2 or not any(values):
            continue
        width, height = max(steps) - min(steps) or 1, max(values) - min(values) or 1.0
        line = " ".join(f"{320 * (s - min(steps)) / width + 10:.1f},{110 - 100 * (v - min(values)) / height:.1f}" for s, v in points)
        caption = f"{name}: {min(values):.4g} to {max(values):.4g}, steps {min(steps)} to {max(steps)}"
        drawing = f'<polyline points="{line}" fill="none" stroke="#b4442e"/>'
        figures.append(f'<figure><svg viewBox="0 0 340 120">{drawing}</svg><figcaption>{escape(caption)}</figcaption></figure>')
    return [f'<div class="grid">{"".join(figures)}</div>'] if figures else []


def _grid(pictures: Iterable[tuple[Path, str]]) -> str:
    rows = list(pictures)
    cells = [f'<figure><img alt="" src="{_uri(file)}"><figcaption>{escape(name)}</figcaption></figure>' for file, name in rows[:PICTURES]]
    more = f"<p>{len(rows) - PICTURES} more lie in the artifact.</p>" if len(rows) > PICTURES else ""
    return f'<div class="grid">{"".join(cells)}</div>{more}'


def _uri(file: Path) -> str:
    from PIL import Image

    with Image.open(file) as picture:
        small = picture.convert("RGB")
    small.thumbnail((LONGEST, LONGEST))
    buffer = io.BytesIO()
    kind = "png" if max(small.size) <= 96 else "jpeg"
    small.save(buffer, kind, **({} if kind == "png" else {"quality": 85}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
