"""Generation: prompts x seeds -> pictures with a manifest (``images/1``), beside two baselines of the untuned model."""

from __future__ import annotations

from magicapture.generation.generator import GenerationError, Generator
from magicapture.generation.prompts import attributes_prompt, base_prompt
from magicapture.generation.stage import run

__all__ = ["GenerationError", "Generator", "attributes_prompt", "base_prompt", "run"]
