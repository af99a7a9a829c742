"""The paper's table, re-run: every method on the same people and looks, with the same trainer.

    python -m benchmarks.method runs/method --people 10 --looks 3 --jobs 2      # the rendered world's test split
    python -m benchmarks.method runs/try --quick                                # one pair, a few steps: does it run?
    python -m benchmarks.method runs/photos --preset sd15 --people PEOPLE --looks LOOKS   # folders of folders of real pictures

Methods are presets and knobs (METHODS). Every pair of person and look is prepared once; every method then trains, draws 16 composed
portraits and is scored by networks that had no part in it: referee (raw CSIM, and likeness, 0 = a stranger of the same words, 1 =
another real picture), masked CLIP for the style, the aesthetic head. Methods whose first phase is the same share its tokens.
What is finished is kept, a line each in results.jsonl: the same call goes on after a stop, and where `--doc` names a file that list lies
in the folder beside it (docs/method), goes with the repository, and another machine goes on from it. After each pair the table of the
pairs that all methods have had, and a contact sheet of those that were trained here, are written there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.method_scores import collapsed, stray_attention, world_likeness
from benchmarks.method_sheet import write_document
from benchmarks.pairs import Pair, claim, draw, draw_pictures
from magicapture import stages
from magicapture.artifacts import MANIFEST, read_manifest, write_json, write_text
from magicapture.backbones import resolve_device
from magicapture.config import Config, load_config
from magicapture.packs import load_pack
from magicapture.scoring.statistics import interval


@dataclass(frozen=True)
class Method:
    """A row of the table: its name, the preset below `<base>-` it starts from ("" = the base itself), knobs, the paper's figures."""

    title: str
    preset: str = ""
    knobs: tuple[str, ...] = ()
    paper: tuple[float, float, float] | None = None  # CSIM, style, aesthetic


METHODS = {
    "magicapture": Method("MagiCapture", paper=(0.566, 0.730, 6.218)),
    "no-composed": Method("without composed prompts", knobs=("tuning.composed=false",), paper=(0.429, 0.717, 6.159)),
    "no-refocusing": Method("without Attention Refocusing", knobs=("tuning.lambda_attention=0",)),
    "neither": Method("without both", knobs=("tuning.composed=false", "tuning.lambda_attention=0"), paper=(0.429, 0.726, 6.178)),
    "no-identity": Method("without identity loss", knobs=("tuning.lambda_identity=0",)),
    "custom-diffusion": Method("Custom Diffusion", preset="custom-diffusion", paper=(0.436, 0.606, 5.263)),
    "textual-inversion": Method("Textual Inversion", preset="textual-inversion", paper=(0.224, 0.623, 5.670)),
    "dreambooth": Method("DreamBooth", preset="dreambooth", paper=(0.102, 0.720, 5.770)),
}
PROCESSED = "magicapture, processed"
PAPER_PROCESSED = (0.508, 0.737, 6.184)
PORTRAITS, FIRST_SEED = 16, 1000
QUICK = ("inversion.steps=4", "tuning.steps=6", "tuning.sample_every=0", "tuning.samples=1", "tuning.class_images=4")
_SCORES = {"csim": "referee", "likeness": "likeness", "style": "style", "aesthetic": "aesthetic"}  # their names in scores.json
MEASURES = ("csim", "likeness", "style", "aesthetic", "collapsed", "stray")


@dataclass(frozen=True)
class Case:
    """One person in one look: where its photos, looks and artifacts lie; `pair` says who is drawn there (None: real photos)."""

    folder: Path
    photos: Path
    looks: Path
    person: str
    look: str
    pair: Pair | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0."""
    options = _parser().parse_args(arguments)
    out: Path = options.out
    chosen = options.methods or list(METHODS)
    configs = {name: configure(options.preset, METHODS[name], options.quick, options.set) for name in chosen}
    base = configure(options.preset, METHODS["magicapture"], options.quick, options.set)
    claim(out, {name: str(getattr(options, name)) for name in ("people", "looks", "split", "preset", "quick", "set")}, base)
    cases = cases_of(out, options.people, options.looks, options.split, options.quick)
    book = Results((options.doc.parent / options.doc.stem if options.doc else out) / "results.jsonl", out)
    todo = {case: [name for name in chosen if not book.has(case.folder, name)] for case in cases}
    waiting = [case for case in cases if todo[case]]
    count, started, context = sum(map(len, todo.values())), time.monotonic(), multiprocessing.get_context("spawn")
    writing_table = threading.Lock()

    def train(case: Case) -> None:
        """All that one pair lacks, a process a task: what a method needs of memory is its own."""
        pool.submit(prepare, case, base).result()
        for config in {tokens_of(case, configs[name]): configs[name] for name in todo[case]}.values():
            pool.submit(invert, case, config).result()
        for name in todo[case]:
            done = book.add(pool.submit(run_case, case, name, configs[name]).result())
            print(f"{done} of {count}, {time.monotonic() - started:.0f} s: {case.folder.relative_to(out)} {name}", flush=True)
        report()

    def report() -> str:
        """The table of the pairs that every method has had, written too."""
        with writing_table:
            done = [case for case in cases if all(book.has(case.folder, name) for name in chosen)]
            known = {str(case.folder.relative_to(out)) for case in done}
            summary = summarise([row for row in book.rows if row["method"] in chosen and row["case"] in known])
            return write_document(options.doc, out, done, chosen, summary, len(cases)) if done else ""

    # A pair at a time on each core, all its methods: a machine that is lost takes few finished steps with it.
    with ProcessPoolExecutor(options.jobs, mp_context=context, max_tasks_per_child=1) as pool, ThreadPoolExecutor(options.jobs) as pairs:
        list(pairs.map(train, waiting))
    print(report())
    return 0


class Results:
    """The finished rows (:func:`measure`) of one set of options, a line of JSON each after a line with the options.

    Raises SystemExit for a file of other options.
    """

    def __init__(self, path: Path, out: Path) -> None:
        self.path, self.out, self.rows = path, out, list[dict[str, Any]]()
        self.added, self._lock = 0, threading.Lock()
        options = {"options": json.loads((out / "options.json").read_text())}
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(options) + "\n")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        if lines[0] != options:
            raise SystemExit(f"{path} holds results of other options, knobs or another pack; move it away")
        self.rows = lines[1:]

    def has(self, case: Path, method: str) -> bool:
        """Whether that pair's row is there."""
        return any((row["case"], row["method"]) == (str(case.relative_to(self.out)), method) for row in self.rows)

    def add(self, row: dict[str, Any]) -> int:
        """Keep a finished row; returns how many were added since the start."""
        row = row | {"case": str(Path(row["case"]).relative_to(self.out))}
        with self._lock:
            self.rows.append(json.loads(json.dumps(row), parse_float=lambda number: round(float(number), 5)))
            write_text(self.path, self.path.read_text() + json.dumps(self.rows[-1]) + "\n")
            self.added += 1
            return self.added


def configure(base: str, method: Method, quick: bool = False, overrides: Sequence[str] = ()) -> Config:
    """The method's configuration on a base preset ("mini", "sd15"), with 16 portraits a pair and a thread a training."""
    preset = f"{base}-{method.preset}" if method.preset else base
    seeds = [FIRST_SEED + i for i in range(2 if quick else PORTRAITS)]
    return load_config(preset, ["training.threads=1", *method.knobs, *overrides, *(QUICK if quick else ()), f"generation.seeds={seeds}"])


def cases_of(out: Path, people: str, looks: str, split: str, quick: bool) -> list[Case]:
    """Numbers of people and looks of the rendered world, or folders that hold a folder of pictures for each."""
    if people.isdigit() and looks.isdigit():
        groups = draw(out, *((1, 1) if quick else (int(people), int(looks))), matched=False, split=split)
        pairs = sorted((pair for group in groups for pair in group), key=lambda pair: pair.folder)  # everybody's first look first
        return [Case(p.folder, p.folder / "photos", p.folder / "looks", str(p.seed), p.look.name, p) for p in pairs]
    given = [Path(folder) for folder in (people, looks)]
    folders = [sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else [] for folder in given]
    if not all(folders):
        raise SystemExit(
            f"--people {people} --looks {looks}: expected two numbers, or two folders that hold a folder for each person and look"
        )
    return [Case(out / look.name / person.name, person, look, person.name, look.name) for person in folders[0] for look in folders[1]]


def prepare(case: Case, config: Config) -> None:
    """The pictures of a rendered pair, and the prepared set that all methods share."""
    if case.pair is not None:
        draw_pictures(case.pair)
    if not (case.folder / "prepared" / MANIFEST).is_file():
        stages.preprocess(case.photos, case.looks, case.folder / "prepared", config)


def tokens_of(case: Case, config: Config) -> Path:
    """Where the pair's tokens of phase 1 lie; of all methods whose first phase is the same, in one place."""
    return case.folder / f"tokens-{config.digest('training', 'inversion')[:12]}"


def invert(case: Case, config: Config) -> None:
    """Phase 1 of a pair."""
    if not (tokens_of(case, config) / MANIFEST).is_file():
        stages.invert(case.folder / "prepared", tokens_of(case, config), config, 0, _checkpoints(case))


def run_case(case: Case, name: str, config: Config) -> dict[str, Any]:
    """Tune a method on a pair, draw, measure: the row; finished steps are not repeated."""
    folder, prepared = case.folder / name, case.folder / "prepared"
    made = {part: folder / part for part in ("adapter", "images", "evaluation", "portraits", "processed")}
    compared = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"baseline_images": 0})})
    steps = {
        "adapter": lambda: stages.tune(prepared, tokens_of(case, config), made["adapter"], config, 0, _checkpoints(case)),
        "images": lambda: stages.generate(made["adapter"], made["images"], config if name == "magicapture" else compared, None, None),
        "evaluation": lambda: stages.evaluate(made["images"], prepared, made["evaluation"], config),
    }
    if name == "magicapture":
        steps["portraits"] = lambda: stages.postprocess(made["images"], made["portraits"], config)
        steps["processed"] = lambda: stages.evaluate(made["portraits"], prepared, made["processed"], config)
    for part, step in steps.items():
        done, wall, cpu = (made[part] / MANIFEST).is_file(), time.monotonic(), time.process_time()
        if not done:
            step()
        if part == "adapter" and not (folder / "cost.json").is_file():
            ran = (
                (time.process_time() - cpu) / (time.monotonic() - wall)
                if resolve_device(config.device).type == "cpu" and not done
                else None
            )
            write_json(folder / "cost.json", _cost(made["adapter"], not done, ran))
    return measure(case, name, made, config) | json.loads((folder / "cost.json").read_text())


def _cost(adapter: Path, trained_here: bool, ran: float | None = None) -> dict[str, Any]:
    """{seconds, steps, megabytes: the peak of this process; None where another trained, which was killed before it could tell}.

    ``ran``: the share of its time that a single-threaded process had a core, so that what runs beside it does not count.
    """
    content = read_manifest(adapter, "adapter")["content"]
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024) if trained_here else None
    seconds = content["train_seconds"] * (1.0 if ran is None else min(1.0, ran))
    return {"seconds": seconds, "steps": content["last_step"], "megabytes": peak}


def measure(case: Case, name: str, made: dict[str, Path], config: Config) -> dict[str, Any]:
    """Kind of picture ("portrait", for MagiCapture also "attributes", "base", "processed") -> measure -> a value a picture, None where
    there is no face; `stray`: attention mass outside of its region, a value a token and picture of the look."""
    pack = load_pack(config.pack)
    sets: dict[str, dict[str, list[Any]]] = {}
    for part, folder in (("", made["evaluation"]), ("processed", made["processed"])):
        if not (folder / MANIFEST).is_file():
            continue
        items = json.loads((folder / "scores.json").read_text())["items"]
        for kind in dict.fromkeys(item["kind"] for item in items):
            if part and kind != "portrait":
                continue
            rows = [item for item in items if item["kind"] == kind]
            given = {name: [row[key] for row in rows] for name, key in _SCORES.items()}
            if case.pair is not None:
                given["likeness"] = world_likeness(case.pair, pack, given["csim"], config.evaluation.strangers)
            sets[part or kind] = given
    files = [made["evaluation"] / f"{row['file']}" for row in _portraits(made["evaluation"])]
    sets["portrait"]["collapsed"] = collapsed(files, case.folder / "prepared", pack)
    sets["portrait"]["stray"] = stray_attention(made["adapter"], case.folder / "prepared", config)
    return {"case": str(case.folder), "person": case.person, "look": case.look, "method": name, "sets": sets}


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Row of the table -> measure -> {mean, low, high, n}, clustered by person; with `seconds` a step and `megabytes` (means over pairs,
    the latter over those that it is known of).

    Rows: the methods, then "magicapture, processed", "attributes" (person and look told in words) and "base" (untuned).
    """
    table: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for row in rows:
        for kind, values in row["sets"].items():
            label = row["method"] if kind == "portrait" else PROCESSED if kind == "processed" else kind
            table.setdefault(label, []).append((row["person"], values))
    summary: dict[str, dict[str, Any]] = {}
    for label, entries in table.items():
        summary[label] = {}
        for name in MEASURES:
            found = [(person, value) for person, values in entries for value in values.get(name, ()) if value is not None]
            clusters = [person for person, _ in found]
            summary[label][name] = interval([value for _, value in found], clusters)._asdict() if found else None
        own = [row for row in rows if row["method"] == label]
        if own:
            summary[label]["seconds"] = float(np.mean([row["seconds"] / max(1, row["steps"]) for row in own]))
            if known := [row["megabytes"] for row in own if row["megabytes"] is not None]:
                summary[label]["megabytes"] = float(np.mean(known))
    return summary


def _checkpoints(case: Case) -> Path:
    """One folder for all: class pictures and latents are drawn once."""
    return case.folder.parents[1] / "checkpoints"


def _portraits(folder: Path) -> list[dict[str, Any]]:
    return [item for item in json.loads((folder / "scores.json").read_text())["items"] if item["kind"] == "portrait"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the pairs")
    parser.add_argument("--people", default="10", help="how many of the split, or a folder of folders of photos (default 10)")
    parser.add_argument("--looks", default="3", help="how many for each person, or a folder of folders of looks (default 3)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD", help=f"default all: {', '.join(METHODS)}")
    parser.add_argument("--preset", default="mini", help="base preset; methods add to its name (default mini)")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="whose people and looks (default test)")
    parser.add_argument("--doc", type=Path, help="write the table here (docs/method.md) and a contact sheet beside it")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once (default 1)")
    parser.add_argument("--quick", action="store_true", help="one pair, few steps: shows that it runs, not how well")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="override a knob of every method")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
