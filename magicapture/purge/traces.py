"""Where a person is below some folders: artifacts by their manifests, cached tensors by their metadata, pages by their tag, copies by hash.

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
from magicapture.artifacts import MANIFEST, sha256_file
from magicapture.data import is_photo
from magicapture.packs import PackError, load_pack
from magicapture.purge import manifests
from magicapture.purge.people import People
from magicapture.search.best import SELECTION
from magicapture.search.halving import RECORD, SHEET

SESSION = re.compile(r"(inversion|tuning)-([0-9a-f]{16})")  # checkpoints of a lineage (training/session.py)
RUN = re.compile(r"\d{8}-\d{6}(-\d{6})?")  # a run of the pipeline on this machine, below "stages" (components/local.py)
TELLING = (".png", ".safetensors")  # of two people no two are equal, but for those of nobody
SHOWING = (*TELLING, ".html")  # a copy of any other file (knobs, a tokenizer) may be anybody's
TEXT = 64 << 20
DESCRIPTION = "description.txt"
#: What systems leave in a folder of pictures, with small copies of these.
LEFTOVERS = (DESCRIPTION, "Thumbs.db", "desktop.ini")
#: What `magicapture train` and `generate --best` leave beside their artifacts: places, pictures and scores of the person.
RECORDS = (recipe.FILE, RECORD, SHEET, SELECTION)
PACK = "pack.yaml"


@dataclass
class Traces:
    """What is a person's, and what proves it.

    ``found``: file, or folder with all that is in it -> its kind; ``unsure``: what may be this person's and is left -> why;
    ``photos``, ``derived``: sha256 of photos and of files made of them; ``sure``, ``aside``: of ``photos`` (:class:`People`); ``made``,
    ``runs``: ids of makings and of MLflow runs that manifests tell of; ``others``: who else is in what is found; ``people``: photos under
    the name that some set has in common, so one person's (more than one group: perhaps people who share a name).
    """

    found: dict[Path, str] = field(default_factory=dict)
    unsure: dict[Path, str] = field(default_factory=dict)
    photos: set[str] = field(default_factory=set)
    sure: set[str] = field(default_factory=set)
    aside: set[str] = field(default_factory=set)
    derived: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    people: list[set[str]] = field(default_factory=list)

    def covers(self, path: Path) -> bool:
        """Whether a path is found, or lies in a folder that is."""
        return path in self.found or any(parent in self.found for parent in path.parents)


Hash = Callable[[Path], str]
Artifacts = Mapping[Path, dict[str, Any]]


def find(
    subject: str,
    roots: Iterable[Path],
    sure: Iterable[str] = (),
    derived: Iterable[str] = (),
    hashed: Hash = sha256_file,
    photos: Iterable[str] = (),
    aside: Iterable[str] = (),
) -> Traces:
    """All that is of ``subject`` below the roots (resolved folders).

    ``sure``, ``derived``, ``photos``, ``aside``: hashes known before, as of :class:`Traces`.
    """
    files = sorted({path for root in roots for path in walk(root) if path.is_symlink() or path.is_file()})  # no pipes: they would block
    artifacts = {path.parent: manifest for path in files if path.name == MANIFEST and (manifest := manifests.read(path))}
    people = People(subject, [*artifacts.values()], sure, photos, aside)
    traces = Traces(photos=people.photos, sure=people.sure, aside=people.aside, derived=set(derived))
    mine = _artifacts(artifacts, people, traces)
    for folder in mine:
        traces.found[_run_of(folder)] = _kind(folder, artifacts[folder])
        _learn(subject, artifacts[folder], traces)
    for folder in artifacts.keys() - mine:
        if why := people.doubt(manifests.whose(artifacts[folder])):
            traces.unsure[folder] = why
    lineages = {artifacts[folder]["lineage"] for folder in mine} - {""}
    for session in {parent for path in files for parent in path.parents} - {*artifacts}:  # signed by no manifest: an older one's
        if (named := SESSION.fullmatch(session.name)) and named[2] in lineages:
            traces.found[session] = "checkpoints"
    elsewhere = {above / name for folder in artifacts.keys() - mine for above in _above(folder) for name in RECORDS}
    records = {above / name for folder in mine for above in _above(folder) for name in RECORDS} - elsewhere
    traces.found |= dict.fromkeys(records.intersection(files), "record of a run")
    shared = _shared(artifacts, mine) | {manifests.EMPTY}
    for folder in mine:
        traces.derived |= _showing(artifacts[folder], hashed)
    traces.derived -= shared
    theirs = {folder / name for folder in artifacts.keys() - mine for name in artifacts[folder]["files"]}
    _signed(files, theirs, people, traces)
    others = {digest for folder in artifacts.keys() - mine for own in manifests.whose(artifacts[folder]).values() for digest in own}
    _copies(files, theirs, others, people, traces, hashed)
    _leftovers(files, traces)
    for path in files:
        if not traces.covers(path) and ((path.is_symlink() and traces.covers(Path(os.path.realpath(path)))) or _cached(path, traces)):
            traces.found[path] = "link" if path.is_symlink() else "cache entry"
    traces.found = {path: kind for path, kind in traces.found.items() if not any(parent in traces.found for parent in path.parents)}
    traces.unsure = {path: why for path, why in traces.unsure.items() if not traces.covers(path)}
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


def names_in(path: Path) -> set[str]:
    """Everybody whom the artifact with this manifest is of."""
    manifest = manifests.read(path)
    return {*manifests.whose(manifest)} if manifest else set()


def _kind(folder: Path, manifest: manifests.Manifest) -> str:
    return "pipeline run" if _run_of(folder) != folder else str(manifest["schema"]).partition("/")[0]


def _run_of(folder: Path) -> Path:
    """The whole folder of a pipeline run that an artifact was made in: pages and outputs of its tasks show it too; else the artifact's."""
    for path in folder.parents:
        if path.parent.name == "stages" and RUN.fullmatch(path.name):
            return path
    return folder


def _above(folder: Path) -> list[Path]:
    """Where a run's records lie beside its artifacts: in their folder, and above a candidate's folder, which is named by its seed."""
    return [folder.parent, *([folder.parent.parent] if folder.parent.name.startswith("seed-") else [])]


def _artifacts(artifacts: Artifacts, people: People, traces: Traces) -> set[Path]:
    """The artifacts of this person: recorded under the name, or with photos that are known to be the person's.

    Those written before names were recorded: by promotion.subject and concepts; by photos; by place, beside a prepared set that is the
    person's (in a folder without another's); and by a file that they share with what was found so far.
    """
    mine: set[Path] = set()
    while True:
        grown = {folder for folder, manifest in artifacts.items() if people.owns(manifests.whose(manifest), _uses(manifest))}
        for prepared in [folder for folder in grown if manifests.unrecorded(artifacts[folder], "prepared")]:
            around = {path: manifest for path, manifest in artifacts.items() if path.is_relative_to(prepared.parent)}
            beside = {path for path, manifest in around.items() if manifests.unrecorded(manifest)}
            if all(path in grown for path in beside if manifests.unrecorded(artifacts[path], "prepared")):
                grown |= beside
        runs = {_run_of(folder) for folder in mine | grown} - mine - grown
        grown |= {folder for folder in artifacts if _run_of(folder) in runs}
        telling = {digest for folder in mine | grown for name, digest in artifacts[folder]["files"].items() if name.endswith(TELLING)}
        telling = telling - _shared(artifacts, mine | grown) | traces.derived
        for folder, manifest in artifacts.items():
            if manifests.unrecorded(manifest) and telling & {*manifest["files"].values()}:
                grown.add(folder)
        if grown <= mine:
            return mine
        mine |= grown


def _uses(manifest: manifests.Manifest) -> set[str]:
    return {item["sha256"] for item in manifests.sources(manifest)}


def _shared(artifacts: Artifacts, mine: Iterable[Path]) -> set[str]:
    """Hashes that prove nothing: what shows only the look or the untuned model, masks, and whatever somebody else's artifact holds too."""
    shared: set[str] = set()
    own = set(mine)
    for folder, manifest in artifacts.items():
        files = manifest["files"]
        if folder not in own and not manifests.unrecorded(manifest):
            shared |= set(files.values())
        shared |= {digest for name, digest in files.items() if _of_nobody(name)}
        for item in manifests.items(manifest):
            if item.get("kind") != "portrait":
                shared |= {files[name] for name in (str(item.get("file")), str(item.get("before"))) if name in files}
    return shared


def _of_nobody(name: str) -> bool:
    path = Path(name)
    look = path.parts[:1] == ("reference",) or (path.parent.name == "attention" and path.name.startswith("reference"))
    return look or path.name.endswith((".mask.png", ".parsing.png"))


def _showing(manifest: manifests.Manifest, hashed: Hash) -> set[str]:
    """Hashes of an artifact's files that show the person; of a whole exported model not the parts that are as the pack has them."""
    files = {name: digest for name, digest in manifest["files"].items() if name.endswith(SHOWING)}
    content = manifest["content"]
    if content.get("format") != "pipeline":
        return set(files.values())
    trained = ("pictures/", "unet/", "text_encoder/", "text_encoder_2/")
    files = {name: digest for name, digest in files.items() if name.startswith(trained)}
    try:
        pack = load_pack(str(manifest["config"].get("pack") or content.get("pack"))).path("diffusion")
    except PackError:
        return set(files.values())
    return {digest for name, digest in files.items() if not (pack / name).is_file() or hashed(pack / name) != digest}


def _learn(subject: str, manifest: manifests.Manifest, traces: Traces) -> None:
    for ids, value in ((traces.made, manifest["made"].get("id")), (traces.runs, manifest["content"].get("run"))):
        if isinstance(value, str) and value:
            ids.add(value)
    whose = manifests.whose(manifest)
    traces.others |= {*whose} - {subject}
    own = set(whose.get(subject, ()))
    if own:
        joined = [group for group in traces.people if group & own]
        traces.people = [group for group in traces.people if not group & own] + [own.union(*joined)]


def _signed(files: Iterable[Path], theirs: set[Path], people: People, traces: Traces) -> None:
    """Files that say themselves whose they are: cached latents and pages. Latents that do not, in a cache beside this person's checkpoints,
    may be the person's: they go."""
    beside = {path.parent / "latents" for path, kind in traces.found.items() if kind == "checkpoints"}
    for path in files:
        if path.is_symlink() or path in theirs or traces.covers(path):
            continue
        if ".safetensors" in path.name:
            whose = manifests.tensor_people(path)
            unsigned = whose is None and path.parent in beside and not path.name.startswith("class-")
            if unsigned or (whose is not None and people.owns(whose)):
                traces.found[path] = "latents"
        elif whose := manifests.page_people(path):
            if people.owns(whose):
                traces.found[path] = "page"
                traces.others |= {*whose} - {people.subject}
            elif why := people.doubt(whose):
                traces.unsure[path] = why


def _copies(files: Iterable[Path], theirs: set[Path], others: set[str], people: People, traces: Traces, hashed: Hash) -> None:
    """Photos and copies by their hash. A photo that is also among another's own stays where that person's photos lie, and is said; so
    is a file in a pack, which is the program's, or whoever's made it."""
    packs = {path.parent for path in files if path.name == PACK}
    known = {path: hashed(path) for path in files if not traces.covers(path) and not path.is_symlink()}
    company: dict[Path, set[str]] = {}
    for path, digest in known.items():
        company.setdefault(path.parent, set()).add(digest)
    for path, digest in known.items():
        if digest in people.photos and is_photo(path):
            beside = company[path.parent]
            if digest in others and (not beside & (people.photos - others) or beside & (others - people.photos)):
                traces.unsure[path] = "a photo given of this person that is also among another's own"
            else:
                traces.found[path] = "photo"
        elif digest in traces.derived and path not in theirs:
            if packs & {*path.parents}:
                traces.unsure[path] = "equal to a file made of this person, but part of a pack"
            else:
                traces.found[path] = "copy"


def _leftovers(files: Iterable[Path], traces: Traces) -> None:
    """What lies beside the photos in a folder all of whose pictures are this person's: its description, previews, empty pictures."""
    gone = {path.parent for path, kind in traces.found.items() if kind == "photo"}
    for folder in gone:
        own = [path for path in files if path.parent == folder and not path.name.startswith(".") and path not in traces.found]
        left = [path for path in own if path.name in LEFTOVERS or (not path.is_symlink() and not path.stat().st_size and _image(path))]
        if len(left) == len(own):
            traces.found |= {path: "description" if path.name == DESCRIPTION else "leftover" for path in left}


def _image(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic")


def _cached(path: Path, traces: Traces) -> bool:
    """Whether it is an entry of kfp.local's cache whose results are found."""
    if path.suffix not in (".json", ".tmp") or path.is_symlink() or path.stat().st_size > TEXT:
        return False
    text = path.read_text(errors="replace")
    if "__kfp_artifact__" not in text:
        return False
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
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
