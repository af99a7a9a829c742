"""How well the quality gate judges photos: 200 good and 200 bad ones of ten kinds, of rendered people.

    python -m benchmarks.quality runs/quality --doc docs/quality.md

Ten good photos of a person in ten looks and one bad photo of every kind, 512 px JPEG (``quality_pictures``), of forty people of the
validation split and twenty of the test split; each person's folder is judged as `magicapture check` judges it. The thresholds are
calibrated on the validation split, where every measure is taken with the gate wide open, and the figures are of the test split. A bad
photo counts as recognised when it is set aside and its fault is the first one named. Advice on whole sets is judged by sets that have one
pose, or one place and light. The pictures are kept in OUT and not drawn again.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.quality_pictures import Label, write_photos, write_sets
from magicapture.artifacts import write_json, write_text
from magicapture.config import Config, load_config
from magicapture.references.check import check
from magicapture.references.prepare import Preparer
from magicapture.references.quality import spread

PEOPLE = 20
#: Number of a split's first person. The test split's 0 to 79 were looked at while the gate was being mended.
FIRST = {"validation": 0, "test": 80}
#: Measure -> problem it recognises, knob, and whether more of it is worse.
MEASURES = {
    "gap": ("cut off", "rim", False),
    "share": ("small face", "far_face", False),
    "brightest": ("too dark", "min_brightness", False),
    "burnt": ("burnt out", "max_burnt", True),
    "sharpness": ("blurred", "min_sharpness", False),
    "tilt": ("tilted", "max_tilt", True),
    "turn": ("turned away", "max_turn", True),
    "visible": ("covered", "min_visible", False),
    "likeness": ("other person", "same_person", False),
}
#: How photos of a set may be alike -> the set drawn so, and the knob.
ALIKE = {"pose": ("pose", "same_pose"), "light": ("place", "same_light"), "background": ("place", "same_background")}
#: The gate wide open: everything is measured that can be.
OPEN = (
    "rim=0", "far_face=0", "min_face=0.02", "min_side=16", "min_brightness=0", "max_burnt=1", "min_sharpness=0", "max_tilt=180",
    "max_turn=100", "min_visible=0", "same_person=-1", "duplicate_distance=0",
)  # fmt: skip
START, END = "<!-- figures: python -m benchmarks.quality -->", "<!-- end of figures -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0."""
    options = _parser().parse_args(arguments)
    logging.disable(logging.WARNING)
    cv2.setNumThreads(1)
    config = load_config(options.config)
    people = {"validation": 2 * options.people, "test": options.people}
    rows = {split: photos(options.out / split, split, range(first, first + people[split])) for split, first in FIRST.items()}
    gate = judged(rows["test"], config)
    wide = load_config(config, [f"preprocess.{knob}" for knob in OPEN])
    curves = rocs(measured(rows["validation"], wide), config) | alike(options.out, rows["validation"], wide, config)
    results = {"people": options.people, "gate": summary(gate), "rocs": curves, "missed": [row for row in gate if not row["right"]]}
    write_json(options.out / "results.json", results)
    text = table(results)
    print(text)
    if options.doc:
        before, _, rest = options.doc.read_text().partition(START)
        write_text(options.doc, f"{before}{START}\n\n{text}\n{END}{rest.partition(END)[2]}")
    return 0


Photos = dict[Path, list[Label]]


def photos(out: Path, split: str, people: Iterable[int]) -> Photos:
    """Folder of each person -> what its files are; drawn where they are missing."""
    return {out / f"{number:02d}": write_photos(out / f"{number:02d}", split, number) for number in people}


def judged(rows: Photos, config: Config) -> list[dict[str, Any]]:
    """Verdict on every photo: {folder, file, kind, expected, verdict, problems, reason, right}."""
    out = []
    for folder, labels in rows.items():
        verdicts = {verdict.name: verdict for verdict in check(folder / "photos", config).verdicts}
        for label in labels:
            verdict = verdicts[label.file]
            named = [finding.problem for finding in verdict.severe]
            right = named[:1] == [label.problem] if label.kind else not named
            entry = {"folder": folder.name, "file": label.file, "kind": label.kind, "expected": label.problem, "verdict": verdict.word}
            out.append({**entry, "problems": named, "reason": verdict.reason, "right": right})
    return out


def measured(rows: Photos, config: Config) -> list[tuple[str, dict[str, float]]]:
    """(problem, "" for a good photo; measures) of every photo that could be measured. ``likeness`` is to the person's good photos."""
    out = []
    preparer = Preparer(config)
    for folder, labels in rows.items():
        known = {label.file: label for label in labels}
        candidates = preparer.judge("source", [folder / "photos" / label.file for label in labels if label.problem != "duplicate"])
        embeddings = preparer.embed("recogniser", [candidate.picture for candidate in candidates])
        good = np.array([not known[candidate.picture.name].kind for candidate in candidates])
        for index, candidate in enumerate(candidates):
            others = embeddings[good & (np.arange(len(good)) != index)].sum(0)
            likeness = float(embeddings[index] @ others / max(float(np.linalg.norm(others)), 1e-12))
            values = candidate.verdict("source", likeness=likeness).measures
            out.append((known[candidate.picture.name].problem, {name: abs(values[name]) for name in MEASURES}))
    return out


def alike(out: Path, rows: Photos, wide: Config, config: Config) -> dict[str, Any]:
    """The same for what sets of photos are judged by; the good ones are four good photos of each person."""
    preparer, found = Preparer(wide), dict[str, list[dict[str, float]]]()
    for folder in rows:
        varied = {"": [folder / "photos" / f"good-{index}.jpg" for index in range(4)]}
        for name, files in (varied | write_sets(out / "sets" / folder.name, "validation", int(folder.name))).items():
            kept = [(c.measures, c.picture) for c in preparer.judge("source", files) if c.measures]
            found.setdefault(name, []).append(spread(*zip(*kept, strict=True)))
    curves = {}
    for name, (drawn, knob) in ALIKE.items():
        bad, good = (-np.array([values[name] for values in found[which]]) for which in (drawn, ""))
        curves[name] = {"problem": f"same {name}", "knob": knob} | _roc(bad, good, -1.0, float(getattr(config.preprocess, knob)))
    return curves


def summary(gate: list[dict[str, Any]]) -> dict[str, Any]:
    """Kind -> {n, right, aside}, and of the good ones {n, refused, warned}."""
    kinds = list(dict.fromkeys(row["kind"] for row in gate if row["kind"]))
    bad = {kind: [row for row in gate if row["kind"] == kind] for kind in kinds}
    good = [row for row in gate if not row["kind"]]
    return {
        "bad": {
            kind: {
                "n": len(own),
                "aside": sum(row["verdict"] == "set aside" for row in own),
                "right": sum(row["right"] for row in own),
            }
            for kind, own in bad.items()
        },
        "good": {"n": len(good)} | {word: sum(row["verdict"] == word for row in good) for word in ("use", "warn", "set aside")},
    }


def rocs(rows: list[tuple[str, dict[str, float]]], config: Config) -> dict[str, Any]:
    """Measure -> {problem, knob, limit, n, auc, found, refused: shares at the limit, curve: {share refused: share found}}."""
    out = {}
    for name, (problem, knob, more) in MEASURES.items():
        sign = 1.0 if more else -1.0
        bad, good = (sign * np.array([values[name] for what, values in rows if what == wanted]) for wanted in (problem, ""))
        if len(bad) and len(good):
            out[name] = {"problem": problem, "knob": knob} | _roc(bad, good, sign, float(getattr(config.preprocess, knob)))
    return out


def _roc(bad: np.ndarray, good: np.ndarray, sign: float, limit: float) -> dict[str, Any]:
    """Of values (n,) of which more is worse (``sign`` times the measure)."""
    auc = float((bad[:, None] > good).mean() + (bad[:, None] == good).mean() / 2)
    at = {str(share): float((bad > np.quantile(good, 1 - share, method="higher")).mean()) for share in (0.0, 0.01, 0.02, 0.05)}
    edge = {"worst good": sign * float(good.max()), "mildest bad": sign * float(bad.min())}
    shares = {"found": float((bad > sign * limit).mean()), "refused": float((good > sign * limit).mean())}
    return {"limit": limit, "n": len(bad), "auc": auc, **shares, **edge, "curve": at}


def table(results: dict[str, Any]) -> str:
    """Both tables in Markdown."""
    bad, good = results["gate"]["bad"], results["gate"]["good"]
    total = {key: sum(row[key] for row in bad.values()) for key in ("n", "aside", "right")}
    lines = ["| bad photos, test split | photos | set aside | for the right reason |", "| --- | --- | --- | --- |"]
    lines += [f"| {kind} | {row['n']} | {row['aside']} | {row['right']} |" for kind, row in bad.items()]
    lines += [f"| **all** | {total['n']} | {total['aside'] / total['n']:.1%} | {total['right'] / total['n']:.1%} |", ""]
    lines += [
        f"Of {good['n']} good photos of the test split {good['set aside']} were refused ({good['set aside'] / good['n']:.1%}) and "
        f"{good['warn']} used with a warning ({good['warn'] / good['n']:.1%}).",
        "",
        "| measure | recognises | knob, and its limit | photos or sets | area under ROC | found at the limit | good refused at it | found "
        "while 0, 1, 2, 5 % of the good are refused |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {row['problem']} | `{row['knob']}` {row['limit']:g} | {row['n']} | {row['auc']:.3f} | {row['found']:.0%} | "
        f"{row['refused']:.1%} | {', '.join(f'{value:.0%}' for value in row['curve'].values())} |"
        for name, row in results["rocs"].items()
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the pictures and results.json")
    parser.add_argument(
        "--people",
        type=int,
        default=PEOPLE,
        help="of the test split, twenty photos of each; of the other twice as many (default %(default)s)",
    )
    parser.add_argument("--config", default="mini", help="preset or YAML file (default mini)")
    parser.add_argument("--doc", type=Path, help="file that gets the tables, between its two marks")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
