"""Fetching a pack's files from the model hub: the one place that uses the network, and only when asked.

Files are written aside as ``.NAME.COMMIT.part`` and renamed once their sha256 is right; a fetch that was cut goes on where it was.
What pack.yaml leaves null (commit, sha256) is recorded in ``pack.lock`` by the first fetch and verified by every later one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from magicapture.artifacts import sha256_file, write_json, write_text
from magicapture.packs.pack import EMBEDDED, LOCK, Pack, PackError, Role, altered, home, load_pack, pack_names, read_pack

#: Data only. Everything else (.bin, .pth, .pt, .ckpt, .pkl, ...) may be a pickle, and a pickle runs code when it is opened.
SAFE = (".safetensors", ".onnx", ".json", ".txt")


@dataclass(frozen=True)
class Download:
    """One file to get: from where, to where, how large in bytes, and its sha256 where anyone knows it."""

    role: str
    file: str
    target: Path
    url: str
    commit: str
    size: int
    sha256: str | None

    @property
    def part(self) -> Path:
        """Where it is written until it is whole."""
        return self.target.with_name(f".{self.target.name}.{self.commit[:12]}.part")

    @property
    def left(self) -> int:
        """Bytes that an earlier fetch has not left in ``part``."""
        return max(self.size - (self.part.stat().st_size if self.part.is_file() else 0), 0)


def fetch(name: str, to: str | Path | None = None, say: Callable[[str], None] = print) -> Pack:
    """Fetch what a pack lacks into ``to`` (default: the user's folder for packs) and return it from there.

    ``say`` is told the sizes before anything is loaded, then each file, then what is left for the user to lay down. Raises PackError:
    unknown pack, nothing to fetch, another pack.yaml in the way, a pickle, a file that is not on the hub or altered, no network, no room on
    the disk.
    """
    known = name in pack_names()
    recipe = read_pack(EMBEDDED / name) if known else load_pack(name)
    if not any(role.hub for role in recipe.roles.values()):
        raise PackError(f"pack {recipe.name!r} has nothing to fetch: its files come with it ({recipe.folder})")
    if find_spec("huggingface_hub") is None:
        raise PackError("fetching needs huggingface_hub: pip install 'magicapture[fetch]'")
    for role in recipe.roles.values():
        _refuse_pickles(recipe, role)
    folder = Path(to) if to is not None else home() / recipe.name if known else recipe.folder
    folder.mkdir(parents=True, exist_ok=True)
    text = (recipe.folder / "pack.yaml").read_text()
    if folder.resolve() != recipe.folder:
        there = folder / "pack.yaml"
        if there.is_file() and there.read_text() != text:
            raise PackError(
                f"{there} is not the pack.yaml of {name!r} (its user's, or another version's) and is left as it is; fetch what it names "
                f"(`magicapture packs fetch {folder.resolve()}`), or remove it to have this one"
            )
        write_text(there, text)
    pack = read_pack(folder)
    # Everything is asked for before anything is loaded: a name that is wrong costs seconds, not gigabytes.
    plan = [download for role in pack.roles if pack.role(role).hub for download in _plan(pack, role)]
    for download in plan:
        for old in download.target.parent.glob(f".{download.target.name}.{'?' * 12}.part"):
            if old != download.part:  # of another commit: nothing goes on with it
                old.unlink()
    total = sum(download.left for download in plan)
    say(f"{pack.name}: {len(plan)} files to fetch, {_readable(total)}, into {pack.folder}" if plan else f"{pack.name}: all files are there")
    free = shutil.disk_usage(pack.folder).free
    if total > free:
        raise PackError(f"{pack.folder} has {_readable(free)} free, {_readable(total)} needed; choose another folder with --to")
    for download in plan:
        say(f"  {download.role}: {download.file}, {_readable(download.size)}")
    for download in plan:
        _record(pack, download, _load(download))
    pack = read_pack(folder)
    pack.require(*(name for name, role in pack.roles.items() if role.hub))
    for role_name in pack.missing():
        say(f"{role_name} has no public source: {pack.remedy(role_name)}")
    return pack


def _refuse_pickles(pack: Pack, role: Role) -> None:
    for file in (*role.sha256, *([role.file] if role.file else [])):
        if role.hub and Path(file).suffix.lower() not in SAFE:
            raise PackError(
                f"pack {pack.name!r} names {file} of {role.hub}: only {', '.join(SAFE)} are fetched, because other formats (pickles) can "
                "run code; name a safetensors or ONNX file of it"
            )


def _plan(pack: Pack, name: str) -> list[Download]:
    """What the role lacks; raises PackError for a file that is there and altered."""
    role = pack.role(name)
    commit, plan = role.revision, []
    for file, target in pack.files(name).items():
        expected = role.sha256[file]
        if target.is_file() and expected is not None:
            wrong = altered(target, expected)
            if wrong:
                raise PackError(f"pack {pack.name!r}, {name}: {wrong}; delete {target} and fetch again")
            continue
        download = _look_up(role, name, file, target, commit)
        commit = download.commit  # the files of one role are of one commit
        plan.append(download)
    return plan


def _look_up(role: Role, name: str, file: str, target: Path, commit: str | None) -> Download:
    """Size, commit and, for large files, sha256, from the hub."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    assert role.hub is not None
    remote = role.file or file
    endpoint = os.environ.get("HF_ENDPOINT") or None  # read now: the library reads it when it is imported
    try:
        url = hf_hub_url(role.hub, remote, revision=commit, endpoint=endpoint)
        found = get_hf_file_metadata(url, endpoint=endpoint)
    except Exception as error:  # the library's and its HTTP client's exceptions share no public base
        raise PackError(_network_error(role.hub, remote, error)) from error
    if found.commit_hash is None or found.size is None:
        raise PackError(f"{url} is not answered by a model hub (no commit or size); check HF_ENDPOINT and proxy")
    # The hub's etag is the sha256 of large files, and a git hash (40 digits) of small ones.
    etag = found.etag if found.etag and len(found.etag) == 64 else None
    return Download(name, file, target, found.location, found.commit_hash, found.size, role.sha256[file] or etag)


def _load(download: Download) -> str:
    """Load one file and return its sha256; goes on with a part that an earlier fetch left."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    download.target.parent.mkdir(parents=True, exist_ok=True)
    part = download.part
    headers = build_hf_headers(library_name="magicapture") | {"Accept-Encoding": "identity"}
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if urlsplit(download.url).netloc != urlsplit(endpoint).netloc:
        headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}  # the hub's, not its store's
    try:
        with open(part, "ab") as file:
            done = file.tell()
            if done > download.size:  # left by something else
                file.truncate(0)
                done = 0
            http_get(
                download.url, file, resume_size=done, headers=headers, expected_size=download.size, displayed_filename=download.target.name
            )
            file.flush()
            os.fsync(file.fileno())
    except Exception as error:  # as above
        raise PackError(_network_error(urlsplit(download.url).netloc, download.file, error)) from error
    found = sha256_file(part)
    if download.sha256 is not None and found != download.sha256:
        part.unlink()
        raise PackError(
            f"{download.role}: {download.file} came with sha256 {found[:12]}..., expected {download.sha256[:12]}...; it was thrown away. "
            "Fetch again; if that repeats, the file was replaced at its source"
        )
    os.replace(part, download.target)
    return found


def _record(pack: Pack, download: Download, sha256: str) -> None:
    path = pack.folder / LOCK
    entries = json.loads(path.read_text()) if path.is_file() else {}
    hub = pack.role(download.role).hub
    entry = entries.get(download.role, {})
    if (entry.get("hub"), entry.get("revision")) != (hub, download.commit):
        entry = {"hub": hub, "revision": download.commit, "sha256": {}}
    entry["sha256"][download.file] = sha256
    write_json(path, entries | {download.role: entry})


def _network_error(where: str, file: str, error: Exception) -> str:
    """One line: what went wrong with a file of ``where``, and what to do."""
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return f"{where} is gated: accept its licence on the hub, log in (`hf auth login`), and fetch again"
    if isinstance(error, EntryNotFoundError | RepositoryNotFoundError | RevisionNotFoundError):
        return f"{file} is not at {where} (any more): correct the role in a copy of pack.yaml and fetch that folder"
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{file} of {where} cannot be fetched ({reason}); check network and HF_ENDPOINT, then run the same command again"


def _readable(size: int) -> str:
    value, units = float(size), ["B", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"
