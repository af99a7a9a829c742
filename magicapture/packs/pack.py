"""Reading and verifying ``pack.yaml``, and ``pack.lock`` beside it: what the first fetch found where pack.yaml says null."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from magicapture.artifacts import sha256_file

EMBEDDED = Path(__file__).parent
#: The newest ``format`` of pack.yaml that this code reads.
FORMAT = 1
LOCK = "pack.lock"
ROLES = (
    "diffusion", "detector", "recogniser", "recogniser_torch", "arcface_torch", "cosface_torch", "judge", "referee", "parser",
    "clip", "aesthetic", "restorer", "upscaler", "structure",
)  # fmt: skip


class PackError(ValueError):
    """A pack that cannot be used: names pack, role, file, and what to do."""


class Role(BaseModel):
    """One role's weights: where they are, what they are, under which licence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="File or folder, relative to the pack folder.")
    hub: str | None = Field(None, description="Hub id the files are fetched from; null: embedded, or laid down by hand.")
    file: str | None = Field(None, description="The file's name in the hub repository; null: the names in sha256.")
    revision: str | None = Field(None, description="Commit of the hub repository; null until the first fetch records it in pack.lock.")
    sha256: dict[str, str | None] = Field(
        default_factory=dict, description="File (relative to path's folder, or the file's own name) -> sha256."
    )
    by_hand: str | None = Field(None, description="Where no public source is known: what its user lays down at path.")
    optional: bool = Field(False, description="Only a knob that names it needs it: where it is not there, nothing is wrong.")
    licence: str = Field(description="SPDX id or name.")
    commercial: bool = Field(description="Whether commercial use is allowed.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="What code must know to use it: size, mean, std, scale, token length..."
    )

    @model_validator(mode="after")
    def _inside(self) -> Self:
        for name in (self.path, *self.sha256):
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name:
                raise ValueError(f"{name!r} leads out of the pack folder")
        if self.hub and not self.sha256:
            raise ValueError(f"{self.path}: sha256 has to name the files that are fetched from {self.hub} (null where unknown)")
        if self.file and len(self.sha256) != 1:
            raise ValueError(f"{self.path}: file names one file, sha256 names {len(self.sha256)}")
        return self


class Pack(BaseModel):
    """A loaded ``pack.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(FORMAT, description="Of pack.yaml itself.")
    name: str
    version: str
    description: str
    domain: str | None = Field(None, description='The only people its models know ("rendered people"); null: photographs.')
    resolution: int = Field(description="Side in px of the diffusion model's pictures.")
    attention_resolution: int = Field(description="Side of the cross-attention maps that Attention Refocusing reads.")
    roles: dict[str, Role]
    folder: Path

    def role(self, name: str) -> Role:
        """The role's entry; raises PackError for a role the pack lacks."""
        if name not in self.roles:
            raise PackError(f"pack {self.name!r} has no role {name!r}; it has: {', '.join(sorted(self.roles))}")
        return self.roles[name]

    def path(self, name: str) -> Path:
        """Where the role's file or folder lies; raises PackError when it is not there."""
        path = self.folder / self.role(name).path
        if not path.exists():
            raise PackError(f"pack {self.name!r}: {name} is missing ({path}); {self.remedy(name)}")
        return path

    def files(self, name: str) -> dict[str, Path]:
        """The files that the role's sha256 names: name -> where it lies (or would lie)."""
        role = self.role(name)
        path = self.folder / role.path
        # A role of one file names that very file; anything else is relative to the role's folder.
        folder = path.parent if set(role.sha256) == {path.name} else path
        return {file: folder / file for file in role.sha256}

    @property
    def _recipe(self) -> bool:
        """Whether this is the pack.yaml that comes with the code, not what was fetched with it."""
        return self.folder.parent == EMBEDDED.resolve()

    @property
    def embedded(self) -> bool:
        """Whether everything comes with the code: nothing to fetch, nothing to lay down."""
        return not any(role.hub or role.by_hand for role in self.roles.values())

    def missing(self) -> list[str]:
        """Roles that lack a file; looks for files only, hashes nothing."""
        return [
            name
            for name, role in self.roles.items()
            if not all(path.is_file() for path in self.files(name).values()) or not (self.folder / role.path).exists()
        ]

    def remedy(self, name: str) -> str:
        """What to do about a role that is missing or altered."""
        role = self.role(name)
        if role.hub:
            # By its folder: this pack.yaml may be another than the one that comes with the code under its name, or of a name of its own.
            what = self.name if self._recipe else self.folder
            return f"delete what is altered and fetch it (`magicapture packs fetch {what}`)"
        if role.by_hand:
            folder = home() / self.name if self._recipe else self.folder
            return f"lay it down yourself as {folder / role.path}: {role.by_hand}"
        return f"restore it (`git checkout -- {self.folder}`)"

    def verify(self, *names: str) -> dict[str, str]:
        """Check sha256 of the named roles (when none: all but optional ones that are not there): role -> "ok" or what is wrong."""
        there = [name for name, role in self.roles.items() if not role.optional or (self.folder / role.path).exists()]
        return {name: self._state(name) for name in names or there}

    def require(self, *names: str) -> None:
        """Raise PackError unless every named role is there and unaltered."""
        bad = {name: state for name, state in self.verify(*names).items() if state != "ok"}
        if bad:
            listed = "; ".join(f"{name}: {state}" for name, state in bad.items())
            remedies = "; ".join(dict.fromkeys(self.remedy(name) for name in bad))
            raise PackError(f"pack {self.name!r} cannot be used: {listed}; {remedies}")

    def sha256(self, name: str) -> str:
        """Of the role's file, as it lies there now; raises PackError when it does not."""
        path = self.path(name)
        return _sha256(path)

    def digest(self, *roles: str) -> str:
        """16 hex digits over recorded sha256 and settings of the named roles; where none is named, of all, and the pack's resolutions: the
        pack's part of a lineage key. Of a file laid down by hand whose sha256 nobody recorded, that of what lies there counts.
        Raises PackError for a role the pack lacks."""
        parts = {name: self._identity(name) for name in roles or self.roles}
        whole = {} if roles else {"resolution": self.resolution, "attention_resolution": self.attention_resolution}
        return _short([parts, whole])

    def _identity(self, name: str) -> dict[str, Any]:
        role = self.role(name)
        data = role.model_dump(mode="json", include={"sha256", "settings"})
        if role.by_hand:
            files = self.files(name) or {role.path: self.folder / role.path}
            laid = {file: path for file, path in files.items() if role.sha256.get(file) is None and path.is_file()}
            data["sha256"] |= {file: _sha256(path) for file, path in laid.items()}
        return data

    def weights_digest(self) -> str:
        """16 hex digits over every recorded sha256 alone: ``pack_digest`` of artifacts without ``diffusion_digest``, and of benchmarks."""
        return _short({name: role.sha256 for name, role in self.roles.items()})

    def fits(self, content: Mapping[str, Any]) -> bool:
        """Whether tokens or an adapter, ``content`` of whose manifest this is, were learnt on this pack's diffusion model.

        Older ones, without ``diffusion_digest``, are held to the files of all roles; those that say no digest at all fit.
        """
        learnt = content.get("diffusion_digest")
        if learnt is not None:
            return bool(learnt == self.digest("diffusion"))
        return content.get("pack_digest") in (None, self.weights_digest())

    def _state(self, name: str) -> str:
        role = self.role(name)
        path = self.folder / role.path
        if not path.exists():
            return f"missing ({path})"
        for file, target in self.files(name).items():
            if not target.is_file():
                return f"missing ({target})"
            wrong = altered(target, role.sha256[file])
            if wrong:
                return wrong
        return "ok"


def altered(path: Path, expected: str | None) -> str:
    """What is wrong with a file's sha256; empty when it is as expected, or when nothing is known to expect."""
    if expected is None:
        return ""
    found = _sha256(path)
    return "" if found == expected else f"{path.name} has sha256 {found[:12]}..., expected {expected[:12]}... (corrupt or replaced)"


def _short(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    """Hashed again only where the file has changed since."""
    return _digest_of(str(path), path.stat().st_mtime_ns, path.stat().st_size)


@cache
def _digest_of(path: str, _mtime: int, _size: int) -> str:
    return sha256_file(Path(path))


def home() -> Path:
    """Where fetched packs lie: MAGICAPTURE_PACKS, or magicapture/packs in the user's data folder."""
    chosen = os.environ.get("MAGICAPTURE_PACKS")
    # Path.home() raises where a container's user has no home.
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111
    return (Path(chosen) if chosen else Path(data) / "magicapture" / "packs").absolute()


def pack_names() -> list[str]:
    """Names of the packs that come with the code; of those that are not ``embedded`` only the pack.yaml does."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/pack.yaml"))


def load_pack(name: str | Path) -> Pack:
    """A fetched or embedded pack by name, or any folder that holds a pack.yaml. Raises PackError."""
    places = (home() / name, EMBEDDED / name, Path(name))
    # Not is_file(): that raises where a home may not be looked into.
    folder = next((place for place in places if os.access(place / "pack.yaml", os.R_OK)), None)
    if folder is None:
        known = ", ".join(pack_names())
        raise PackError(f"no pack {str(name)!r}: neither embedded nor fetched ({known}) nor a folder with a pack.yaml")
    return read_pack(folder)


def read_pack(folder: Path) -> Pack:
    """The pack in a folder; what its pack.lock recorded stands where pack.yaml says null. Raises PackError."""
    file = folder / "pack.yaml"
    try:
        data = yaml.safe_load(file.read_text())
        form = data.get("format", FORMAT)
        if isinstance(form, int) and form > FORMAT:
            raise PackError(f"{file} is of format {form}, this MagiCapture reads up to {FORMAT}; install a newer one")
        pack = Pack.model_validate({**data, "folder": folder.resolve()})
    except (ValidationError, yaml.YAMLError, TypeError, AttributeError) as error:
        raise PackError(f"{file} is not a usable pack.yaml: {error}") from None
    return pack.model_copy(update={"roles": {name: _locked(role, entry) for name, role, entry in _entries(pack)}})


def _entries(pack: Pack) -> list[tuple[str, Role, dict[str, Any]]]:
    lock = pack.folder / LOCK
    try:
        entries = json.loads(lock.read_text()) if lock.is_file() else {}
        return [(name, role, dict(entries.get(name, {}))) for name, role in pack.roles.items()]
    except (ValueError, AttributeError, TypeError) as error:
        raise PackError(f"{lock} is damaged ({error}); delete it and fetch the pack again") from None


def _locked(role: Role, entry: dict[str, Any]) -> Role:
    """The role with what the lock recorded for this very source; a lock of another hub id or revision says nothing of it."""
    if entry.get("hub") != role.hub or (role.revision or entry.get("revision")) != entry.get("revision"):
        return role
    found = entry.get("sha256", {})
    sha256 = {file: expected or found.get(file) for file, expected in role.sha256.items()}
    return role.model_copy(update={"revision": entry.get("revision"), "sha256": sha256})
