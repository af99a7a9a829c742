"""Phase 1: textual inversion of the concepts' tokens on source and reference rows (paper, eq. 9). Nothing else is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from magicapture import adapters
from magicapture.artifacts import subjects_of, writing
from magicapture.backbones import TokenEmbedding, TokenEmbeddings
from magicapture.config import Config, Inversion
from magicapture.faces.concepts import REFERENCE_TOKEN, SOURCE_TOKEN
from magicapture.training.session import open_session, write_curves
from magicapture.training.trainer import Recipe, Trainer, fixed_threads, machine


def run(prepared: str | Path, out: str | Path, config: Config, seed: int, checkpoints: str | Path) -> Path:
    """Learn ``[V1]`` from the source set and ``[V2]`` from the reference set (of several subjects or looks each its own,
    ``faces.concepts``); write a ``tokens/1`` artifact to ``out``.

    Killed and called again with the same arguments it continues from its last checkpoint and ends with the same tensors.
    """
    knobs = config.inversion
    with fixed_threads(config.training.threads) as threads:
        session = open_session("inversion", prepared, config, seed, checkpoints, f"threads {config.training.threads}")
        tokens = session.backbone.tokens
        add_initial(tokens, knobs, seed, session.data.subjects, session.data.looks)
        recipe = Recipe(
            phase="inversion",
            steps=knobs.steps,
            kinds=("source", "reference"),
            groups=[{"params": list(tokens.vectors.values()), "lr": knobs.learning_rate, "weight_decay": knobs.weight_decay}],
            after_update=(lambda: pull_all_norms(tokens, knobs.learning_rate)) if knobs.norm_pull else None,
        )
        progress = Trainer(session.backbone, session.data, recipe, config.training, seed, session.checkpoints).run()
    learnt = adapters.tensors(session.backbone)
    whose = subjects_of(session.prepared.manifest)
    with writing(out, "tokens/1", lineage=session.lineage, config=config.recorded(), subjects=whose) as draft:
        adapters.save_tokens(draft.path / "tokens.safetensors", learnt)
        write_curves(draft.path / "curves.jsonl", progress.curves)
        draft.content = {
            "pack": session.pack.name,
            "pack_digest": session.pack.digest(),
            "diffusion_digest": session.pack.digest("diffusion"),
            "steps": progress.step,
            "tensor_hash": adapters.tensor_hash(learnt),
            "seed": seed,
            "examples_seen": progress.step * config.training.accumulation * config.training.rows * len(recipe.kinds),
            "machine": machine(session.backbone),
            "threads": threads,
            "train_seconds": round(progress.seconds, 2),
        }
    return Path(out)


def add_initial(
    tokens: TokenEmbedding | TokenEmbeddings,
    config: Inversion,
    seed: int,
    subjects: Sequence[str] = (SOURCE_TOKEN,),
    looks: Sequence[str] = (REFERENCE_TOKEN,),
) -> None:
    """Add the tokens at their starts: a word's vector, or without a word Gaussian with the vocabulary's standard deviation, as further
    vectors of a token are.

    In every text encoder, from its own vocabulary. Raises ValueError for an initialiser that is not in the vocabulary.
    """
    generator = torch.Generator().manual_seed(seed)
    for encoder in tokens.encoders:
        # The looks' first, so that equal seeds give equal starts whatever the source starts from.
        drawn = torch.randn(config.vectors, len(looks) + len(subjects), encoder.width, generator=generator) * encoder.std
        starts = [(token, config.reference_initialiser) for token in looks] + [(token, config.source_initialiser) for token in subjects]
        for number in [*range(len(looks), len(starts)), *range(len(looks))]:
            token, word = starts[number]
            for i, vector in enumerate(drawn[:, number]):
                encoder.add(f"{token}_{i}" if i else token, encoder.vector_of(word) if word and not i else vector)


def pull_all_norms(tokens: TokenEmbedding | TokenEmbeddings, learning_rate: float) -> None:
    """:func:`pull_norms` of every token, in each text encoder to the median norm of its own vocabulary."""
    for encoder in tokens.encoders:
        pull_norms(list(encoder.vectors.values()), encoder.median_norm, learning_rate)


def pull_norms(vectors: list[torch.nn.Parameter], target: float, learning_rate: float) -> None:
    """Move each vector's norm towards ``target`` by the share min(1, 100 x learning rate) (original code, there to 0.4)."""
    share = min(1.0, 100 * learning_rate)
    with torch.no_grad():
        for vector in vectors:
            norm: Tensor = vector.norm().clamp(min=1e-12)
            vector.mul_((norm + share * (target - norm)) / norm)
