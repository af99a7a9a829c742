"""What a version says of itself."""

from __future__ import annotations

import ast
import re

from magicapture.registry.card import card
from magicapture.registry.gate import Scores
from tests.registry.artifacts import knobs


def test_the_cards_code_is_python_whatever_the_prompt() -> None:
    prompt = 'a [V1] "person"\nin `the` [V2] style \\ ü'
    text = card("m.a.b", knobs(generation={"prompts": [prompt]}), Scores("p1", 1, {("a", 0): (1.0, 1.0, 1.0, 1.0)}), {})
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (found,) = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant) and "person" in str(node.value)]
    assert found == prompt.replace("`", "'")
