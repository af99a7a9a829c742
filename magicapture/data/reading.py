"""Pictures of any revision of a git repository, through DVC, with credentials from the environment.

git over https takes GIT_USERNAME and GIT_PASSWORD, where GIT_HOST is set for that host alone (or git's own credential helpers and
GIT_ASKPASS), ssh the agent's keys; the DVC remote takes what its storage's own tools take: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
GOOGLE_APPLICATION_CREDENTIALS.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from magicapture.artifacts import lineage_key
from magicapture.data.address import Address, is_address, shown
from magicapture.data.errors import DataError
from magicapture.data.md5 import bytes_md5, folder_md5, listing_md5
from magicapture.data.tools import need_dvc


@contextmanager
def local(place: str | Path) -> Iterator[Path]:
    """The folder itself; of an address, a copy on this machine that is gone after the block. Raises DataError.

    The copy is held to the md5 that DVC recorded: a damaged object of the remote is an error, not another picture.
    """
    if not is_address(place):
        yield Path(place)
        return
    address = Address.parse(str(place))
    with tempfile.TemporaryDirectory(prefix="magicapture-") as scratch:
        folder = Path(scratch) / "pictures"
        with opened(address) as revision:
            revision.copy(folder)
        yield folder


@contextmanager
def opened(address: Address) -> Iterator[Revision]:
    """Clone the repository aside and open the revision; nothing of it is left after the block. Raises DataError."""
    need_dvc(str(address))
    from dvc.api import DVCFileSystem
    from dvc.repo.open_repo import clean_repos

    with tempfile.TemporaryDirectory(prefix="magicapture-") as scratch, _unasked(), _quiet():
        # DVC's own folder for such indices, /var/tmp/dvc, outlives the process and may not be writable.
        config = {"core": {"site_cache_dir": f"{scratch}/site"}}
        system = DVCFileSystem(_with_credentials(address.url), rev=address.revision or None, config=config)
        usual, tempfile.tempdir = tempfile.tempdir, scratch  # DVC forgets clones that failed
        try:
            with _explained(address):
                commit = str(system.repo.get_rev())
            yield Revision(address, commit, system)
        finally:
            tempfile.tempdir = usual
            system.close()
            clean_repos()


def digest(place: str | Path) -> str:
    """The md5 of a folder, or of the folder that an address names: no picture is fetched for that. Raises DataError."""
    if not is_address(place):
        return folder_md5(Path(place))
    with opened(Address.parse(str(place))) as revision:
        return listing_md5(revision.files())


def pair_hash(photos: str | Path, looks: str | Path) -> str:
    """16 hex digits that name photos and looks together, folders or addresses: the ``data.hash`` of a run."""
    return lineage_key(digest(photos), digest(looks))


def revision_tags(place: str) -> tuple[dict[str, str], list[str]]:
    """``data.source``, ``data.revision`` (commit), ``data.dirty`` and, unless it is a folder within a tracked one, ``data.dvc`` (md5); and
    the paths of the files below the address."""
    with opened(Address.parse(place)) as revision:
        tags = {"data.source": place, "data.revision": revision.commit, "data.dirty": "false"}
        recorded = revision.recorded()
        return tags | ({"data.dvc": recorded} if recorded else {}), list(revision.files())


class Revision:
    """A folder of an opened revision; ``commit`` is the one that its branch or tag meant."""

    def __init__(self, address: Address, commit: str, system: Any) -> None:
        self.address = address
        self.commit = commit
        self._system = system

    def recorded(self) -> str:
        """The md5 that the folder's own .dvc file records; "" for a folder within a tracked one."""
        return str((self._info().get("dvc_info") or {}).get("md5") or "")

    def files(self) -> dict[str, str]:
        """Path below the folder -> md5 of every file in it. Raises DataError."""
        self._info()
        with _explained(self.address):
            found = self._system.find(self.address.folder, detail=True)
            return {name.strip("/").removeprefix(f"{self.address.folder}/"): self._md5(name, info) for name, info in found.items()}

    def copy(self, to: Path) -> None:
        """Copy the folder to ``to`` and check it. Raises DataError."""
        expected = listing_md5(self.files())
        with _explained(self.address):
            self._system.get(self.address.folder, str(to), recursive=True)
        if folder_md5(to) != expected:
            raise DataError(
                f"{self.address}: what the DVC remote holds differs from what was recorded; it is damaged: remove the object and "
                "`dvc push` again from a clone that has the pictures"
            )

    def _info(self) -> dict[str, Any]:
        with _explained(self.address):
            try:
                info: dict[str, Any] = self._system.info(self.address.folder)
            except FileNotFoundError:
                raise DataError(f"{self.address}: the revision ({self.commit[:12]}) has no such folder{self._near()}") from None
        if info["type"] != "directory":
            raise DataError(f"{self.address}: {self.address.folder} is a file; give the folder it lies in")
        return info

    def _near(self) -> str:
        """What there is instead, in the nearest folder above that exists."""
        above = Path(self.address.folder).parent
        while True:
            try:
                names = sorted(
                    Path(entry["name"]).name for entry in self._system.ls(str(above), detail=True) if entry["type"] == "directory"
                )
            except FileNotFoundError:
                above = above.parent
                continue
            where = "the repository" if str(above) == "." else str(above)
            return f"; {where} has {', '.join(name for name in names if not name.startswith('.')) or 'no folders'}"

    def _md5(self, name: str, info: dict[str, Any]) -> str:
        recorded = (info.get("dvc_info") or {}).get("md5")  # none of a file that git itself holds
        return str(recorded or bytes_md5(self._system.cat_file(name)))


def _with_credentials(url: str) -> str:
    """The URL as git is given it: over http with name and password of the environment, if there are any and they are for its host.

    Where they are not, the repository may be open to all: it is asked without.
    """
    parts, password = urlsplit(url), os.environ.get("GIT_PASSWORD")
    if not password or not parts.scheme.startswith("http") or _withheld(url):
        return url
    who = f"{quote(os.environ.get('GIT_USERNAME') or 'git', safe='')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{who}@{parts.netloc}").geturl()


def _withheld(url: str) -> str:
    """Why GIT_PASSWORD is kept from a server: "" where it is not."""
    parts, bound = urlsplit(url), os.environ.get("GIT_HOST", "")
    if bound and bound.lower() not in (parts.hostname, parts.netloc.lower()):
        return f"GIT_HOST says that they are for {bound} alone"
    if parts.scheme == "http" and not _on_this_machine(parts.hostname or ""):
        return "over plain http everybody on the way could read them; use https"
    return ""


def _on_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


@contextmanager
def _unasked() -> Iterator[None]:
    """Let git fail where it would wait for a password at a terminal."""
    before = os.environ.get("GIT_TERMINAL_PROMPT")
    os.environ["GIT_TERMINAL_PROMPT"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["GIT_TERMINAL_PROMPT"]
        else:
            os.environ["GIT_TERMINAL_PROMPT"] = before


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turn what git, DVC and the storage raise into a DataError that says what to do."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{address}: {_reason(error, address)}") from None  # what git raises may hold the password


def _reason(error: BaseException, address: Address) -> str:
    chain = list(_chain(error))
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    said = shown(" ".join(str(chain[-1]).split()))[:200] or type(chain[-1]).__name__
    cloning = "CloneError" in names
    if cloning and names & {"HTTPUnauthorized"}:
        kept_back = _withheld(address.url) if os.environ.get("GIT_PASSWORD") else ""
        if kept_back:
            return f"git wants credentials, and GIT_USERNAME and GIT_PASSWORD were not sent: {kept_back}"
        return "git wants credentials, or refused those given: set GIT_USERNAME and GIT_PASSWORD (a token) in the environment"
    if cloning:
        return f"the repository cannot be cloned ({said}); check its address, the network and, over ssh, the key"
    if names & {"RevError"}:
        return f"the repository has no revision {address.revision!r}; expected a branch, a tag or a commit that was pushed"
    if names & {"NoCredentialsError", "AuthError", "PartialCredentialsError", "DefaultCredentialsError", "HttpError"}:
        return (
            f"the DVC remote wants credentials ({said}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "GOOGLE_APPLICATION_CREDENTIALS, in the environment"
        )
    if names & {"PermissionError"}:
        return f"the DVC remote refuses these credentials ({said})"
    if names & {"NoRemoteError", "RemoteNotFoundError", "RemoteConfigError"}:
        return f"the revision does not say where its pictures are ({said}): commit .dvc/config with the DVC remote"
    if names & {"RemoteMissingDepsError"}:
        return f"the DVC remote needs a package that is not installed here ({said}): pip install 'magicapture[data]'"
    if names & {"ConnectionError", "TimeoutError", "gaierror", "EndpointConnectionError", "ClientConnectorError"}:
        return f"the DVC remote does not answer ({said}); check its address and the network"
    if names & {"FileNotFoundError", "FileMissingError", "DataIndexDirError", "StorageKeyError"}:
        return f"the DVC remote does not hold the pictures ({said}): `dvc push` from the clone in which they were added"
    return f"cannot be read: {type(chain[-1]).__name__}: {said}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def _quiet() -> Iterator[None]:
    """Git's and DVC's own progress bars and warnings say nothing beside our errors."""
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects", "scmrepo", "dulwich", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
