"""Hashes of data and code, and the promise that a stage reads no knob it is not given."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from magicapture.artifacts import ArtifactError
from magicapture.config import Config, load_config
from magicapture.registry import lineage

ROOMS = {
    "references": ("preprocess",),
    "training": ("inversion", "tuning"),
    "generation": ("generation",),
    "postprocessing": ("postprocessing",),
    "evaluation": ("evaluation",),
}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_read_only_the_sections_they_are_given(room: str) -> None:
    given = {section for stage in ROOMS[room] for section in lineage.SECTIONS[stage]}
    read = set()
    for path in (lineage.PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute) and node.attr in Config.model_fields:
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
                read |= {node.attr} if owner == "config" else set()
    read -= {"pack", "device", "precision"}
    assert read, f"{room} reads no configuration: does this test still look at the right name?"
    assert read <= given


def test_a_stage_is_deaf_to_later_knobs() -> None:
    plain, changed = (
        load_config("mini"),
        load_config("mini", ["promotion.policy.margin=0.5", "evaluation.weight_style=3", "generation.prompts=[x]"]),
    )
    for stage in ("preprocess", "inversion", "tuning", "postprocessing"):
        assert lineage.stage_config(plain, stage) == lineage.stage_config(changed, stage)
    for stage in ("generation", "evaluation"):
        assert lineage.stage_config(plain, stage) != lineage.stage_config(changed, stage)


@pytest.mark.parametrize("stage", lineage.SECTIONS)
def test_stage_config_is_a_valid_configuration_with_the_presets_values(stage: str) -> None:
    full = load_config("mini", ["tuning.lora.rank=3", "pack=somewhere"])
    part = load_config(json.loads(lineage.stage_config(full, stage)))
    assert part.pack == "somewhere"
    for section in lineage.SECTIONS[stage]:
        unread = {name.partition(".")[2] for name in lineage.UNREAD.get(stage, ()) if name.startswith(f"{section}.")}
        assert getattr(part, section).model_dump(exclude=unread) == getattr(full, section).model_dump(exclude=unread)


def test_code_hash_sees_source_and_templates_only(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "page.html").write_text("<p>")
    first = lineage.code_hash(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"1")
    assert lineage.code_hash(tmp_path) == first
    (tmp_path / "b" / "page.html").write_text("<div>")
    second = lineage.code_hash(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    assert len({first, second, lineage.code_hash(tmp_path)}) == 3


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose data/ DVC tracks."""
    root = tmp_path_factory.mktemp("repo")
    for name, text in (("person/a.jpg", "1"), ("person/b c.jpg", "2"), ("look/é.jpg", "3")):
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_text(text)
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["dvc", "add", "-q", "data"],
        ["git", "add", "."],
        ["git", *identity, "commit", "-qm", "data"],
        ["git", *identity, "commit", "-qm", "code", "--allow-empty"],
    ):
        subprocess.run(command if command[0] == "git" else [sys.executable, "-m", *command], cwd=root, check=True, capture_output=True)
    return root


def test_dvc_names_the_data(tracked: Path) -> None:
    tags = lineage.data_lineage(tracked / "data" / "person", tracked / "data" / "look")
    assert f"md5: {tags['data.dvc']}" in (tracked / "data.dvc").read_text()
    assert tags["data.dirty"] == "false"
    parent = subprocess.run(["git", "rev-parse", "HEAD~1"], cwd=tracked, check=True, capture_output=True, text=True).stdout
    assert tags["data.revision"] == parent.strip()  # a commit that leaves the data alone makes no new data
    changed = tracked / "data" / "person" / "a.jpg"
    changed.write_text("other")
    try:
        again = lineage.data_lineage(tracked / "data" / "person", tracked / "data" / "look")
    finally:
        changed.write_text("1")
    assert again["data.dirty"] == "true"
    assert again["data.hash"] != tags["data.hash"]


def test_untracked_data_has_a_hash_alone(tmp_path: Path) -> None:
    for name in ("person", "look"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_text(name)
    tags = lineage.data_lineage(tmp_path / "person", tmp_path / "look")
    assert set(tags) == {"data.hash", "subjects"} and tags["subjects"] == '["person"]'
    with pytest.raises(ArtifactError, match="looks folder .* does not exist.*dvc pull"):
        lineage.data_lineage(tmp_path / "person", tmp_path / "gone")


@pytest.mark.parametrize("preset", ["mini", "mini-objects"])
@pytest.mark.parametrize("stage", lineage.SECTIONS)
def test_a_stage_records_what_it_was_given_and_no_more(stage: str, preset: str) -> None:
    given = json.loads(lineage.stage_config(load_config(preset), stage))
    assert load_config(given, partial=True).recorded() == given
