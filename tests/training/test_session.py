"""What a phase goes on from, and what it never goes on from: the lineage names everything that decides its tensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from magicapture.artifacts import sha256_file
from magicapture.faces.prepared import SHEET, PreparedSet
from magicapture.packs import Pack
from magicapture.training import session
from magicapture.training.session import open_session
from tests.training.conftest import tiny_config

Lineage = Callable[..., str]


@pytest.fixture
def lineage(prepared: PreparedSet, pack: Pack, tmp_path: Path, latents: Path) -> Lineage:
    """Of a phase with overrides, on other pictures or another pack where they are given."""
    shutil.copytree(latents, tmp_path / "checkpoints" / "latents")

    def of(phase: str, *knobs: str, on: Path = prepared.folder, of_pack: Pack = pack, seed: int = 0) -> str:
        return open_session(phase, on, tiny_config(of_pack, *knobs), seed, tmp_path / "checkpoints").lineage

    return of


@pytest.mark.parametrize(
    ("knob", "phases"),
    [
        ("inversion.steps=5", {"inversion"}), ("tuning.steps=7", {"tuning"}), ("training.rows=2", {"inversion", "tuning"}),
        ("training.augment.versions=2", {"inversion", "tuning"}), ("precision=bf16", {"inversion", "tuning"}),
        # Validation samples with them, and so they choose the best step.
        *((f"generation.{knob}", {"tuning"}) for knob in ("guidance=3.0", "steps=3", "sampler=euler_ancestral", "negative_prompt=grey")),
        *((f"generation.{knob}", {"tuning"}) for knob in ("unet_scale=0.5", "text_scale=0.5", "seeds=[3]", "batch=1")),
        # What follows training.
        ('generation.prompts=["a [V1] person"]', set()), ("postprocessing.upscale=1", set()), ("promotion.subject=anna", set()),
        ("evaluation.baseline_images=1", set()), ("search.seeds=2", set()),
    ],
)  # fmt: skip
def test_a_knob_is_of_the_phases_that_it_decides(lineage: Lineage, knob: str, phases: set[str]) -> None:
    assert {phase for phase in ("inversion", "tuning") if lineage(phase) != lineage(phase, knob)} == phases


def test_another_seed_is_another_lineage_and_the_same_again_is_not(lineage: Lineage) -> None:
    found = [lineage(phase, seed=seed) for phase in ("inversion", "tuning") for seed in (0, 1)]
    assert len(set(found)) == 4 and found[0] == lineage("inversion")


def test_other_pictures_are_another_lineage_but_another_sheet_is_not(lineage: Lineage, prepared: PreparedSet, tmp_path: Path) -> None:
    other = Path(shutil.copytree(prepared.folder, tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    (other / SHEET).write_text("drawn otherwise")
    manifest["files"][SHEET] = sha256_file(other / SHEET)
    manifest["content"]["descriptions"] = {"[V1]": "anybody"}
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert lineage("tuning", on=other) == lineage("tuning")
    mask = next(name for name in manifest["files"] if "mask" in name)
    (other / mask).write_bytes((other / mask).read_bytes() + b" ")  # still a PNG, but another file
    manifest["files"][mask] = sha256_file(other / mask)
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert lineage("tuning", on=other) != lineage("tuning")


def test_other_weights_and_other_code_are_other_lineages(
    lineage: Lineage, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lineage("tuning")
    monkeypatch.setattr(session, "code_hash", lambda: "another")
    assert lineage("tuning") != before
    monkeypatch.undo()
    monkeypatch.setattr(Pack, "digest", lambda *_: "another")
    assert lineage("tuning") != before
