"""Where versioned pictures are: ``git+URL@REVISION#FOLDER``, in the manner of pip's addresses of version control."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from magicapture.data.errors import DataError

PREFIX = "git+"
SCHEMES = ("https", "http", "ssh", "file")
EXAMPLE = "git+https://git.example.org/pictures.git@main#subjects/anna"


@dataclass(frozen=True)
class Address:
    """A folder in a revision of a git repository; what git does not hold itself comes from DVC's remote.

    ``url`` of the repository; ``revision``: branch, tag or commit, "" for the default branch; ``folder`` within the repository.
    """

    url: str
    revision: str
    folder: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Take ``git+URL@REVISION#FOLDER`` apart (``@REVISION`` may be left out). Raises DataError."""
        parts = urlsplit(text.removeprefix(PREFIX))
        path, _, revision = parts.path.partition("@")
        if not text.startswith(PREFIX) or parts.scheme not in SCHEMES or not path.strip("/") or parts.query:
            raise DataError(
                f"address {shown(text)!r}: expected git+URL@REVISION#FOLDER, its URL {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}; "
                f"for example {EXAMPLE}"
            )
        # A user alone is no secret to ssh, and over http it may be a token.
        if parts.password is not None or (parts.scheme.startswith("http") and "@" in parts.netloc):
            raise DataError(
                f"address {shown(text)!r} carries credentials, which logs and runs would show; leave them out and set GIT_USERNAME and "
                "GIT_PASSWORD (a token) in the environment, or a git credential helper; for ssh, a key"
            )
        folder = parts.fragment.strip("/")
        if not folder or any(part in ("", ".", "..") for part in folder.split("/")):
            raise DataError(f"address {text!r}: expected the folder within the repository after #, for example {EXAMPLE}")
        if "@" in path + revision or (parts.path.endswith("@") and not revision):
            raise DataError(f"address {text!r}: expected one @ before the revision, as in {EXAMPLE}")
        return cls(f"{parts.scheme}://{parts.netloc}{path}", revision, folder)

    def __str__(self) -> str:
        return f"{PREFIX}{self.url}{f'@{self.revision}' if self.revision else ''}#{self.folder}"


def is_address(place: str | Path) -> bool:
    """Whether a place of pictures is meant as an address, and not as a folder of this machine."""
    return isinstance(place, str) and place.startswith(PREFIX)


def shown(text: str, mask: str = "***@") -> str:
    """The text, for people to read, with a mask for what stands between // and the last @ before a host, a user, a password, a token; and
    for what follows the ? of an address. With an empty mask both are left out.

    Of anything, not only of addresses of pictures: of MLflow's, of databases, of what a library says.
    """
    text = re.sub(r"(?<!/)//[^/\s]*@", f"//{mask}", text)  # after ///, as of sqlite and of files, there is no host
    return re.sub(r"(//[^\s?#]*)\?[^\s#]*", r"\1?***" if mask else r"\1", text)
