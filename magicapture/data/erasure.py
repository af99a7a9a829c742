"""A person in a git repository with DVC: the tracked folder, DVC's cache of every revision of it, and what git and the remotes retain."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from magicapture.data.address import shown
from magicapture.data.md5 import bytes_md5, file_md5
from magicapture.data.tools import dvc_cache, dvc_config, git, in_cache

TIMEOUT = 60  # s, for one question to git


@dataclass
class Pictures:
    """``paths``: what is to be removed below ``root`` -> its kind; ``retained``: (what keeps it, how to clear that), in sentences;
    ``objects``: md5 of the pictures and listings that DVC's remotes may hold."""

    root: Path
    paths: dict[Path, str] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)
    retained: list[tuple[str, str]] = field(default_factory=list)


def find_pictures(start: str | Path, subject: str) -> Pictures | None:
    """The subject's folder of the repository around ``start``; None where there is no repository. Nothing is written.

    Raises DataError where the repository's pictures are DVC's, some are the subject's, and DVC is not installed.
    """
    start = Path(start).resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / ".dvc").is_dir() or (folder / ".git").exists()), None)
    if root is None:
        return None
    found = Pictures(root)
    name = f"subjects/{subject}"
    record, folder = root / f"{name}.dvc", root / name
    if folder.is_dir() and not folder.is_symlink():
        found.paths[folder] = "photos"
    if record.is_file():
        found.paths[record] = "DVC file"
    answer = _git(root, "log", "--all", "--format=%H", "--", f"{name}.dvc", name)
    commits = (answer or "").split()
    texts = [record.read_text(errors="replace")] if record.is_file() else []
    past = [_git(root, "show", f"{commit}:./{name}.dvc", failed="") for commit in commits]  # ./: below root, not git's top
    texts += filter(None, past)  # "": the commit that removed it
    if answer is None or None in past:
        found.retained.append(_unseen(root))
    if not (texts or commits or found.paths):
        return found
    cache = dvc_cache(root)
    for listing in {digest for text in texts for digest in _outs(text)}:
        found.objects |= {listing} | _listed(cache, listing)
    if folder.is_dir():
        found.objects |= {file_md5(path) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    kept = _others(root, cache, subject)
    for digest in found.objects - kept:
        path = in_cache(cache, digest)
        if path.is_file():
            found.paths[path] = "DVC cache"
    found.objects -= kept
    _say_retained(found, name, subject, commits)
    return found


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
        answer = _git(root, "log", "--all", "--format=", "--name-only", "-z")
        if answer is None:
            told.append(_unseen(root))
            continue
        held = set(answer.replace("\n", "\0").split("\0"))
        names = [name for name in (path.relative_to(root).as_posix() for path in own) if name in held]
        if names:
            told.append((f"git's history in {root}, and every clone, holds {len(names)} of the files themselves", _filter(names)))
    return told


def _say_retained(found: Pictures, name: str, subject: str, commits: list[str]) -> None:
    if commits:
        inside = _git(found.root, "rev-parse", "--show-prefix") or ""  # names in history are relative to git's top
        found.retained.append(
            (
                f"git's history in {found.root} and in every clone: {len(commits)} commits name {name} and the md5 of its pictures (not "
                "the pictures themselves)",
                _filter([f"{inside}{name}.dvc", f"{inside}{name}"])
                + f"; commit messages: git filter-repo --replace-message <(echo {shlex.quote(subject)})",
            )
        )
    if found.objects:
        for remote, url in _remotes(found.root).items():
            found.retained.append(
                (
                    f"the DVC remote {remote!r} ({url}): up to {len(found.objects)} objects files/md5/XX/REST",
                    f"after git's history: dvc gc --workspace --all-commits --cloud --remote {shlex.quote(remote)} (removes what no commit "
                    "names; versions that the bucket keeps are the bucket's own to expire)",
                )
            )
        found.retained.append(
            ("DVC's caches in other clones, and its index of names and hashes in its site cache (/var/tmp/dvc unless "
             "core.site_cache_dir says otherwise)", "in each clone: dvc gc --workspace --all-commits; then remove the index folder")
        )  # fmt: skip


def _filter(names: list[str]) -> str:
    paths = " ".join(f"--path {_quoted(name)}" for name in names)
    return (
        f"git filter-repo --invert-paths {paths}; git reflog expire --expire=now --all && git gc --prune=now; git push --force --all; "
        "have every clone made anew"
    )


def _quoted(name: str) -> str:
    """For a shell; a name that is not UTF-8 in bash's own way, since no terminal shows it as it is."""
    if name.isprintable():
        return shlex.quote(name)
    told = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(name))
    return f"$'{''.join(told)}'"


def _unseen(root: Path) -> tuple[str, str]:
    return (
        f"git's history in {root} was not looked at: git is not installed, refuses it, or did not answer within {TIMEOUT} s",
        f"when git answers (git -C {shlex.quote(str(root))} log --all), give the same command again",
    )


def _git(folder: Path, *arguments: str, failed: str | None = None) -> str | None:
    """What git says, "" outside of its repositories, ``failed`` when it exits with an error; None where it gave no answer."""
    if not any((above / ".git").exists() for above in (folder, *folder.parents)):
        return ""
    answer = git(folder, *arguments, timeout=TIMEOUT)
    if answer is None:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else failed


def _outs(text: str) -> list[str]:
    try:
        outs: list[dict[str, Any]] = (yaml.safe_load(text) or {}).get("outs") or []
    except (yaml.YAMLError, AttributeError):
        return []
    return [str(out["md5"]) for out in outs if out.get("md5")]


def _listed(cache: Path, listing: str) -> set[str]:
    """md5 of the pictures that a folder's listing in the cache names; none where it was never pulled."""
    path = in_cache(cache, listing)
    if not listing.endswith(".dir") or not path.is_file():
        return set()
    return {str(entry["md5"]) for entry in json.loads(path.read_text())}


def _others(root: Path, cache: Path, subject: str) -> set[str]:
    """What the .dvc files of others in this working tree name: it stays."""
    kept: set[str] = set()
    for record in root.rglob("*.dvc"):
        if record.is_file() and record != root / "subjects" / f"{subject}.dvc":
            for listing in _outs(record.read_text(errors="replace")):
                kept |= {listing} | _listed(cache, listing)
    return kept - {bytes_md5(b"[]") + ".dir"}


def _remotes(root: Path) -> dict[str, str]:
    """Name -> address, without the user and password that may stand in it."""
    return {name: shown(str(remote["url"]), mask="") for name, remote in (dvc_config(root).get("remote") or {}).items()}
