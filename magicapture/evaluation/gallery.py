"""Several runs side by side: scores with intervals, pictures of the same prompts and seeds, the knobs in which they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magicapture.artifacts import ArtifactError, kind_of, read_manifest, subjects_of
from magicapture.data.subjects import UNNAMED
from magicapture.evaluation import page
from magicapture.evaluation.pictures import data_uri
from magicapture.evaluation.ranking import MEASURES
from magicapture.evaluation.report import comparison
from magicapture.faces.prepared import read_png
from magicapture.mappings import flatten
from magicapture.scoring.statistics import interval

#: Rows of pictures, and their longest side in px.
_ROWS, _SIDE = 8, 480
Key = tuple[str, int, str]


def compare(runs: Sequence[str | Path]) -> dict[str, Any]:
    """What several runs have in common and in what they differ; the first is what the others are measured against.

    A run is an ``evaluation/1`` folder, a folder of ``train`` (whose best seed speaks for it) or of one of its seeds, or what
    ``pipeline.py run`` published.

    Returns:
        ``runs``: [{name, evaluation (folder), subject, style ("" where not told), seed (of training), best_step, pack, protocol, selection,
        pictures, scores (measure -> {mean, low, high, n}), differences (to the first run, paired by prompt and seed; likewise)}];
        ``comparable`` and ``reasons`` why not; ``knobs``: name -> value of every run, where they differ; ``shared``: [{prompt, seed,
        tokens, files and scores: of every run}], pictures that all have, in the first one's order of rank; ``subjects``: whose the runs
        are (``artifacts.subjects_of``).

    Raises:
        ArtifactError: a folder that holds no evaluation, or the same one twice.
    """
    folders = [find_evaluation(run) for run in runs]
    if len(set(folders)) < len(folders):
        raise ArtifactError(f"the same run was given twice: {', '.join(map(str, runs))}; name different ones")
    names = _names([Path(run) for run in runs])
    found = [_read(name, folder) for name, folder in zip(names, folders, strict=True)]
    first = found[0]
    keys = [key for key in first["rows"] if all(key in run["rows"] for run in found)]
    knobs = _differing([flatten(run["config"]) for run in found])
    reasons = _reasons(found)
    for run in found:
        run["differences"] = {} if run is first else _differences(first["rows"], run["rows"], keys)
    shared = [_shared(key, [run["rows"][key] for run in found]) for key in keys]
    told = [{key: value for key, value in run.items() if key not in ("rows", "config", "subjects")} for run in found]
    whose = subjects_of(*found)
    return {"runs": told, "comparable": not reasons, "reasons": reasons, "knobs": knobs, "shared": shared, "subjects": whose}


def render(compared: Mapping[str, Any]) -> str:
    """The page of a comparison that :func:`compare` made: one self-contained HTML file."""
    runs = compared["runs"]
    columns = [{"name": run["name"], "note": _note(run)} for run in runs]
    names = [run["name"] for run in runs]
    table = comparison({run["name"]: run["scores"] for run in runs}, names)
    for line in table:
        for cell, run in zip(line["cells"], runs, strict=True):
            cell["difference"] = run["differences"].get(line["measure"])
    shown = [{**row, "uris": [_small(file) for file in row["files"]]} for row in compared["shared"][:_ROWS]]
    rest = len(compared["shared"]) - len(shown)
    whose = compared["subjects"]
    return page.render("gallery.html.j2", whose, compared=compared, runs=runs, columns=columns, table=table, shown=shown, rest=rest)


def find_evaluation(run: str | Path) -> Path:
    """The ``evaluation/1`` folder that a run's folder is or holds; of several seeds the one that `train` chose, as ``search.json`` says, or
    else that with the best selection score.

    Raises ArtifactError where there is none.
    """
    folder = Path(run)
    kind = kind_of(folder)
    if kind == "evaluation":
        return folder.resolve()
    if kind == "results":
        evaluation = Path(read_manifest(folder, "results")["content"]["folders"]["evaluation"])
        if kind_of(evaluation) != "evaluation":
            raise ArtifactError(f"{folder}: its evaluation was at {evaluation} and is not there any more; run the pipeline again")
        return evaluation.resolve()
    chosen = _chosen(folder)
    places = [folder / "evaluation", *sorted(folder.glob("seed-*/evaluation"))] if chosen is None else [folder / chosen / "evaluation"]
    seeds = [path for path in places if kind_of(path) == "evaluation"]
    if not seeds:
        state = f"holds {kind!r}" if kind else "holds none" if folder.is_dir() else "does not exist"
        raise ArtifactError(
            f"{folder} {state}: expected an evaluation, a folder that `magicapture train` or `pipeline.py run` wrote, or one of its seeds"
        )
    return max(seeds, key=lambda path: selection_of(path)).resolve()


def _shared(key: Key, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    prompt, seed, tokens = key
    scores = [{measure: row[measure] for measure in MEASURES if row.get(measure) is not None} for row in rows]
    return {"prompt": prompt, "seed": seed, "tokens": tokens.split(), "files": [row["path"] for row in rows], "scores": scores}


def _small(file: str) -> str:
    return data_uri(read_png(Path(file).parent, Path(file).name), _SIDE)


def _chosen(folder: Path) -> str | None:
    """The candidate that `train` last chose: other seeds' evaluations may be of an earlier training in the same folder. None: not known."""
    try:
        winner = json.loads((folder / "search.json").read_text())["winner"]  # search.halving.RECORD
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return winner if isinstance(winner, str) else None


def selection_of(evaluation: str | Path) -> float:
    """The selection score of an ``evaluation/1`` folder; lowest of all where the judge found no face. Raises ArtifactError."""
    selection = read_manifest(evaluation, "evaluation")["content"]["selection"]
    return float("-inf") if selection is None else float(selection)


def _names(runs: Sequence[Path]) -> list[str]:
    """A short name for every run: as much of the end of its path as tells it from the others."""
    parts = [run.resolve().parts for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different folders have different paths")


def _read(name: str, folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder, "evaluation")
    scores = json.loads((folder / "scores.json").read_text())
    content, config = manifest["content"], manifest["config"]
    adapter = content.get("adapter") or {}
    own = scores["sets"]["portrait"]
    items = sorted((item for item in scores["items"] if item["kind"] == "portrait"), key=lambda item: item["rank"])
    rows: dict[Key, dict[str, Any]] = {}
    for item in items:
        key = (item["prompt"], item["seed"], " ".join(item.get("tokens", ())))
        rows.setdefault(key, {**item, "path": str(folder / item["file"])})
    return {
        "name": name,
        "evaluation": str(folder),
        "subject": (subject := (config.get("promotion") or {}).get("subject", "")),
        "subjects": subjects_of(manifest) or _named(subject),
        "style": (config.get("promotion") or {}).get("style", ""),
        "seed": adapter.get("seed"),
        "best_step": adapter.get("best_step"),
        "pack": config["pack"],
        "protocol": content["protocol"],
        "selection": content["selection"],
        "pictures": own["pictures"],
        "scores": {measure: own[measure] for measure in MEASURES if own.get(measure)},
        "rows": rows,
        "config": config,
    }


def _named(subject: str) -> dict[str, list[str]]:
    """Whose a run is that was written before manifests told."""
    return {} if subject in ("", UNNAMED) else {subject: []}


def _note(run: Mapping[str, Any]) -> str:
    seed = f", seed {run['seed']}" if run["seed"] is not None else ""
    return f"{run['pictures']} portraits{seed}"


def _differences(first: Mapping[Key, Any], other: Mapping[Key, Any], keys: Sequence[Key]) -> dict[str, dict[str, Any]]:
    """Measure -> {mean, low, high, n}: how much more `other` has, picture by picture, with a 95 % interval over the pictures."""
    differences = {}
    for measure in MEASURES:
        values = [
            other[key][measure] - first[key][measure]
            for key in keys
            if first[key].get(measure) is not None and other[key].get(measure) is not None
        ]
        if values:
            differences[measure] = interval(values)._asdict()
    return differences


def _reasons(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why the scores of these runs cannot be compared; empty where one protocol judged all."""
    if len({run["protocol"] for run in runs}) == 1:
        return []
    reasons = []
    if len({frozenset(run["rows"]) for run in runs}) > 1:
        reasons.append("their portraits are of different prompts or seeds")
    for section, what in (("evaluation", "the weights of the ranking"), ("postprocessing", "post-processing"), ("pack", "the pack")):
        if len({json.dumps(run["config"].get(section), sort_keys=True) for run in runs}) > 1:
            reasons.append(f"{what} differs")
    return reasons or ["they were measured against different photos or looks, or by another version of pack or scorer"]


def _differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Knob -> its value in every run, for knobs that are not the same in all; None where a run does not know it."""
    names = dict.fromkeys(name for config in configs for name in config)
    values = {name: [config.get(name) for config in configs] for name in names}
    return {name: own for name, own in values.items() if any(value != own[0] for value in own)}
