"""Where a person is below some folders: artifacts by their manifests, cached tensors by their metadata, copies by their hash.

Nothing here writes. Symbolic links are never followed, so nothing outside the folders given is ever seen.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magicapture import recipe
from magicapture.artifacts import MANIFEST, SUBJECTS, sha256_file, subjects_of
from magicapture.data.subjects import UNNAMED
from magicapture.search.best import SELECTION
from magicapture.search.halving import RECORD, SHEET

SESSION = re.compile(r"(inversion|tuning)-([0-9a-f]{16})")  # checkpoints of a lineage (training/session.py)
RUN = re.compile(r"\d{8}-\d{6}")  # a run of the pipeline on this machine, below "stages" (components/local.py)
TELLING = (".png", ".safetensors")  # of two people no two are equal, but for those of nobody
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HEADER = 1 << 20  # no longer is the header of any tensor file written here
TEXT = 64 << 20
DESCRIPTION = "description.txt"
#: What `magicapture train` and `generate --best` leave beside their artifacts: places, pictures and scores of the person.
RECORDS = (recipe.FILE, RECORD, SHEET, SELECTION)


@dataclass
class Traces:
    """What is a person's, and what proves it.

    ``found``: file, or folder with all that is in it -> its kind; ``photos``, ``derived``: sha256 of photos and of files made of them;
    ``made``, ``runs``: ids of makings and of MLflow runs that manifests tell of;
    ``others``: who else is in what is found; ``people``: photos under the name that some set has in common, so one person's (more than
    one group: perhaps people who share a name).
    """

    found: dict[Path, str] = field(default_factory=dict)
    photos: set[str] = field(default_factory=set)
    derived: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    people: list[set[str]] = field(default_factory=list)

    def covers(self, path: Path) -> bool:
        """Whether a path is found, or lies in a folder that is."""
        return path in self.found or any(parent in self.found for parent in path.parents)


Hash = Callable[[Path], str]


def find(
    subject: str, roots: Iterable[Path], photos: Iterable[str] = (), derived: Iterable[str] = (), hashed: Hash = sha256_file
) -> Traces:
    """All that is of ``subject`` below the roots (resolved folders). ``photos``, ``derived``: hashes that are known to be this person's."""
    traces = Traces(photos=set(photos), derived=set(derived))
    files = sorted({path for root in roots for path in walk(root) if path.is_symlink() or path.is_file()})  # no pipes: they would block
    artifacts = {path.parent: manifest for path in files if path.name == MANIFEST and (manifest := _manifest(path))}
    mine = _artifacts(subject, artifacts, traces)
    for folder in mine:
        traces.found[_run_of(folder)] = _kind(folder, artifacts[folder])
        _learn(subject, folder, artifacts[folder], traces)
    lineages = {artifacts[folder].get("lineage") for folder in mine}
    for session in {parent for path in files for parent in path.parents} - {*artifacts}:  # signed by no manifest: an older one's
        if (named := SESSION.fullmatch(session.name)) and named[2] in lineages:
            traces.found[session] = "checkpoints"
    records = {above / name for folder in mine for above in [*folder.parents][:2] for name in RECORDS}
    traces.found |= dict.fromkeys(records.intersection(files), "record of a run")
    shared = _shared(artifacts, mine) | {EMPTY}
    traces.derived |= {digest for folder in mine for digest in _files(artifacts[folder]).values()}
    traces.derived -= shared
    _tensors(subject, files, traces)
    theirs = {folder / name for folder, manifest in artifacts.items() if folder not in mine for name in _files(manifest)}
    for path in files:
        if traces.covers(path) or path.is_symlink():
            continue
        if (digest := hashed(path)) in traces.photos:
            traces.found[path] = "photo"
        elif digest in traces.derived and path not in theirs:
            traces.found[path] = "copy"
    _words(files, traces)
    for path in files:
        if not traces.covers(path) and ((path.is_symlink() and traces.covers(path.resolve())) or _cached(path, traces)):
            traces.found[path] = "link" if path.is_symlink() else "cache entry"
    traces.found = {path: kind for path, kind in traces.found.items() if not any(parent in traces.found for parent in path.parents)}
    return traces


def walk(root: Path) -> Iterator[Path]:
    """Every file and link below a folder, git's own store left out. Links to folders are told, not followed."""
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            yield Path(folder) / name
        for name in folders:
            if (Path(folder) / name).is_symlink():
                yield Path(folder) / name


def word(name: str) -> re.Pattern[str]:
    """The name as a word of its own, in letters of any size; what is joined to it by - or _ is another word."""
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", re.IGNORECASE)


def mentions(subject: str, roots: Iterable[Path], but: Iterable[Path] = ()) -> list[tuple[Path, str]]:
    """(path, "name" or "text") of what is called by the subject, or is text in which the name stands as a word of its own."""
    named, left = word(subject), set(but)
    found: dict[Path, str] = {}
    for root in roots:
        for path in walk(root):
            if path in left:
                continue
            if named.search(str(path.relative_to(root))) or (path.is_symlink() and named.search(str(path.readlink()))):
                found[path] = "name"
            elif not path.is_symlink() and named.search(_text(path)):
                found[path] = "text"
        for folder, _, _ in os.walk(root):
            path = Path(folder)
            if (
                ".git" not in path.parts
                and path != root
                and named.search(path.name)
                and not any(other.is_relative_to(path) for other in found)
            ):
                found[path] = "name"
    return sorted(found.items())


def names_in(path: Path) -> set[str]:
    """Everybody whom the artifact with this manifest is of."""
    manifest = _manifest(path)
    return {*_whose(manifest)} if manifest else set()


def _text(path: Path) -> str:
    """A file's text, "" of what is none. A tensor file's is its header."""
    if not path.is_file() or path.stat().st_size > TEXT:
        return ""
    with open(path, "rb") as file:
        start = file.read(8192)
        if path.suffix == ".safetensors":
            return start.decode(errors="replace")
        if b"\0" in start and not start.startswith(b"SQLite format 3"):
            return ""
        return (start + file.read()).decode(errors="replace")


def _manifest(path: Path) -> dict[str, Any]:
    """An artifact's manifest; {} for another tool's, and for one that cannot be read."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    ours = isinstance(data, dict) and isinstance(data.get("schema"), str) and ("files" in data or SUBJECTS in data)
    return data if ours else {}


def _files(manifest: Mapping[str, Any]) -> dict[str, str]:
    return dict(manifest.get("files") or {})


def _kind(folder: Path, manifest: Mapping[str, Any]) -> str:
    return "pipeline run" if _run_of(folder) != folder else str(manifest["schema"]).partition("/")[0]


def _run_of(folder: Path) -> Path:
    """The whole folder of a pipeline run that an artifact was made in: pages and outputs of its tasks show it too; else the artifact's."""
    for path in folder.parents:
        if path.parent.name == "stages" and RUN.fullmatch(path.name):
            return path
    return folder


def _artifacts(subject: str, artifacts: Mapping[Path, dict[str, Any]], traces: Traces) -> set[Path]:
    """The artifacts of this person: recorded under the name, or with a photo that is known to be the person's.

    Those written before names were recorded: by promotion.subject and concepts; by photos; by place, beside a prepared set that is the
    person's (in a folder without another's); and by a file that they share with what was found so far.
    """
    mine: set[Path] = set()
    while True:
        for manifest in artifacts.values():
            if subject in _whose(manifest):
                traces.photos |= set(_whose(manifest)[subject])
        grown = {folder for folder, manifest in artifacts.items() if _is_of(subject, manifest, traces.photos)}
        for prepared in [folder for folder in grown if _unrecorded(artifacts[folder], "prepared")]:
            beside = {folder for folder, manifest in artifacts.items() if folder.is_relative_to(prepared.parent) and _unrecorded(manifest)}
            if all(folder in grown for folder in beside if _unrecorded(artifacts[folder], "prepared")):
                grown |= beside
        runs = {_run_of(folder) for folder in mine | grown} - mine - grown
        grown |= {folder for folder in artifacts if _run_of(folder) in runs}
        telling = {digest for folder in mine | grown for name, digest in _files(artifacts[folder]).items() if name.endswith(TELLING)}
        telling = telling - _shared(artifacts, mine | grown) | traces.derived
        grown |= {folder for folder, manifest in artifacts.items() if _unrecorded(manifest) and telling & {*_files(manifest).values()}}
        if grown <= mine:
            return mine
        mine |= grown


def _unrecorded(manifest: Mapping[str, Any], kind: str = "") -> bool:
    """Whether an artifact (of a kind) says nothing of whose it is: written before names were recorded, or made of such a one."""
    return not manifest.get(SUBJECTS) and (not kind or str(manifest["schema"]).startswith(f"{kind}/"))


def _whose(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """``artifacts.subjects_of``; of an older manifest by its knobs and its concepts."""
    if not _unrecorded(manifest):
        return subjects_of(manifest)
    whose: dict[str, list[str]] = {}
    for item in _sources(manifest):
        whose.setdefault(item.get("concept") or "", []).append(item.get("sha256", ""))
    name = ((manifest.get("config") or {}).get("promotion") or {}).get("subject", UNNAMED)
    if name != UNNAMED:
        whose.setdefault(name, [])
    return {name: photos for name, photos in whose.items() if name}


def _sources(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list((manifest.get("content") or {}).get("source") or []) if str(manifest["schema"]).startswith("prepared/") else []


def _is_of(subject: str, manifest: Mapping[str, Any], photos: set[str]) -> bool:
    known = {digest for own in subjects_of(manifest).values() for digest in own} | {item.get("sha256") for item in _sources(manifest)}
    return subject in _whose(manifest) or bool(known & photos)


def _shared(artifacts: Mapping[Path, dict[str, Any]], mine: Iterable[Path]) -> set[str]:
    """Hashes that prove nothing: what shows only the look or the untuned model, masks, and whatever somebody else's artifact holds too."""
    shared: set[str] = set()
    own = set(mine)
    for folder, manifest in artifacts.items():
        files = _files(manifest)
        if folder not in own and not _unrecorded(manifest):
            shared |= set(files.values())
        shared |= {digest for name, digest in files.items() if _of_nobody(name)}
        for item in (manifest.get("content") or {}).get("items") or []:
            if item.get("kind") != "portrait":
                shared |= {files[name] for name in (item.get("file"), item.get("before")) if name in files}
    return shared


def _of_nobody(name: str) -> bool:
    path = Path(name)
    look = path.parts[0] == "reference" or (path.parent.name == "attention" and path.name.startswith("reference"))
    return look or path.name.endswith((".mask.png", ".parsing.png"))


def _learn(subject: str, folder: Path, manifest: Mapping[str, Any], traces: Traces) -> None:
    content = manifest.get("content") or {}
    traces.made |= {value for value in ((manifest.get("made") or {}).get("id"),) if value}
    traces.runs |= {value for value in (content.get("run"),) if isinstance(value, str)}
    traces.others |= {*_whose(manifest)} - {subject}
    own = set(_whose(manifest).get(subject, ())) - {""}
    if own:
        joined = [group for group in traces.people if group & own]
        traces.people = [group for group in traces.people if not group & own] + [own.union(*joined)]


def _tensors(subject: str, files: Iterable[Path], traces: Traces) -> None:
    """Cached latents: by their metadata; those without any, in a cache beside this person's checkpoints, may be the person's: they go."""
    beside = {path.parent / "latents" for path, kind in traces.found.items() if kind == "checkpoints"}
    for path in files:
        if ".safetensors" not in path.name or path.is_symlink() or traces.covers(path):
            continue
        recorded = _metadata(path).get(SUBJECTS)
        if recorded is not None:
            whose = subjects_of({SUBJECTS: json.loads(recorded)})
            if subject in whose or any(traces.photos & set(own) for own in whose.values()):
                traces.found[path] = "latents"
        elif path.parent in beside and not path.name.startswith("class-"):
            traces.found[path] = "latents"


def _metadata(path: Path) -> dict[str, str]:
    """A safetensors file's metadata, of one cut off too: what a killed writer left has its header first."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= HEADER else b""
    try:
        return dict(json.loads(text).get("__metadata__") or {})
    except (ValueError, AttributeError):
        return {}


def _words(files: Iterable[Path], traces: Traces) -> None:
    """The description.txt of a folder all of whose pictures are this person's."""
    gone = {path.parent for path, kind in traces.found.items() if kind == "photo"}
    for folder in gone:
        own = [path for path in files if path.parent == folder and not path.name.startswith(".")]
        words = [path for path in own if path.name == DESCRIPTION]
        if words and all(path in traces.found for path in own if path.name != DESCRIPTION):
            traces.found[words[0]] = "description"


def _cached(path: Path, traces: Traces) -> bool:
    """Whether it is an entry of kfp.local's cache whose results are found."""
    if path.suffix not in (".json", ".tmp") or path.is_symlink() or path.stat().st_size > TEXT:
        return False
    text = path.read_text(errors="replace")
    if "__kfp_artifact__" not in text:
        return False
    try:
        entry = json.loads(text)
    except ValueError:
        return False
    return any(isinstance(uri, str) and traces.covers(Path(uri)) for uri in _uris(entry))


def _uris(data: Any) -> Iterator[Any]:
    """Every value of a key "uri", however deep."""
    if isinstance(data, dict):
        yield data.get("uri")
        data = list(data.values())
    if isinstance(data, list):
        for value in data:
            yield from _uris(value)
