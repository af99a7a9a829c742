"""Line-up: is the person in the portraits the person in the photos?

People and looks that no model has seen are drawn by the renderer; every person is personalised in every look by the real
stages (preprocess to evaluate); then each person's five photos stand beside the portraits of four people in the same look,
in shuffled rows. A viewer picks a row; so does the referee, which had no part in training or selection.

    python -m benchmarks.lineup runs/lineup --people 4                # 4 people who differ in words, 1 look
    python -m benchmarks.lineup runs/matched --people 4 --matched     # 4 people whom the same words describe
    python -m benchmarks.lineup runs/try --people 4 --quick           # a few steps only: does it run?

Writes lineup.html (self-contained), lineup-<n>.png (one line-up each) and results.json; every pair keeps its stage folders and
is not run again by a second call. Settings are chosen on `--split validation`, reported on `--split test`.
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
from PIL import Image

from benchmarks.lineup_sheet import Lineup, Row, sheet_html, sheet_png
from benchmarks.pairs import Pair, claim, draw, draw_pictures, levels_of, source_embeddings
from magicapture import stages
from magicapture.artifacts import MANIFEST, read_manifest, write_bytes, write_json, write_text
from magicapture.config import Config, load_config
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.faces.prepared import PreparedSet, png
from magicapture.packs import load_pack
from magicapture.scoring.likeness import csim, normalised, separable
from magicapture.scoring.statistics import interval

SHOWN = 4
QUICK = ("inversion.steps=10", "tuning.steps=20", "tuning.sample_every=20", "generation.seeds=[1000,1001,1002,1003]")
KINDS = ("portrait", "attributes", "base")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0."""
    options = _parser().parse_args(arguments)
    config = load_config(options.config, ["training.threads=1", *(QUICK if options.quick else ()), *options.set])
    out: Path = options.out
    claim(out, {"people": options.people, "looks": options.looks, "matched": options.matched, "split": options.split}, config)
    groups = draw(out, options.people, options.looks, options.matched, options.split)
    pairs = [pair for group in groups for pair in group]
    started = time.monotonic()
    # A process a pair: what a pair leaves in memory ends with it, and two single-threaded ones use two cores.
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for done, pair in enumerate(pool.map(run_pair, pairs, [config] * len(pairs)), 1):
            print(f"{done} of {len(pairs)} pairs, {time.monotonic() - started:.0f} s: {pair.relative_to(out)}", flush=True)
    results = judge(groups, config)
    write_json(out / "results.json", {"options": json.loads((out / "options.json").read_text()), **results})
    lineups = build(groups, results)
    for i, lineup in enumerate(lineups):
        write_bytes(out / f"lineup-{i}.png", png(sheet_png(lineup)))
    write_text(out / "lineup.html", sheet_html(lineups, results["summary"], vars(options), results["postprocessing"]))
    for kind, line in results["summary"].items():
        print(f"{kind:10} " + "  ".join(f"{name} {_shown(value)}" for name, value in line.items()))
    if results["postprocessing"]:
        print("CSIM by post-processing  " + _shown(results["postprocessing"]["difference"]))
    print(out / "lineup.html")
    return 0


def run_pair(pair: Pair, config: Config) -> Path:
    """Draw a pair's pictures and run the stages from preprocess to evaluate; a stage whose artifact is there is not run again."""
    folder = pair.folder
    draw_pictures(pair)
    made = {name: folder / name for name in ("prepared", "tokens", "adapter", "images", "portraits", "evaluation")}
    checkpoints = folder / "checkpoints"
    steps = {
        "prepared": lambda: stages.preprocess(folder / "photos", folder / "looks", made["prepared"], config),
        "tokens": lambda: stages.invert(made["prepared"], made["tokens"], config, 0, checkpoints),
        "adapter": lambda: stages.tune(made["prepared"], made["tokens"], made["adapter"], config, 0, checkpoints),
        "images": lambda: stages.generate(made["adapter"], made["images"], config, None, None),
        "portraits": lambda: stages.postprocess(made["images"], made["portraits"], config),
        "evaluation": lambda: stages.evaluate(made["portraits"], made["prepared"], made["evaluation"], config),
    }
    for name, step in steps.items():
        if not (made[name] / MANIFEST).is_file():
            step()
    return folder


def judge(groups: Sequence[Sequence[Pair]], config: Config) -> dict[str, Any]:
    """The referee's line-up and likeness of every pair, and their means with intervals clustered by person.

    For each picture it picks, among the source sets of the group, the one with the highest mean cosine; a picture without a
    face is a wrong pick. `by_mean` picks once for a subject, by the mean over its pictures. Likeness is normalised by this
    person's own levels: real renders of the person and of matched strangers in the very look.
    """
    pack = load_pack(config.pack)
    detector, referee = FaceDetector(pack, "cpu"), Embedder(pack, "referee", "cpu")
    subjects: list[dict[str, Any]] = []
    processed: list[tuple[int, np.ndarray, np.ndarray]] = []
    for number, group in enumerate(groups):
        sources = [source_embeddings(pair, referee) for pair in group]
        for own, pair in enumerate(group):
            items = json.loads((pair.folder / "evaluation" / "scores.json").read_text())["items"]
            levels = levels_of(pair, sources[own], detector, referee, config.evaluation.strangers)
            entry: dict[str, Any] = {
                "group": number,
                "person": pair.seed,
                "look": pair.look.name,
                "folder": pair.folder.name,
                **levels,
                "kinds": {},
            }
            for kind in KINDS:
                rows = [item for item in items if item["kind"] == kind]
                if rows:
                    images = [np.array(Image.open(pair.folder / "evaluation" / row["file"]).convert("RGB")) for row in rows]
                    embeddings, found = referee.embed_faces(images, detector)
                    if kind == "portrait":
                        early = [np.array(Image.open(pair.folder / "evaluation" / row["before"]).convert("RGB")) for row in rows]
                        pairs = (referee.embed_faces(early, detector), (embeddings, found))
                        before, after = (np.where(seen, csim(made, sources[own]), np.nan) for made, seen in pairs)
                        processed.append((pair.seed, before, after))
                    entry["kinds"][kind] = score(embeddings, found, sources, own, levels) | {
                        name: [row[name] for row in rows] for name in ("head", "style", "aesthetic")
                    }
            subjects.append(entry)
    return {"subjects": subjects, "summary": summarise(subjects), "postprocessing": kept_likeness(processed)}


def score(embeddings: np.ndarray, found: np.ndarray, sources: Sequence[np.ndarray], own: int, levels: dict[str, float]) -> dict[str, Any]:
    """One subject's pictures of one kind: (n, D) embeddings with found (n,), against the source sets [(m, D)] of its group.

    picks: index of the nearest set, -1 without a face; by_mean: the nearest to all of them (-1 when no face was found);
    csim: raw cosine to the own set, None without a face; likeness: normalised, None where the levels do not allow it.
    """
    table = np.stack([csim(embeddings, each) for each in sources], 1)
    picks = np.where(found, table.argmax(1), -1)
    raw = [float(value) if face else None for value, face in zip(table[:, own], found, strict=True)]
    usable = separable(levels["genuine"], levels["stranger"])
    scaled = [None if s is None or not usable else float(normalised(np.array(s), levels["genuine"], levels["stranger"])) for s in raw]
    return {
        "own": own,
        "picks": picks.tolist(),
        "by_mean": int(table[found].mean(0).argmax()) if found.any() else -1,
        "csim": raw,
        "likeness": scaled,
    }


def summarise(subjects: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Kind -> measure -> {mean, low, high, n}: picks right per picture and per subject, likeness, CSIM, head, style, aesthetic."""
    summary: dict[str, Any] = {}
    for kind in KINDS:
        own = [(subject["person"], subject["kinds"][kind]) for subject in subjects if kind in subject["kinds"]]
        if not own:
            continue
        measures: dict[str, list[tuple[int, float]]] = {
            "right per picture": [(person, float(pick == entry["own"])) for person, entry in own for pick in entry["picks"]],
            "right per subject": [(person, float(entry["by_mean"] == entry["own"])) for person, entry in own],
        }
        for name in ("likeness", "csim", "head", "style", "aesthetic"):
            measures[name] = [(person, value) for person, entry in own for value in entry[name] if value is not None]
        summary[kind] = {
            name: interval([value for _, value in values], [person for person, _ in values])._asdict() if values else None
            for name, values in measures.items()
        }
    return summary


def kept_likeness(processed: Sequence[tuple[int, np.ndarray, np.ndarray]]) -> dict[str, Any] | None:
    """What post-processing does to the portraits' CSIM: (person, before (n,), after (n,)), NaN where no face was found.

    Only portraits with a face both times count. people: {person, before, after, n} each; before, after, difference (after - before):
    {mean, low, high, n}, clustered by person; lost: how many faces were found only before. None when no portrait counts.
    """
    people, clusters, values = [], [], []
    for person in dict.fromkeys(person for person, _, _ in processed):
        own = np.concatenate([np.stack(pair, 1) for who, *pair in processed if who == person])
        both = own[np.isfinite(own).all(1)]
        means = both.mean(0).tolist() if len(both) else [None, None]
        people.append({"person": person, "before": means[0], "after": means[1], "n": len(both)})
        clusters += [person] * len(both)
        values.append(both)
    table = np.concatenate([*values, np.empty((0, 2))])
    if not len(table):
        return None
    columns = {"before": table[:, 0], "after": table[:, 1], "difference": table[:, 1] - table[:, 0]}
    lost = sum(int((np.isfinite(before) & np.isnan(after)).sum()) for _, before, after in processed)
    return {"people": people, "lost": lost} | {name: interval(column, clusters)._asdict() for name, column in columns.items()}


def build(groups: Sequence[Sequence[Pair]], results: dict[str, Any]) -> list[Lineup]:
    """One line-up a pair: its photos, and the best-ranked portraits of everyone in its group in an order drawn from the pair's seed."""
    entries = iter(results["subjects"])
    lineups = []
    for number, group in enumerate(groups):
        portraits = [_portraits(pair) for pair in group]
        for own, pair in enumerate(group):
            order = np.random.default_rng([pair.seed, number]).permutation(len(group)).tolist()
            picked = next(entries)["kinds"]["portrait"]["by_mean"]
            lineups.append(
                Lineup(
                    title=f"{pair.look.name}, person {pair.seed}",
                    photos=[item.image() for item in PreparedSet.load(pair.folder / "prepared").source],
                    rows=[Row("ABCD"[place], portraits[member], member == own, member == picked) for place, member in enumerate(order)],
                )
            )
    return lineups


def _portraits(pair: Pair) -> list[np.ndarray]:
    folder = pair.folder / "evaluation"
    read_manifest(folder, "evaluation")
    items = [item for item in json.loads((folder / "scores.json").read_text())["items"] if item["kind"] == "portrait"]
    best = sorted(items, key=lambda item: item["rank"])[:SHOWN]
    return [np.array(Image.open(folder / item["file"]).convert("RGB")) for item in best]


def _shown(value: dict[str, Any] | None) -> str:
    if value is None:
        return "-"
    return f"{value['mean']:.2f}" + (f" [{value['low']:.2f}, {value['high']:.2f}]" if value["low"] is not None else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the pairs, the sheet and results.json")
    parser.add_argument("--people", type=int, default=4, choices=range(2, 401), metavar="N", help="2 to 400, in groups of four (default 4)")
    parser.add_argument("--looks", type=int, default=1, choices=range(1, 51), metavar="N", help="looks of each group (default 1)")
    parser.add_argument("--matched", action="store_true", help="the people of a group share skin, hair, beard and glasses")
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="whose people and looks (default validation)")
    parser.add_argument("--quick", action="store_true", help="few steps and portraits: shows that it runs, not how well")
    parser.add_argument("--jobs", type=int, default=1, help="pairs at once (default 1)")
    parser.add_argument("--config", default="mini", help="preset or YAML file (default mini)")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="override a knob")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
