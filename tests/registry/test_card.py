"""What a version says of itself."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest
import yaml

from magicapture.packs import load_pack
from magicapture.registry.card import card
from magicapture.registry.gate import Scores
from tests.registry.artifacts import knobs

SCORES = Scores("p1", 1, {("a", 0): (1.0, 1.0, 1.0, 1.0)})


@pytest.mark.parametrize(
    ("sections", "learnt"),
    [
        ({}, "LoRA and learnt tokens"),
        ({"tuning": {"trainable": "all"}}, "weights of the whole UNet and text encoder and learnt tokens"),
        ({"tuning": {"trainable": "cross_attention"}}, "weights of the UNet's cross-attention and learnt tokens"),
        ({"tuning": {"trainable": "tokens"}}, "look **noir**: learnt tokens"),
    ],
)
def test_the_card_says_what_was_learnt(sections: dict[str, dict], learnt: str) -> None:
    text = card("m.a.b", knobs(**sections), SCORES, {})
    assert f"{learnt} for the pack `mini`" in text and ("LoRA" in text) == (not sections)


def test_the_card_asks_consent_of_people_and_not_of_things() -> None:
    person = card("m.a.b", knobs(), SCORES, {})
    assert person.endswith("\n\nIt shows the faces of people. Use it with the consent of everyone it shows only.\n")
    thing = card("m.a.b", knobs(preprocess={"region": "object"}), SCORES, {})
    assert "consent" not in thing and "face" not in thing


def test_the_card_says_what_the_licences_allow(tmp_path: Path) -> None:
    assert "\nIts weights' licences allow commercial use.\n" in card("m.a.b", knobs(), SCORES, {})
    shutil.copytree(load_pack("mini").folder, tmp_path / "pack")
    told = yaml.safe_load((tmp_path / "pack" / "pack.yaml").read_text())
    for role in ("restorer", "judge"):
        told["roles"][role]["commercial"] = False
    (tmp_path / "pack" / "pack.yaml").write_text(yaml.safe_dump(told))
    assert "\nNot for commercial use: judge, restorer.\n" in card("m.a.b", knobs(pack=str(tmp_path / "pack")), SCORES, {})
    assert "\nThe licences of its weights are in the pack's pack.yaml.\n" in card("m.a.b", knobs(pack="elsewhere"), SCORES, {})


def test_the_cards_code_is_python_whatever_the_prompt() -> None:
    prompt = 'a [V1] "person"\nin `the` [V2] style \\ ü'
    text = card("m.a.b", knobs(generation={"prompts": [prompt]}), SCORES, {})
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (found,) = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant) and "person" in str(node.value)]
    assert found == prompt.replace("`", "'")
