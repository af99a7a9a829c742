"""The paper's table, re-run: every method on the same people and looks, with the same trainer.

    python -m benchmarks.method runs/method --people 10 --looks 3 --jobs 2      # the rendered world's test split
    python -m benchmarks.method runs/try --quick                                # one pair, a few steps: does it run?
    python -m benchmarks.method runs/photos --preset sd15 --people PEOPLE --looks LOOKS   # folders of folders of real pictures

Methods are presets and knobs (METHODS). Every pair of person and look is prepared once; every method then trains, draws 16 composed
portraits and is scored by networks that had no part in it: referee (raw CSIM, and likeness, 0 = a stranger of the same words, 1 =
another real picture), masked CLIP for the style, the aesthetic head. Methods whose first phase is the same share its tokens.
What is finished is kept, a line each in results.jsonl: the same call goes on after a stop, and where `--doc` names a file that list lies
in the folder beside it (docs/method), goes with the repository, and another machine goes on from it. After each pair the table of the
pairs that all methods have had, and a contact sheet of their portraits, which are kept beside the list, are written there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.method_rows import Results, answers, made_by, summarise
from benchmarks.method_scores import measure
from benchmarks.method_sheet import differences, table, write_document
from benchmarks.methods import METHODS, Case, Method, code, digest, seed_of
from benchmarks.needs import machine
from benchmarks.pairs import claim, draw_pictures, draw_unseen
from magicapture import stages
from magicapture.artifacts import MANIFEST, read_manifest, write_json
from magicapture.backbones import resolve_device
from magicapture.config import Config, load_config

PORTRAITS, FIRST_SEED = 16, 1000
INTERVALS = "Intervals are percentile bootstraps over the people; with ten of them they are about a sixth narrower than Student's."
QUICK = ("inversion.steps=4", "tuning.steps=6", "tuning.sample_every=0", "tuning.samples=1", "tuning.class_images=4")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0, or 1 where a training failed, which stops no other."""
    options = _parser().parse_args(arguments)
    out: Path = options.out
    chosen = options.methods or list(METHODS)
    configs = {name: configure(options.preset, METHODS[name], options.quick, options.set) for name in chosen}
    base = configure(options.preset, METHODS["magicapture"], options.quick, options.set)
    claim(out, {name: str(getattr(options, name)) for name in ("people", "looks", "split", "preset", "quick", "set")}, base)
    cases = cases_of(out, options.people, options.looks, options.split, options.quick)
    book = Results((options.doc.parent / options.doc.stem if options.doc else out) / "results.jsonl", out, configs)
    todo = {case: [name for name in chosen if not book.has(case.folder, name)] for case in cases}
    waiting = [case for case in cases if todo[case]]
    count, started, context = sum(map(len, todo.values())), time.monotonic(), multiprocessing.get_context("spawn")
    writing_table, failed = threading.Lock(), list[str]()

    def train(case: Case) -> None:
        """All that one pair lacks, a process a task: its memory is its own, and one that is killed ends no other pair."""
        try:
            with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as process:
                process.submit(prepare, case, base).result()
                for config in {tokens_of(case, configs[name]): configs[name] for name in todo[case]}.values():
                    process.submit(invert, case, config).result()
                for name in todo[case]:
                    row = process.submit(run_case, case, name, configs[name]).result()
                    book.keep_pictures(case, name, folder_of(case, name, configs[name]))
                    done = book.add(row)
                    print(f"{done} of {count}, {time.monotonic() - started:.0f} s: {case.folder.relative_to(out)} {name}", flush=True)
        except Exception:
            failed.append(f"{case.folder.relative_to(out)}:\n{traceback.format_exc()}")
            print(f"failed, and left for the next call: {failed[-1]}", file=sys.stderr, flush=True)
        try:
            report()
        except Exception:  # its rows are kept, and the next pair writes it
            print(f"the table was not written: {traceback.format_exc()}", file=sys.stderr, flush=True)

    def report() -> str:
        """The table of the pairs that every method has had, written too."""
        with writing_table:
            done = [case for case in cases if all(book.has(case.folder, name) for name in chosen)]
            known = {str(case.folder.relative_to(out)) for case in done}
            rows = [row for row in book.rows if row["method"] in chosen and row["case"] in known]
            if not done:
                return ""
            people, looks = (len({getattr(case, what) for case in done}) for what in ("person", "look"))
            told = f"{len(done)} of {len(cases)} pairs: {people} people, {looks} looks. {made_by(rows)} {INTERVALS}"
            pictures = [book.pictures(case.folder, chosen) for case in done]
            text = f"{table(chosen, summarise(rows))}\n\n{told}\n\n{differences(answers(rows))}"
            return write_document(options.doc, book.path.parent, pictures, chosen, text)

    # A pair at a time on each core, all its methods: a machine that is lost takes few finished steps with it.
    with ThreadPoolExecutor(options.jobs) as pairs:
        list(pairs.map(train, waiting))
    print(report())
    return 1 if failed else 0


def configure(base: str, method: Method, quick: bool = False, overrides: Sequence[str] = ()) -> Config:
    """The method's configuration on a base preset ("mini", "sd15"), with 16 portraits a pair and a thread a training."""
    preset = f"{base}-{method.preset}" if method.preset else base
    seeds = [FIRST_SEED + i for i in range(2 if quick else PORTRAITS)]
    return load_config(preset, ["training.threads=1", *method.knobs, *overrides, *(QUICK if quick else ()), f"generation.seeds={seeds}"])


def cases_of(out: Path, people: str, looks: str, split: str, quick: bool) -> list[Case]:
    """Numbers of people and looks of the rendered world, or folders that hold a folder of pictures for each."""
    if people.isdigit() and looks.isdigit():
        pairs = draw_unseen(out, *((1, 1) if quick else (int(people), int(looks))), split)
        return [Case(p.folder, p.folder / "photos", p.folder / "looks", str(p.seed), f"{p.look.name} {p.look.seed}", p) for p in pairs]
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
        stages.invert(case.folder / "prepared", tokens_of(case, config), config, seed_of(case), _checkpoints(case))


def folder_of(case: Case, name: str, config: Config) -> Path:
    """Of a method on a pair; other knobs, another folder."""
    return case.folder / f"{name}-{digest(config)}"


def run_case(case: Case, name: str, config: Config) -> dict[str, Any]:
    """Tune a method on a pair, draw, measure: the row; finished steps are not repeated."""
    folder, prepared = folder_of(case, name, config), case.folder / "prepared"
    made = {part: folder / part for part in ("adapter", "images", "evaluation", "portraits", "processed")}
    compared = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"baseline_images": 0})})
    steps = {
        "adapter": lambda: stages.tune(prepared, tokens_of(case, config), made["adapter"], config, seed_of(case), _checkpoints(case)),
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
    row: dict[str, Any] = {"case": str(case.folder), "person": case.person, "look": case.look, "method": name, "config": digest(config)}
    content = read_manifest(made["adapter"], "adapter")["content"]
    kept = {
        key: content[key]
        for key in ("best_step", "scores", "best_hash", "last_hash", "threads", "train_seconds", "step_seconds", "examples_seen")
    }
    row |= {"code": code(), "seed": content["seed"], "machine": f"{machine()}, {content['machine']['device']}", "adapter": kept}
    return row | {"cost": json.loads((folder / "cost.json").read_text())} | measure(case.pair, case.folder, made, config)


def _cost(adapter: Path, trained_here: bool, ran: float | None = None) -> dict[str, Any]:
    """{seconds, steps, megabytes: the peak of this process; None where another trained, which was killed before it could tell}.

    ``seconds``: in optimiser updates; ``ran``: the share of its time that a single-threaded process had a core, so that what runs beside
    it does not count.
    """
    content = read_manifest(adapter, "adapter")["content"]
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024) if trained_here else None
    seconds = content["step_seconds"] * (1.0 if ran is None else min(1.0, ran))
    return {"seconds": seconds, "steps": content["last_step"], "megabytes": peak}


def _checkpoints(case: Case) -> Path:
    """One folder for all: class pictures and latents are drawn once."""
    return case.folder.parents[1] / "checkpoints"


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
