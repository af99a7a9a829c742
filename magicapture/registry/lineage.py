"""What a run is made of: hashes of data, code and pack, and which knobs each stage reads. No MLflow here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import yaml

from magicapture.artifacts import SUBJECTS, ArtifactError, lineage_key
from magicapture.config import Config
from magicapture.data import folder_concepts, folder_md5, folder_name, is_address, name_subjects, pair_hash, revision_tags
from magicapture.data.subjects import UNNAMED
from magicapture.data.tools import git_says
from magicapture.packs.pack import load_pack

PACKAGE = Path(__file__).parent.parent
CODE_SUFFIXES = (".py", ".html", ".j2", ".css", ".js")

# The sections of the configuration that reach a stage. A stage is given these alone (the others are unknown to it, and it records none of
# them: Config.recorded), so that a knob of a later stage never makes an earlier one run again; tests/registry/test_lineage.py holds the
# rooms to it. Evaluation gets all: its report shows the whole configuration.
SECTIONS: dict[str, tuple[str, ...]] = {
    "preprocess": ("preprocess", "promotion"),
    "inversion": ("training", "inversion"),
    "tuning": ("training", "tuning", "generation", "evaluation"),
    "generation": ("generation", "evaluation"),
    "postprocessing": ("postprocessing",),
    "evaluation": (
        "preprocess",
        "training",
        "inversion",
        "tuning",
        "search",
        "generation",
        "postprocessing",
        "evaluation",
        "promotion",
    ),
}
# Validation while tuning samples with the user's sampler and scales and avoids the user's seeds, but has its own prompts; of evaluation
# tuning asks only whether the network trained against may judge.
_SCORING = ("weight_identity", "weight_style", "weight_aesthetic", "baseline_images", "strangers")
# Of promotion preprocessing asks whose photos they are.
UNREAD = {
    "preprocess": ("promotion.model_name", "promotion.style", "promotion.lock_wait", "promotion.policy"),
    "tuning": ("generation.prompts", *(f"evaluation.{knob}" for knob in _SCORING)),
}


def stage_config(config: Config, stage: str) -> str:
    """The knobs a stage may read, as JSON with sorted keys: equal knobs give equal text (a cache key)."""
    data = config.model_dump(mode="json", include={"pack", "device", "precision", *SECTIONS[stage]})
    for dotted in UNREAD.get(stage, ()):
        section, _, knob = dotted.partition(".")
        data[section].pop(knob)
    return json.dumps(data, sort_keys=True)


def code_hash(package: Path = PACKAGE) -> str:
    """16 hex digits over the names and contents of the package's source files (weights and presets left out)."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in CODE_SUFFIXES and path.is_file():
            digest.update(str(path.relative_to(package)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def data_lineage(photos: str | Path, looks: str | Path, subject: str = UNNAMED) -> dict[str, str]:
    """Tags that name the data: its content hash and, where DVC tracks it, DVC's md5, commit and state.

    Keys ``data.hash`` always, equal for a folder and for the address it came from; ``data.dvc`` (md5 in the .dvc file),
    ``data.revision`` (the commit that last touched that file; of an address the one that its branch or tag means), ``data.source`` (an
    address) and ``data.dirty`` ("true" when the folder differs from what the file records) when DVC tracks the photos. ``subjects``:
    whose photos they are, as :func:`subjects_tag` writes it; ``subject`` is promotion.subject.
    Raises ArtifactError for a folder that does not exist, DataError for an address that cannot be read.
    """
    for name, folder in (("photos", photos), ("looks", looks)):
        if not is_address(folder) and not Path(folder).is_dir():
            raise ArtifactError(f"{name} folder {folder} does not exist; give a folder of pictures (for the sample data: `dvc pull`)")
    tags = {"data.hash": pair_hash(photos, looks)}
    files: list[str] = []
    if is_address(photos):
        revision, files = revision_tags(str(photos))
        tags |= revision
    tags[SUBJECTS] = subjects_tag(name_subjects(dict.fromkeys(folder_concepts(photos, files), ()), folder_name(photos), subject))
    if is_address(photos):
        return tags
    tracked = _dvc_file(Path(photos).resolve())
    if tracked:
        output = yaml.safe_load(tracked.read_text())["outs"][0]
        tags["data.dvc"] = str(output["md5"])
        tags["data.dirty"] = str(folder_md5(tracked.parent / output["path"]) != output["md5"]).lower()
        tags["data.revision"] = _git(tracked.parent, "log", "-1", "--format=%H", "--", tracked.name)
    return tags


def code_lineage(package: Path = PACKAGE) -> dict[str, str]:
    """Tags that name the code: its hash, the git commit and whether the checkout differs from it.

    Stage images carry no git: there the build writes MAGICAPTURE_COMMIT.
    """
    commit = _git(package, "rev-parse", "HEAD")
    dirty = str(bool(_git(package, "status", "--porcelain", "--untracked-files=no"))).lower() if commit else "unknown"
    return {"code.hash": code_hash(package), "git.commit": commit or os.environ.get("MAGICAPTURE_COMMIT", "unknown"), "git.dirty": dirty}


def run_lineage(photos: str | Path, looks: str | Path, config: Config, seeds: Iterable[int]) -> dict[str, str]:
    """All lineage tags of a run; ``lineage`` names the whole of it: data + configuration + pack + code + seeds."""
    tags = data_lineage(photos, looks, config.promotion.subject) | code_lineage()
    tags |= {"pack": config.pack, "pack.digest": load_pack(config.pack).digest(), "config.digest": config.digest()}
    tags["seeds"] = ",".join(str(seed) for seed in seeds)
    tags["lineage"] = lineage_key(*(tags[name] for name in ("data.hash", "code.hash", "pack.digest", "config.digest", "seeds")))
    return tags


def subjects_tag(names: Iterable[str]) -> str:
    """Names of the people that a run or a model version is of, as the value of its tag ``subjects``: a JSON list."""
    return json.dumps(sorted(names), ensure_ascii=False)


def _git(folder: Path, *arguments: str) -> str:
    """What git says; "" where there is no git, no repository or no commit. Waiting for longer would hold the run up."""
    return git_says(folder, *arguments, timeout=20)


def _dvc_file(folder: Path) -> Path | None:
    """The ``NAME.dvc`` beside the folder or one of its ancestors NAME."""
    for path in (folder, *folder.parents):
        candidate = path.with_name(path.name + ".dvc") if path.name else path
        if candidate.is_file():
            return candidate
    return None
