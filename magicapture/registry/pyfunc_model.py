"""The model version as MLflow loads it: prompts in, PNG pictures out. Logged as this file (no pickle), run by ``load_model``.

``mlflow.pyfunc.load_model("models:/NAME@champion").predict(x)`` takes a prompt, a list of prompts, or a DataFrame with a
column ``prompt`` and optionally ``seed`` (else 0, 1, 2, ...). Prompts say ``[V1]`` for the person and ``[V2]`` for the
look. It returns a list of PNG files as bytes, one a prompt; MLflow's scoring server sends bytes as base64.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import mlflow
import mlflow.pyfunc


class Portraits(mlflow.pyfunc.PythonModel):
    """Samples portraits from an adapter; torch and the pack are loaded with the model, not with this file."""

    def load_context(self, context: Any) -> None:
        """Load the adapter onto its pack; ``context.artifacts`` holds the folder "adapter" and the file "config"."""
        from magicapture.config import load_config
        from magicapture.generation import Generator

        self.generator = Generator(context.artifacts["adapter"], load_config(context.artifacts["config"]))

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> list[bytes]:
        """PNG bytes for each prompt. Raises ValueError for an input without prompts."""
        from PIL import Image

        prompts, seeds = read_input(model_input)
        files = []
        for picture in self.generator.predict(prompts, seeds):
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG")
            files.append(file.getvalue())
        return files


def read_input(model_input: Any) -> tuple[list[str], list[int]]:
    """Prompts and seeds of a string, a list of strings, a list of mappings, or a DataFrame."""
    if isinstance(model_input, str):
        model_input = [model_input]
    if hasattr(model_input, "to_dict"):
        columns = list(model_input.columns)
        if "prompt" not in columns and len(columns) == 1:  # MLflow makes a DataFrame of one unnamed column of a list
            model_input = model_input.set_axis(["prompt"], axis=1)
        model_input = model_input.to_dict("records")
    rows = [{"prompt": row} if isinstance(row, str) else row for row in model_input]
    if not rows or not all(isinstance(row, Mapping) and isinstance(row.get("prompt"), str) for row in rows):
        raise ValueError("expected prompts: a string, a list of strings, or a DataFrame with a column 'prompt' (and optionally 'seed')")
    # A DataFrame says NaN, which is not equal to itself, where a row has no seed.
    seeds = [index if (seed := row.get("seed")) is None or seed != seed else int(seed) for index, row in enumerate(rows)]
    return [row["prompt"] for row in rows], seeds


mlflow.models.set_model(Portraits())
