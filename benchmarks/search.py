"""One training against a search: is the best of four seeds, the weak ones stopped early, more like the person?

People and looks that no model has seen are drawn by the renderer. Each is personalised twice by the real stages: from one seed, and by a
search over four with successive halving (``magicapture.search``), each with checkpoints of its own, so that neither spares the other work.
The judge chooses, on the validation prompts; the referee, which had no part in it, measures both on the same prompts and seeds.

    python -m benchmarks.search runs/search --people 10
    python -m benchmarks.search runs/try --people 1 --quick        # a few steps only: does it run?

Writes results.json: every person's figures, and likeness, CSIM and head of both, their difference in pairs of a picture (the same person,
look, prompt and seed), intervals clustered by person; cost in steps and in CPU seconds. Finished runs are kept: the same call goes on after
a stop. Settings are chosen on `--split validation`, reported on `--split test`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.method_scores import levels_in, scaled
from benchmarks.pairs import Pair, claim, draw_pictures, draw_unseen
from magicapture import search, stages
from magicapture.artifacts import MANIFEST, read_manifest, write_json
from magicapture.config import Config, load_config
from magicapture.scoring.statistics import interval

QUICK = ("inversion.steps=6", "tuning.steps=32", "tuning.sample_every=8", "tuning.samples=2", "generation.seeds=[1000,1001]")
MEASURES = {"likeness": "likeness", "csim": "referee", "head": "head", "style": "style"}  # their names in scores.json
WAYS = ("one", "searched")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0."""
    options = _parser().parse_args(arguments)
    out: Path = options.out
    config = load_config(
        options.config, ["training.threads=1", "evaluation.baseline_images=0", *(QUICK if options.quick else ()), *options.set]
    )
    claim(out, {name: getattr(options, name) for name in ("people", "split", "seeds")}, config)
    pairs = draw_unseen(out, options.people, 1, options.split)
    started = time.monotonic()
    # A process a run: its CPU seconds and its memory are its own, and two single-threaded ones use two cores.
    tasks = [(pair, way, _config(config, way, options.seeds)) for pair in pairs for way in WAYS]
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        list(pool.map(prepare, pairs, [config] * len(pairs)))
        for done, (pair, way) in enumerate(pool.map(run_pair, *zip(*tasks, strict=True)), 1):
            print(f"{done} of {len(tasks)}, {time.monotonic() - started:.0f} s: {pair} {way}", flush=True)
    people = [measure(pair, config) for pair in pairs]
    summary = summarise(people)
    write_json(out / "results.json", {"options": json.loads((out / "options.json").read_text()), "summary": summary, "people": people})
    print(json.dumps(summary, indent=2))
    print(out / "results.json")
    return 0


def prepare(pair: Pair, config: Config) -> None:
    """The pictures of a person and a look, and the prepared set that both ways share."""
    draw_pictures(pair)
    if not (pair.folder / "prepared" / MANIFEST).is_file():
        stages.preprocess(pair.folder / "photos", pair.folder / "looks", pair.folder / "prepared", config)


def run_pair(pair: Pair, way: str, config: Config) -> tuple[str, str]:
    """One person by one way, from the prepared set to scores below ``<pair>/<way>``; what is finished is not run again."""
    prepared = pair.folder / "prepared"
    found = search.run(prepared, pair.folder / way, config)
    images, evaluation = found.folder / "images", found.folder / "evaluation"
    if not (evaluation / MANIFEST).is_file():
        stages.generate(found.adapter, images, config)
        stages.evaluate(images, prepared, evaluation, config)
    return pair.folder.name, way


def measure(pair: Pair, config: Config) -> dict[str, Any]:
    """What one person came to: way -> {winner, judge, cost, measure -> a value a picture by prompt and seed, None without a face}."""
    ways = {}
    for way in WAYS:
        folder = pair.folder / way
        record = json.loads((folder / "search.json").read_text())
        winner = record["winner"]
        read_manifest(folder / winner / "evaluation", "evaluation")
        items = json.loads((folder / winner / "evaluation" / "scores.json").read_text())["items"]
        rows = sorted((item for item in items if item["kind"] == "portrait"), key=lambda item: (item["prompt"], item["seed"]))
        values = {name: [row[key] for row in rows] for name, key in MEASURES.items()}
        values["likeness"] = scaled(values["csim"], levels_in(pair.folder, pair, config))
        ways[way] = {"winner": winner, "judge": record["candidates"][winner]["checks"][-1]["judge"], "cost": record["cost"], **values}
    return {"person": pair.seed, "look": pair.look.name, "ways": ways}


def summarise(people: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Measure -> {one, searched, difference (searched - one), gain (difference as a share of one's mean)}; ``cost`` likewise in ratios.

    Each of the first three {mean, low, high, n}, clustered by person, over the pictures in which both ways found a face; ``lost``: how many
    have a face in one of them alone.
    """
    summary: dict[str, Any] = {}
    for name in MEASURES:
        values = [
            (entry["person"], one, searched)
            for entry in people
            for one, searched in zip(*(entry["ways"][way][name] for way in WAYS), strict=True)
        ]
        both = [(person, one, searched) for person, one, searched in values if one is not None and searched is not None]
        if not both:
            summary[name] = None
            continue
        clusters = [person for person, _, _ in both]
        table = np.array([[one, searched] for _, one, searched in both])
        columns = {"one": table[:, 0], "searched": table[:, 1], "difference": table[:, 1] - table[:, 0]}
        summary[name] = {column: interval(row, clusters)._asdict() for column, row in columns.items()}
        mean = summary[name]["one"]["mean"]
        summary[name]["gain"] = summary[name]["difference"]["mean"] / mean if mean > 0 else None
        summary[name]["lost"] = sum((one is None) != (searched is None) for _, one, searched in values)
    costs = [[entry["ways"][way]["cost"] for way in WAYS] for entry in people]
    ratios = {unit: [searched[unit] / one[unit] for one, searched in costs] for unit in ("steps", "cpu_seconds")}
    summary["cost"] = {unit: {**interval(values)._asdict(), "greatest": max(values)} for unit, values in ratios.items()}
    summary["same winner"] = sum(entry["ways"]["one"]["winner"] == entry["ways"]["searched"]["winner"] for entry in people)
    return summary


def _config(config: Config, way: str, seeds: int) -> Config:
    return load_config(config, [f"search.seeds={seeds if way == 'searched' else 1}"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the people and results.json")
    parser.add_argument("--people", type=int, default=10, choices=range(1, 401), metavar="N", help="how many of the split (default 10)")
    parser.add_argument("--seeds", type=int, default=4, choices=range(2, 65), metavar="N", help="seeds of the search (default 4)")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="whose people and looks (default test)")
    parser.add_argument("--quick", action="store_true", help="few steps and portraits: shows that it runs, not how well")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default 1)")
    parser.add_argument("--config", default="mini", help="preset or YAML file (default mini)")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="override a knob of both")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
