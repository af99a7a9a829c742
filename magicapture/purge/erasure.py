"""The erasure itself: a plan of what is a person's, its removal within the folders given, and a second look.

The plan is kept in the first folder until all is gone (``.purge-KEY.json``): what proves that a file is this person's may be removed
before the file is, and the process may be killed. Then it is removed too.
"""

from __future__ import annotations

import difflib
import json
import os
import shlex
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from magicapture.artifacts import MANIFEST, lineage_key, sha256_file, write_json
from magicapture.data.address import shown
from magicapture.data.erasure import find_pictures, git_paths
from magicapture.purge import traces
from magicapture.purge.mentions import mentions
from magicapture.registry.erasure import Tracked, erase_tracked, find_mentions, find_tracked, store_folders
from magicapture.registry.tracking import tracking_uri

RECORD = "purges.jsonl"
ELSEWHERE = [
    (
        "Kubeflow Pipelines: its runs, cache and object store, if this person was ever trained on a cluster",
        "delete the runs and what lies under their names in the object store; see docs/operate.md",
    ),
    ("back-ups of any of these folders, of the database and of the buckets", "let them expire, or delete those older than this erasure"),
]
UNSEEN = ("no MLflow store was looked at", "set MLFLOW_TRACKING_URI to where the runs were tracked, and give the same command again")


class PurgeError(ValueError):
    """A person or folder that cannot be erased: says what was given, where was looked, and what to do."""


@dataclass
class Plan:
    """What is a person's. ``paths``: file or folder -> kind; ``proof``: hashes and ids by which it is found again; ``others``: who else is
    in those sets; ``people``: groups of photos under the name that have none in common; ``retained``: (what keeps it, how to
    clear it); ``mentions``: what else may be the person's, and stays (path, "name" or "text" where the name stands in it, or why);
    ``journals``: plans of an erasure that was cut off, which this one goes on with; ``folders``: all that were given, the photos' too."""

    subject: str
    roots: list[Path]
    paths: dict[Path, str] = field(default_factory=dict)
    proof: dict[str, list[str]] = field(default_factory=dict)
    tracked: Tracked | None = None
    others: list[str] = field(default_factory=list)
    people: int = 1
    retained: list[tuple[str, str]] = field(default_factory=list)
    mentions: list[tuple[str, str]] = field(default_factory=list)
    resumed: bool = False
    journals: list[Path] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.paths or self.tracked or self.resumed)

    def kinds(self) -> dict[str, int]:
        """How many of each kind."""
        tracked = self.tracked or Tracked()
        counted = Counter(self.paths.values()) + Counter(
            {"MLflow run": len(tracked.runs), "logged model": len(tracked.models), "model version": len(tracked.versions),
             "registered model": len(tracked.registered)}
        )  # fmt: skip
        return dict(sorted(counted.items()))


@dataclass
class Report:
    """What was removed (``kinds``, ``files``, ``bytes``), and what the second look found: ``left`` (path or place of it), ``retained``."""

    kinds: dict[str, int]
    files: int
    bytes: int
    left: list[str]
    retained: list[tuple[str, str]]


def find(subject: str, folders: Sequence[Path], photos: Sequence[Path] = (), repository: Path | None = None) -> Plan:
    """Look for a person below the folders, in the repository of pictures and in MLflow; nothing is written.

    ``photos``: folders of photos that are known to be this person's; they are read, and removed only as far as they lie below
    ``folders``. Raises PurgeError for a folder that does not exist, and for a name that nothing is of.
    """
    if not subject.strip() or "/" in subject or subject in (".", ".."):
        raise PurgeError(f"subject {subject!r}: expected the name of a person, as that of the folder with the photos, without any /")
    journals = [path for folder in folders if (path := _journal(folder.resolve(), subject)).is_file()]
    told = {place for path in journals for place in _read(path).get("folders", [])}
    gone = [folder for folder in (*folders, *photos) if str(folder.absolute()) in told and not folder.exists()]  # by what is gone on with
    roots = _roots([folder for folder in folders if folder not in gone])
    photos = [folder for folder in photos if folder not in gone]
    known = {sha256_file(path) for folder in photos for path in _photos(folder)}
    pictures = find_pictures(repository or Path(), subject)
    within = _within(pictures.root) if pictures is not None else []
    journals += [path for folder in within if (path := _journal(folder.resolve(), subject)).is_file() and path not in journals]
    if pictures is not None and (pictures.paths or repository is not None or journals):
        roots = _roots([*roots, *within])
    if not roots:
        raise PurgeError(f"where is {subject!r} to be looked for? There is no folder runs here: --in FOLDER with runs, checkpoints, photos")
    journal = _read(journals[0]) if journals else {}
    proof = {name: set(values) for name, values in journal.get("proof", {}).items()}
    hashed = Hashes()
    if pictures is not None and pictures.paths:  # what is tracked under the name is the person's, whether it was ever used or not
        own = {path for folder, kind in pictures.paths.items() if kind == "photos" for path in traces.walk(folder) if path.is_file()}
        known |= {hashed(path) for path in own if path.name != traces.DESCRIPTION and not path.is_symlink()}
    seen = _look(subject, roots, proof | {"sure": known | proof.get("sure", set())}, hashed)
    made, runs = seen.made | proof.get("made", set()), seen.runs | proof.get("runs", set())
    plan = Plan(subject, roots, dict(seen.found), tracked=find_tracked(subject, made, runs), resumed=bool(journal), journals=journals)
    plan.folders = sorted(told | {str(folder.absolute()) for folder in (*folders, *photos)})
    planned = {Path(path): kind for path, kind in journal.get("paths", {}).items() if os.path.lexists(path)}
    found = _outermost(plan.paths | (pictures.paths if pictures else {}) | planned)
    found = {inner: kind for path, kind in found.items() for inner in (_contents(path) if path in roots else [path])}
    plan.paths = {path: kind for path, kind in found.items() if _below(path, roots)}
    hashes = {"sure": seen.sure, "photos": seen.photos, "aside": seen.aside, "derived": seen.derived}
    plan.proof = {name: sorted(values) for name, values in (hashes | {"made": made, "runs": runs}).items()}
    plan.others, plan.people = sorted(seen.others), len(seen.people)
    plan.retained = [*(pictures.retained if pictures and (plan or pictures.retained) else []), *git_paths(_files(plan.paths))]
    plan.retained += [
        (f"{folder}: photos, only read, since it lies outside the folders given", f"rm -r {shlex.quote(str(folder))}, or --in it")
        for folder in map(Path.resolve, photos)
        if not any(folder.is_relative_to(root) for root in roots)
    ]
    plan.retained += [
        (f"{path}: {kind}, outside the folders given", f"rm -r {shlex.quote(str(path))}")
        for path, kind in found.items()
        if path not in plan.paths
    ]
    plan.retained += [UNSEEN] if plan.tracked is None else []
    if not plan:
        raise PurgeError(_nothing(plan, find_all_names(roots)))
    plan.mentions = [
        (str(path), where)
        for path, where in [*seen.unsure.items(), *mentions(subject, roots, [_journal(roots[0], subject), *journals])]
        if not any(path == own or path.is_relative_to(own) for own in plan.paths)
    ]
    return plan


def erase(plan: Plan) -> Report:
    """Remove what the plan says and look again. Interrupted, it is begun anew from :func:`find`. Raises PurgeError for a path that is not,
    or no longer, within the folders given; TrackingDown."""
    journal = plan.journals[0] if plan.journals else _journal(plan.roots[0], plan.subject)
    for path in plan.paths:
        _check(path, plan.roots)
    before = _read(journal)
    count, size = before.get("files", 0), before.get("bytes", 0)
    kinds = Counter(before.get("kinds", {})) if before else Counter(plan.kinds())
    files = [path for path in _files(plan.paths) if not path.is_symlink()]
    count, size = max(count, len(files)), max(size, sum(path.stat().st_size for path in files))
    state = {
        "subject": plan.subject,
        "paths": {str(path): kind for path, kind in plan.paths.items()},
        "proof": plan.proof,
        "folders": plan.folders,
    }
    write_json(journal, {**state, "kinds": kinds, "files": count, "bytes": size})
    retained = list(plan.retained)
    if plan.tracked:
        retained += erase_tracked(plan.subject, plan.tracked)
    for path in sorted(plan.paths):
        _check(path, plan.roots)
        try:
            _remove(path)
            _prune(path.parent, plan.roots)
        except OSError as error:
            raise PurgeError(
                f"{error.filename or path} cannot be removed: {error.strerror}; make it writable and give the "
                "same command again: it goes on"
            ) from error
    left = _left(plan)
    report = Report(dict(kinds), count, size, left, retained + ELSEWHERE)
    _record(plan.roots[0], report)
    for path in {journal, *plan.journals}:
        path.unlink(missing_ok=True)
    return report


def _left(plan: Plan) -> list[str]:
    """What a second look finds: by name, by hash, and as a word in names and texts of files, and in MLflow."""
    proof = {name: set(values) for name, values in plan.proof.items()}
    places = [*plan.roots, *(folder for folder in store_folders() if not any(folder.is_relative_to(root) for root in plan.roots))]
    seen = _look(plan.subject, places, proof, sha256_file)
    left = [f"{path}: {kind}" for path, kind in [*seen.found.items(), *seen.unsure.items()]]
    again = find_tracked(plan.subject, proof["made"], proof["runs"])
    if again is None:
        left += [f"MLflow {run}: the run that artifacts name; {UNSEEN[0]}" for run in plan.proof["runs"]]
    left += [f"MLflow {run}: marked as deleted, not gone" for run in (again.runs if again else [])]
    left += [f"MLflow version {number} of {name}" for name, number in (again.versions if again else [])]
    said = mentions(plan.subject, places, [_journal(plan.roots[0], plan.subject), *plan.journals, *seen.found])
    left += [f"{path}: the name in its {where}" for path, where in said]
    return left + [f"MLflow {where}: the name" for where in find_mentions(plan.subject)]


def _look(subject: str, places: Sequence[Path], proof: Mapping[str, set[str]], hashed: traces.Hash) -> traces.Traces:
    """``traces.find`` with what a plan or its journal knows."""
    known = {name: proof.get(name, set()) for name in ("sure", "photos", "aside", "derived")}
    return traces.find(subject, places, hashed=hashed, **known)


class Hashes:
    """sha256 of files, each read once as long as size and time stay."""

    def __init__(self) -> None:
        self.known: dict[tuple[Path, int, int], str] = {}

    def __call__(self, path: Path) -> str:
        stat = path.stat()
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self.known:
            self.known[key] = sha256_file(path)
        return self.known[key]


def find_all_names(roots: Sequence[Path]) -> list[str]:
    """Everybody whom artifacts below the folders are of."""
    names: set[str] = set()
    for root in roots:
        for path in traces.walk(root):
            if path.name == MANIFEST:
                names |= traces.names_in(path)
    return sorted(names)


def _nothing(plan: Plan, there: Sequence[str]) -> str:
    names = sorted({*there, *(plan.tracked.names if plan.tracked is not None else ())})
    near = difflib.get_close_matches(plan.subject, names, 3, 0.5)
    store = shown(tracking_uri()) if plan.tracked is not None else "no MLflow store here (MLFLOW_TRACKING_URI)"
    hint = f"; near it: {', '.join(near)}" if near else f"; there are {', '.join(names)}" if names else ""
    return (
        f"nothing is of {plan.subject!r}: looked below {', '.join(map(str, plan.roots))}, and in {store}{hint}. Say where to look with "
        "--in, and give the person's photos with --photos where artifacts are older than names in them"
    )


def _roots(folders: Sequence[Path]) -> list[Path]:
    """The folders, resolved, without those that lie in another. Raises PurgeError."""
    for folder in folders:
        if not folder.is_dir():
            raise PurgeError(f"--in {folder}: there is no such folder; give those that hold runs, checkpoints and photos")
    resolved = list(dict.fromkeys(folder.resolve() for folder in folders))
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111 - Path.home raises for a container's user that has none
    if Path("/") in resolved or home in resolved:
        raise PurgeError(
            "--in: a whole machine or home is too much to look through; give the folders that hold runs, checkpoints and photos"
        )
    return [folder for folder in resolved if not any(other in folder.parents for other in resolved)]


def _within(root: Path) -> list[Path]:
    """Of a repository of pictures the folders that hold them."""
    return [root / name for name in ("subjects", "styles", ".dvc") if (root / name).is_dir()]


def _photos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise PurgeError(f"--photos {folder}: there is no such folder")
    return [path for path in traces.walk(folder) if path.is_file() and path.name != traces.DESCRIPTION and path.stat().st_size]


def _journal(root: Path, subject: str) -> Path:
    return root / f".purge-{lineage_key('purge', subject)}.json"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _outermost(paths: dict[Path, str]) -> dict[Path, str]:
    return {path: kind for path, kind in sorted(paths.items()) if not any(parent in paths for parent in path.parents)}


def _files(paths: dict[Path, str]) -> list[Path]:
    """Every file and link among the paths and below them."""
    found: list[Path] = []
    for path in paths:
        found += traces.walk(path) if path.is_dir() and not path.is_symlink() else [path]
    return found


def _check(path: Path, roots: Sequence[Path]) -> None:
    """Raise PurgeError unless the path itself (whatever a link there points to) lies below one of the folders."""
    if not _below(path, roots):
        raise PurgeError(
            f"{path} lies outside the folders given ({', '.join(map(str, roots))}); nothing of it was removed: --in its folder"
        )


def _below(path: Path, roots: Sequence[Path]) -> bool:
    place = path.parent.resolve() / path.name
    return any(place != root and place.is_relative_to(root) for root in roots)


def _contents(root: Path) -> list[Path]:
    """What lies in a folder given that is a person's as a whole; it stays itself, with what is kept of erasures in it."""
    return [path for path in root.iterdir() if path.name != RECORD and not path.name.startswith(".purge-")]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _prune(folder: Path, roots: Sequence[Path]) -> None:
    """Remove what is empty now, up to the folders given."""
    while folder not in roots and not (folder.is_dir() and any(folder.iterdir())):
        if folder.is_dir():
            folder.rmdir()
        folder = folder.parent


def _record(root: Path, report: Report) -> None:
    """One line of what was done, without a name, path or hash: a photo's hash would tell whoever has the photo that it was here."""
    entry = {
        "id": uuid.uuid4().hex, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "magicapture": _version(),
        "removed": report.kinds, "files": report.files, "bytes": report.bytes, "left": len(report.left), "retained": len(report.retained),
    }  # fmt: skip
    with open(root / RECORD, "a") as file:
        file.write(json.dumps(entry) + "\n")


def _version() -> str:
    """Of this package; "" in an image that holds its files without having installed it."""
    try:
        return version("magicapture")
    except PackageNotFoundError:
        return ""
