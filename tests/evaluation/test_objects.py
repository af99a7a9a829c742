"""Evaluation of an object: no face anywhere, ranked by structure, style and aesthetic; the report and the gate say nothing of faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from magicapture import stages
from magicapture.artifacts import read_manifest
from magicapture.config import Policy
from magicapture.faces import prepared
from magicapture.packs import Pack, load_pack
from magicapture.registry.gate import read_scores, verdict
from magicapture.world.objects import Pose, Texture, Thing, render_object
from tests.backbones import tinyvit
from tests.evaluation import artifacts

PICTURES: dict[str, list[int | None]] = {"portrait": [None, 0, None, None], "base": [None, None]}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def picture(name: str, thing: int, texture: str, mask: bool) -> prepared.Picture:
        made = render_object(Thing.sample(thing, "vase"), Texture.sample(thing, texture), Pose.sample(thing))
        return prepared.Picture(name, made.image, np.zeros((64, 64), np.uint8), made.mask & mask, sha256=name)

    return prepared.write(
        tmp_path_factory.mktemp("things") / "prepared", resolution=64, source=[picture(f"photo-{i}", 1, "wood", True) for i in range(2)],
        reference=[picture(f"look-{i}", 2 + i, "gold", False) for i in range(2)], embeddings={"source.judge": np.zeros((0, 0))},
    )  # fmt: skip


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifacts.marker_portraits(tmp_path_factory.mktemp("stage") / "portraits", PICTURES)


def evaluate(pack: Pack, portraits: Path, things: Path, out: Path) -> dict:
    folder = stages.evaluate(portraits, things, out, artifacts.config(pack))
    return json.loads((folder / "scores.json").read_text())


def test_structure_takes_the_place_of_identity(portraits: Path, things: Path, tmp_path: Path) -> None:
    folder = tinyvit.add_role(artifacts.marker_pack(tmp_path / "pack").folder)
    pack = load_pack(folder)
    pack.path("detector").write_bytes(b"never read")
    scores = evaluate(load_pack(folder), portraits, things, tmp_path / "out")
    assert all(item["face"] is None and item["identity"] is None and item["referee"] is None for item in scores["items"])
    for item in scores["items"]:
        assert -1 <= item["structure"] <= 1
        assert item["selection"] == pytest.approx(item["structure"] + item["style"] + 0.02 * item["aesthetic"], abs=1e-4)
    own = [item["selection"] for item in scores["items"] if item["kind"] == "portrait"]
    assert own == sorted(own, reverse=True) and scores["sets"]["portrait"]["faces"] is None
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The thing" in page and "built as the photos are" in page
    body = page[page.index("<body>") : page.index("<pre>")].lower().replace("faces masked out", "")
    assert "face" not in body and "judge" not in body


def test_without_the_role_style_and_aesthetic_rank_and_the_gate_lets_it_pass(
    pack: Pack, portraits: Path, things: Path, tmp_path: Path
) -> None:
    scores = evaluate(pack, portraits, things, tmp_path / "out")
    for item in scores["items"]:
        assert item["structure"] is None
        assert item["selection"] == pytest.approx(item["style"] + 0.02 * item["aesthetic"], abs=1e-4)
    content = read_manifest(tmp_path / "out", "evaluation")["content"]
    assert content["identity"] is None and content["selection"] is not None
    found = read_scores(tmp_path / "out")
    assert found.faces is None and "faces" not in found.tags()
    assert verdict(found, None, Policy(min_identity=0.5)).outcome == "champion"
