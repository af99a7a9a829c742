"""A tuned adapter, ready to turn prompts into pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magicapture import adapters
from magicapture.artifacts import read_manifest
from magicapture.backbones import Backbone, load_backbone
from magicapture.config import Config
from magicapture.faces.concepts import unknown
from magicapture.packs import load_pack

_log = logging.getLogger(__name__)


class GenerationError(ValueError):
    """Prompts, seeds or an adapter that cannot be used: names what was given, what was expected, what to do."""


class Generator:
    """An ``adapter/1`` folder on the backbone it was trained on, with the scales and sampler of ``config.generation``.

    Raises ArtifactError for a missing or damaged adapter, GenerationError for one of another pack, PackError, BackboneError.
    """

    def __init__(self, adapter_folder: str | Path, config: Config) -> None:
        self.config = config
        #: ``content`` of the adapter's manifest.
        self.adapter: dict[str, Any] = read_manifest(adapter_folder, "adapter", verify=True)["content"]
        pack = load_pack(config.pack)
        if not pack.fits(self.adapter):
            raise GenerationError(
                f"adapter {adapter_folder} was trained on pack {self.adapter['pack']!r} (digest {self.adapter['pack_digest']}), but "
                f"config.pack is {config.pack!r} (digest {pack.digest()}); an adapter fits only the weights it was trained on: set pack to "
                "that one, or tune again"
            )
        self.backbone: Backbone = load_backbone(pack, config.device, config.precision)
        adapters.load(adapter_folder, self.backbone, config.generation.unet_scale, config.generation.text_scale)

    def predict(self, prompts: Sequence[str], seeds: Sequence[int] | None = None) -> np.ndarray:
        """One picture per prompt and its seed: uint8 (N, H, W, 3) RGB.

        ``seeds`` None: the first of ``config.generation.seeds`` for every prompt. Raises GenerationError.
        """
        seeds = [self.config.generation.seeds[0]] * len(prompts) if seeds is None else seeds
        self.check(prompts, seeds)
        if len(prompts) != len(seeds):
            raise GenerationError(f"{len(prompts)} prompts but {len(seeds)} seeds; expected one seed for every prompt")
        for warning in self.warnings(prompts):
            _log.warning(warning)
        return self.sample(prompts, seeds)

    def sample(self, prompts: Sequence[str], seeds: Sequence[int], *, tuned: bool = True) -> np.ndarray:
        """One picture per (prompt, seed) pair: uint8 (N, H, W, 3); by the untuned base model unless ``tuned``."""
        if not tuned:
            with adapters.disabled(self.backbone):
                return self.sample(prompts, seeds)
        knobs = self.config.generation
        return self.backbone.sample(
            prompts,
            seeds,
            steps=knobs.steps,
            guidance=knobs.guidance,
            sampler=knobs.sampler,
            negative_prompt=knobs.negative_prompt,
            batch=knobs.batch,
            size=knobs.size,
        )

    def check(self, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        """Raise GenerationError for no prompts, no seeds, unknown placeholders, and seeds that are not 0 to 2**63 - 1."""
        if isinstance(prompts, str) or not prompts or not seeds:
            raise GenerationError(f"expected lists of at least one prompt and one seed; got prompts {prompts!r}, seeds {seeds!r}")
        known = self.backbone.tokens.ids
        for prompt in prompts:
            for token in unknown(prompt, known):
                raise GenerationError(f"prompt {prompt!r}: {token} is not a token of this adapter; it has {', '.join(known)}")
        for seed in seeds:
            if isinstance(seed, bool) or seed != int(seed) or not 0 <= seed < 2**63:
                raise GenerationError(f"seed {seed!r}: expected a whole number from 0 to 2**63 - 1")

    def warnings(self, prompts: Sequence[str]) -> list[str]:
        """What a person should know about these prompts: those that do not fit into the text encoder."""
        cut = [(prompt, self.backbone.cut_off(prompt)) for prompt in dict.fromkeys([*prompts, self.config.generation.negative_prompt])]
        length = self.backbone.text_length - 2
        return [f"prompt {prompt!r} is longer than {length} tokens; left out: {rest!r}" for prompt, rest in cut if rest]
