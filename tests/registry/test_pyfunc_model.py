"""The model's input and output; a real adapter is loaded and asked for pictures in tests/test_pipeline.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from magicapture.registry import pyfunc_model


@pytest.mark.parametrize(
    ("given", "prompts", "seeds"),
    [
        ("a [V1]", ["a [V1]"], [0]),
        (["a", "b"], ["a", "b"], [0, 1]),
        ([{"prompt": "a", "seed": 7}], ["a"], [7]),
        (np.array(["a", "b"]), ["a", "b"], [0, 1]),
        (pd.DataFrame({"prompt": ["a", "b"], "seed": [5, 5]}), ["a", "b"], [5, 5]),
        (pd.DataFrame({"prompt": ["a"]}), ["a"], [0]),
        (pd.DataFrame({"prompt": ["a", "b"], "seed": [5, None]}), ["a", "b"], [5, 1]),
        ([{"prompt": "a"}, {"prompt": "b", "seed": None}], ["a", "b"], [0, 1]),
        (pd.DataFrame(["a", "b"]), ["a", "b"], [0, 1]),
    ],
)
def test_read_input(given: object, prompts: list[str], seeds: list[int]) -> None:
    assert pyfunc_model.read_input(given) == (prompts, seeds)


@pytest.mark.parametrize("given", [[], [3], [{"text": "a"}], pd.DataFrame({"a": ["x"], "b": ["y"]})])
def test_an_input_without_prompts_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="column 'prompt'"):
        pyfunc_model.read_input(given)
