"""A person in a git repository with DVC: the tracked folder, DVC's cache of every revision of it, and what git and the remotes retain."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from magicapture.data.digest import bytes_md5, file_md5


@dataclass
class Tracked:
    """``paths``: what is to be removed below ``root`` -> its kind; ``retained``: (what keeps it, how to clear that), in sentences;
    ``objects``: md5 of the pictures and listings that DVC's remotes may hold."""

    root: Path
    paths: dict[Path, str] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)
    retained: list[tuple[str, str]] = field(default_factory=list)


def find_tracked(start: str | Path, subject: str) -> Tracked | None:
    """The subject's folder of the repository around ``start``; None where there is no repository. Nothing is written."""
    start = Path(start).resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / ".dvc").is_dir() or (folder / ".git").exists()), None)
    if root is None:
        return None
    tracked = Tracked(root)
    name = f"subjects/{subject}"
    record, pictures = root / f"{name}.dvc", root / name
    if pictures.is_dir() and not pictures.is_symlink():
        tracked.paths[pictures] = "photos"
    if record.is_file():
        tracked.paths[record] = "DVC file"
    commits = _git(root, "log", "--all", "--format=%H", "--", f"{name}.dvc", name).split()
    texts = [record.read_text()] if record.is_file() else []
    texts += filter(None, (_git(root, "show", f"{commit}:{name}.dvc") for commit in commits))
    cache = _cache(root)
    for listing in {digest for text in texts for digest in _outs(text)}:
        tracked.objects |= {listing} | _listed(cache, listing)
    if pictures.is_dir():
        tracked.objects |= {file_md5(path) for path in pictures.rglob("*") if path.is_file() and not path.is_symlink()}
    kept = _others(root, cache, subject)
    for digest in tracked.objects - kept:
        path = cache / digest[:2] / digest[2:]
        if path.is_file():
            tracked.paths[path] = "DVC cache"
    tracked.objects -= kept
    _say_retained(tracked, name, subject, commits)
    return tracked


def git_paths(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Of files that are to go those that git's history itself holds: (what, how to clear it) for each repository they are in."""
    by_folder: dict[Path, list[Path]] = {}
    for path in paths:
        by_folder.setdefault(path.parent, []).append(path)
    by_root: dict[Path, list[Path]] = {}
    for folder, own in by_folder.items():
        root = next((above for above in (folder, *folder.parents) if (above / ".git").exists()), None)
        if root is not None:
            by_root.setdefault(root, []).extend(own)
    told = []
    for root, own in by_root.items():
        held = set(_git(root, "log", "--all", "--format=", "--name-only", "-z").replace("\n", "\0").split("\0"))
        names = [name for name in (path.relative_to(root).as_posix() for path in own) if name in held]
        if names:
            told.append((f"git's history in {root}, and every clone, holds {len(names)} of the files themselves", _filter(names)))
    return told


def _say_retained(tracked: Tracked, name: str, subject: str, commits: list[str]) -> None:
    if commits:
        tracked.retained.append(
            (
                f"git's history in {tracked.root} and in every clone: {len(commits)} commits name {name} and the md5 of its pictures (not "
                "the pictures themselves)",
                _filter([f"{name}.dvc", name]) + f"; commit messages: git filter-repo --replace-message <(echo {shlex.quote(subject)})",
            )
        )
    if tracked.objects:
        for remote, url in _remotes(tracked.root).items():
            tracked.retained.append(
                (
                    f"the DVC remote {remote!r} ({url}): up to {len(tracked.objects)} objects files/md5/XX/REST",
                    f"after git's history: dvc gc --workspace --all-commits --cloud --remote {shlex.quote(remote)} (removes what no commit "
                    "names; versions that the bucket keeps are the bucket's own to expire)",
                )
            )
        tracked.retained.append(
            ("DVC's caches in other clones, and its index of names and hashes in its site cache (/var/tmp/dvc unless "
             "core.site_cache_dir says otherwise)", "in each clone: dvc gc --workspace --all-commits; then remove the index folder")
        )  # fmt: skip


def _filter(names: list[str]) -> str:
    paths = " ".join(f"--path {shlex.quote(name)}" for name in names)
    return (
        f"git filter-repo --invert-paths {paths}; git reflog expire --expire=now --all && git gc --prune=now; git push --force --all; "
        "have every clone made anew"
    )


def _git(folder: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(("git", "-C", str(folder), *arguments), capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _outs(text: str) -> list[str]:
    try:
        outs: list[dict[str, Any]] = (yaml.safe_load(text) or {}).get("outs") or []
    except (yaml.YAMLError, AttributeError):
        return []
    return [str(out["md5"]) for out in outs if out.get("md5")]


def _listed(cache: Path, listing: str) -> set[str]:
    """md5 of the pictures that a folder's listing in the cache names; none where it was never pulled."""
    path = cache / listing[:2] / listing[2:]
    if not listing.endswith(".dir") or not path.is_file():
        return set()
    return {str(entry["md5"]) for entry in json.loads(path.read_text())}


def _others(root: Path, cache: Path, subject: str) -> set[str]:
    """What the .dvc files of others in this working tree name: it stays."""
    kept: set[str] = set()
    for record in root.rglob("*.dvc"):
        if record.is_file() and record != root / "subjects" / f"{subject}.dvc":
            for listing in _outs(record.read_text()):
                kept |= {listing} | _listed(cache, listing)
    return kept - {bytes_md5(b"[]") + ".dir"}


def _config(root: Path) -> dict[str, Any]:
    if not (root / ".dvc").is_dir():
        return {}
    from dvc.config import Config

    return dict(Config(str(root / ".dvc")))


def _cache(root: Path) -> Path:
    return Path((_config(root).get("cache") or {}).get("dir") or root / ".dvc" / "cache") / "files" / "md5"


def _remotes(root: Path) -> dict[str, str]:
    return {name: str(remote["url"]) for name, remote in (_config(root).get("remote") or {}).items()}
