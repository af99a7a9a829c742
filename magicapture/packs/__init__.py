"""Packs: which weights play which role.

A pack is a folder with ``pack.yaml``: role -> file (or hub id + revision), sha256, licence, commercial use. Stages ask for
roles, never for files::

    pack = load_pack("mini")
    pack.path("diffusion")   # a Stable Diffusion folder in diffusers layout
    pack.path("recogniser")  # an ONNX file; pack.role("recogniser") holds its other settings

``mini`` is embedded whole. Of the large packs only pack.yaml is: ``magicapture.packs.fetch`` gets their files, when asked to, into
the user's pack folder, and records in ``pack.lock`` there what pack.yaml could not know.
"""

from __future__ import annotations

from magicapture.packs.independence import require_independent, trained_against
from magicapture.packs.pack import ROLES, Pack, PackError, Role, load_pack, pack_names

__all__ = ["ROLES", "Pack", "PackError", "Role", "load_pack", "pack_names", "require_independent", "trained_against"]
