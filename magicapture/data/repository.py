"""The git repository with DVC in which pictures are kept: ``subjects/NAME`` and ``styles/NAME``, each with a ``.dvc`` file of its own.

DVC never pushes them to a remote that lies within the repository, which git would publish: every ``.dvc`` file names its remote.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from magicapture.artifacts import write_bytes, write_text
from magicapture.data.errors import DataError
from magicapture.data.md5 import file_md5, folder_md5
from magicapture.data.tools import dvc_cache, git_says, in_cache, need_dvc

# Everything that is a folder in subjects/ and styles/ is DVC's; what names them for git are the .dvc files.
IGNORE = "/*/"
STAGING = "magicapture-"
SECRET = ("password", "secret", "token", "account_key", "access_key", "connection_string")
REMOTE = """for example:
  dvc remote add store s3://BUCKET/FOLDER        (Google: gs://BUCKET/FOLDER; another machine's disk: ssh://HOST/FOLDER)
  dvc remote modify store endpointurl https://HOST        (MinIO and other S3 servers only)
  git add .dvc/config"""


class Repository:
    """The repository around a folder. Raises DataError where there is none."""

    def __init__(self, start: str | Path = ".") -> None:
        need_dvc("adding pictures")
        start = Path(start).resolve()
        above = [folder for folder in (start, *start.parents) if (folder / ".dvc").is_dir()]
        if not above:
            raise DataError(f"{start} is not within a repository with DVC: go to one, or make one there: `git init && dvc init`")
        self.root = above[0]
        if not self.git("rev-parse", "--git-dir"):
            raise DataError(f"{self.root} has DVC but no git, which keeps the revisions: `git init` there")

    def remote(self, wanted: str = "") -> str:
        """The name of the DVC remote that pictures go to: ``wanted``, else the default, else the only one outside the repository.

        Raises DataError for one that clones could not find, that holds secrets in the open, or that git would publish.
        """
        from dvc.config import Config, ConfigError

        try:
            config = Config(str(self.root / ".dvc"))
            committed = config.load_one("repo").get("remote", {})
        except ConfigError as error:
            raise DataError(f"{self.root / '.dvc' / 'config'} cannot be read: {error}") from None
        remotes: dict[str, dict[str, Any]] = config["remote"]
        inside = {name: self._inside(remote["url"]) for name, remote in remotes.items() if self._inside(remote["url"])}
        outside = [name for name in remotes if name not in inside]
        default = config["core"].get("remote", "")
        name = wanted or (default if default in outside else outside[0] if len(outside) == 1 else "")
        if not name and outside:
            raise DataError(f"several DVC remotes could take the pictures: say which with --remote: {', '.join(outside)}")
        if wanted and wanted not in remotes:
            raise DataError(f"no DVC remote {wanted!r}; there are {', '.join(remotes) or 'none'}; {REMOTE}")
        if name in inside or not name:
            where = (
                f" (the remote {name or min(inside)!r}, {inside[name or min(inside)]}, lies in it, and git would publish it)"
                if inside
                else ""
            )
            raise DataError(f"pictures of people need a DVC remote outside the repository{where}; {REMOTE}")
        if name not in committed:
            raise DataError(
                f"the DVC remote {name!r} is not in .dvc/config, so that clones could not find it; move it there from .dvc/config.local"
            )
        secret = [key for key in committed[name] if any(part in key for part in SECRET)]
        if secret:
            raise DataError(
                f"the DVC remote {name!r} has {', '.join(secret)} in .dvc/config, which git publishes: `dvc remote modify --unset {name} "
                f"{secret[0]}`, and give credentials in the environment"
            )
        return name

    def tracked(self, folder: str) -> str:
        """The folder ("subjects/anna") as DVC tracks it, perhaps in other letters ("subjects/Anna"); "" where it does not."""
        path = self.root / f"{folder}.dvc"
        names = [other.stem for other in path.parent.glob("*.dvc") if other.name.lower() == path.name.lower()]
        return f"{Path(folder).parent}/{names[0]}" if names else ""

    def check_unchanged(self, folder: str) -> None:
        """Raise DataError unless a tracked folder is there and is what its .dvc file says."""
        path = self.root / folder
        if not path.is_dir():
            raise DataError(f"{folder} is not on this machine: `dvc pull {folder}.dvc` first")
        if folder_md5(path) != self._record(folder)["md5"]:
            raise DataError(
                f"{folder} is not what {folder}.dvc says: `dvc checkout {folder}.dvc` first, or `dvc add {folder}` to keep the change"
            )

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder for pictures on their way in, out of git's sight; while it is there, no other process adds anything."""
        aside = self.root / ".dvc" / "tmp"
        aside.mkdir(exist_ok=True)
        with open(aside / f"{STAGING}lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in aside.glob(f"{STAGING}*/"):  # of a process that was killed: its lock is gone
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(dir=aside, prefix=STAGING) as folder:
                yield Path(folder)

    def add(self, folder: str, filled: Path, remote: str) -> None:
        """Make ``filled`` (within :meth:`staging`) the folder of the repository and let DVC track it, for ``remote``.

        A folder that is there is replaced. On any failure all is as it was: the folder, its .dvc file and DVC's cache.
        """
        target, record, ignore = self.root / folder, self.root / f"{folder}.dvc", (self.root / folder).parent / ".gitignore"
        before = {path: path.read_bytes() if path.is_file() else None for path in (record, ignore)}
        new_to_cache = [path for path in self._cached(filled) if not path.exists()]
        old = filled.with_name(f"{filled.name}.old")
        parent_is_new = not target.parent.exists()
        target.parent.mkdir(exist_ok=True)
        try:
            lines = (before[ignore] or b"").decode().splitlines()
            if IGNORE not in lines:
                write_text(ignore, "\n".join([*lines, IGNORE]) + "\n")
            if target.exists():
                os.rename(target, old)
            os.rename(filled, target)
            self._dvc("add", folder)
            content = yaml.safe_load(record.read_text())
            content["outs"][0]["remote"] = remote
            write_text(record, yaml.safe_dump(content, sort_keys=False))
        except BaseException:
            if not filled.exists():
                shutil.rmtree(target, ignore_errors=True)
            if old.exists():
                os.rename(old, target)
            for path, data in before.items():
                if data is None:
                    path.unlink(missing_ok=True)
                elif path.read_bytes() != data:
                    write_bytes(path, data)
            for path in new_to_cache:
                for left in (path, *path.parent.glob(".*.tmp")):  # DVC leaves the part that was written when the disk filled
                    with suppress(OSError):
                        left.unlink()
            if parent_is_new:
                shutil.rmtree(target.parent, ignore_errors=True)
            raise

    def changed(self, *paths: str) -> list[str]:
        """Those of the paths that git would commit."""
        return [path for path in paths if self.git("status", "--porcelain", "--", path)]

    def git(self, *arguments: str) -> str:
        """What a git command says in the repository; empty where it fails."""
        return git_says(self.root, *arguments)

    def _dvc(self, *arguments: str) -> None:
        result = subprocess.run((sys.executable, "-m", "dvc", *arguments), cwd=self.root, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            lines = [line.removeprefix("ERROR: ") for line in result.stderr.splitlines() if line.startswith("ERROR: ")]
            raise DataError(
                f"`dvc {' '.join(arguments)}` failed, nothing was added: {lines[-1] if lines else result.stderr.strip()[-500:]}"
            )

    def _record(self, folder: str) -> dict[str, Any]:
        outs: list[dict[str, Any]] = yaml.safe_load((self.root / f"{folder}.dvc").read_text())["outs"]
        return outs[0]

    def _inside(self, url: str) -> str:
        """A remote's path below the repository's root; "" for one that lies elsewhere."""
        parts = urlsplit(url)
        if parts.scheme not in ("", "file"):
            return ""
        path = Path(parts.path).resolve()
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else ""

    def _cached(self, folder: Path) -> list[Path]:
        """Where DVC's cache keeps, or would keep, a folder's files and its listing."""
        cache = dvc_cache(self.root)
        digests = [folder_md5(folder), *(file_md5(path) for path in folder.rglob("*") if path.is_file())]
        return [in_cache(cache, digest) for digest in digests]
