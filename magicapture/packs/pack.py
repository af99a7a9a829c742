"""Reading and verifying ``pack.yaml``."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from magicapture.artifacts import sha256_file

EMBEDDED = Path(__file__).parent
ROLES = (
    "diffusion", "detector", "recogniser", "recogniser_torch", "judge", "referee", "parser",
    "clip", "aesthetic", "restorer", "upscaler", "structure",
)  # fmt: skip


class PackError(ValueError):
    """A pack that cannot be used: names pack, role, file, and what to do."""


class Role(BaseModel):
    """One role's weights: where they are, what they are, under which licence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="File or folder, relative to the pack folder.")
    hub: str | None = Field(None, description="Hub id the file is fetched from; null: embedded.")
    revision: str | None = Field(None, description="Commit of the hub repository; null until the first fetch records it in pack.lock.")
    sha256: dict[str, str | None] = Field(
        default_factory=dict, description="File (relative to path's folder, or the file's own name) -> sha256."
    )
    licence: str = Field(description="SPDX id or name.")
    commercial: bool = Field(description="Whether commercial use is allowed.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="What code must know to use it: size, mean, std, scale, token length..."
    )


class Pack(BaseModel):
    """A loaded ``pack.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    description: str
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
            raise PackError(f"pack {self.name!r}: {name} is missing ({path}); restore it (`git checkout -- {self.folder}`)")
        return path

    def verify(self, *names: str) -> dict[str, str]:
        """Check sha256 of the named roles (all when none): role -> "ok" or what is wrong."""
        return {name: self._state(name) for name in names or self.roles}

    def require(self, *names: str) -> None:
        """Raise PackError unless every named role is there and unaltered."""
        bad = {name: state for name, state in self.verify(*names).items() if state != "ok"}
        if bad:
            listed = "; ".join(f"{name}: {state}" for name, state in bad.items())
            raise PackError(f"pack {self.name!r} cannot be used: {listed}; restore it (`git checkout -- {self.folder}`)")

    def digest(self) -> str:
        """16 hex digits over every recorded sha256: the pack's part of a lineage key."""
        data = {name: role.sha256 for name, role in sorted(self.roles.items())}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    def _state(self, name: str) -> str:
        role = self.role(name)
        path = self.folder / role.path
        if not path.exists():
            return f"missing ({path})"
        for file, expected in role.sha256.items():
            target = path / file if path.is_dir() else path.parent / file
            if not target.is_file():
                return f"missing ({target})"
            if expected is None:
                continue
            found = _digest_of(str(target), target.stat().st_mtime_ns, target.stat().st_size)
            if found != expected:
                return f"{target.name} has sha256 {found[:12]}..., expected {expected[:12]}... (corrupt or replaced)"
        return "ok"


@cache
def _digest_of(path: str, _mtime: int, _size: int) -> str:
    return sha256_file(Path(path))


def pack_names() -> list[str]:
    """Names of the embedded packs."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/pack.yaml"))


def load_pack(name: str | Path) -> Pack:
    """An embedded pack by name, or any folder that holds a pack.yaml. Raises PackError."""
    folder = EMBEDDED / str(name)
    if not (folder / "pack.yaml").is_file():
        folder = Path(name)
    file = folder / "pack.yaml"
    if not file.is_file():
        raise PackError(f"no pack {str(name)!r}: neither embedded ({', '.join(pack_names())}) nor a folder with a pack.yaml")
    try:
        return Pack.model_validate({**yaml.safe_load(file.read_text()), "folder": folder.resolve()})
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        raise PackError(f"{file} is not a usable pack.yaml: {error}") from None
