"""Phase 2: LoRA and the tokens together on source, reference and composed rows (paper, eq. 10)."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from magicapture import adapters
from magicapture.adapters.lora import UNET_TARGETS
from magicapture.artifacts import content_hash, read_manifest, subjects_of, writing
from magicapture.backbones import Backbone
from magicapture.backbones.recogniser import load_recogniser
from magicapture.backbones.structure import load_structure
from magicapture.config import Config, Tuning
from magicapture.faces.concepts import TOKENS, of_side
from magicapture.faces.prepared import PreparedItem, PreparedSet, SetName
from magicapture.packs import load_pack, require_independent, trained_against
from magicapture.training.attention import AttentionMaps
from magicapture.training.data import TrainingData
from magicapture.training.identity import FaceIdentity, embed_person
from magicapture.training.prior import class_examples
from magicapture.training.prompts import KINDS
from magicapture.training.session import Session, open_session, write_curves
from magicapture.training.structure import Structure, mean_cls
from magicapture.training.trainer import Progress, Recipe, Trainer, fixed_threads, machine
from magicapture.training.validation import Validation, draw_attention

log = logging.getLogger(__name__)


def run(
    prepared: str | Path,
    tokens: str | Path,
    out: str | Path,
    config: Config,
    seed: int,
    checkpoints: str | Path,
    until_step: int | None = None,
) -> Path:
    """Tune from the tokens of phase 1 and write an ``adapter/1`` artifact to ``out``: the best step by the judge, and the last.

    Raises PackError for a ``tuning.recogniser`` that the pack lacks or whose network is the judge or the referee too.
    ``until_step`` stops early; the next call goes on as if this one had not stopped. Killed and called again it ends with the same tensors.
    """
    inverted = read_manifest(tokens, "tokens")
    start = adapters.load_tokens(Path(tokens) / "tokens.safetensors")
    pack = load_pack(config.pack)
    if _uses_structure(config.tuning):
        load_structure(pack)  # before the rest is read
    trained = trained_against(pack, config.tuning.recogniser) if _uses_identity(config.tuning) else None
    # The judge picks the best step, and evaluation would refuse what hours of training have made.
    require_independent(pack, trained, config.evaluation.allow_trained_network)
    more = (adapters.tensor_hash(start), f"threads {config.training.threads}")
    with fixed_threads(config.training.threads) as threads:
        session = open_session("tuning", prepared, config, seed, checkpoints, *more)
        _check_pack(inverted["content"], session, Path(tokens))
        for token, vector in start.items():
            session.backbone.tokens.add(token, vector)
        _check_tokens(session, Path(tokens))
        recipe, margin = build_recipe(session, config, seed)
        data = training_rows(session, config)
        progress = Trainer(session.backbone, data, recipe, config.training, seed, session.checkpoints).run(until_step)
        whose = subjects_of(session.prepared.manifest, inverted)
        with writing(out, "adapter/1", lineage=session.lineage, config=config.recorded(inverted), subjects=whose) as draft:
            last_hash, best_hash = _write(draft.path, session, progress, Path(tokens))
            draft.content = {
                "pack": session.pack.name,
                "pack_digest": session.pack.digest(),
                "diffusion_digest": session.pack.digest("diffusion"),
                "recogniser": None if recipe.identity is None else trained,
                "trainable": config.tuning.trainable,
                "lora": _lora(config.tuning),
                "inversion_steps": inverted["content"]["steps"],
                "best_step": progress.best_step,
                "last_step": progress.step,
                "scores": progress.scores,
                "best_hash": best_hash,
                "last_hash": last_hash,
                "data": content_hash(session.prepared.folder),
                "descriptions": dict(session.prepared.descriptions),
                "seed": seed,
                "train_seconds": round(progress.seconds, 2),
                "step_seconds": round(progress.step_seconds, 2),
                "examples_seen": progress.step * config.training.accumulation * config.training.rows * len(recipe.kinds),
                "decoded_margin": margin,
                "machine": machine(session.backbone),
                "threads": threads,
                "tokens": inverted["content"]["tensor_hash"],
            }
    return Path(out)


def _check_pack(content: dict[str, Any], session: Session, tokens: Path) -> None:
    if not session.pack.fits(content):
        raise ValueError(
            f"tokens {tokens} were learnt on pack {content['pack']!r} (digest {content['pack_digest']}), but config.pack is "
            f"{session.pack.name!r} (digest {session.pack.digest()}); tokens fit only the weights they were learnt on: set pack to that "
            "one, or run inversion again"
        )


def _check_tokens(session: Session, tokens: Path) -> None:
    prepared, known = session.prepared, session.backbone.tokens.ids
    wanted, given = ([*prepared.tokens("source"), *prepared.tokens("reference")], [t for plain in TOKENS for t in of_side(known, plain)])
    if given != wanted:
        raise ValueError(
            f"tokens {tokens} hold {', '.join(given)}, but {prepared.folder} shows {', '.join(wanted)}; run inversion on this prepared set"
        )


def build_recipe(session: Session, config: Config, seed: int) -> tuple[Recipe, int | None]:
    """Attach LoRA and put phase 2 together; also the margin (latent cells) that is decoded around faces, None = whole pictures."""
    knobs, backbone = config.tuning, session.backbone
    groups = _trainable(backbone, knobs, seed)
    vectors = list(backbone.tokens.vectors.values())
    for vector in vectors:
        vector.requires_grad_(knobs.token_learning_rate > 0)
    if knobs.trainable == "tokens" and not knobs.token_learning_rate:
        raise ValueError("nothing is trained: tuning.trainable is tokens, and tuning.token_learning_rate 0; raise that, or train lora")
    identity, margin = None, None
    if _uses_identity(knobs):
        if not session.prepared.faces:
            raise ValueError(
                f"tuning.lambda_identity is {knobs.lambda_identity:g}, but {session.prepared.folder} was prepared without faces "
                "(preprocess.region: object); set tuning.lambda_identity: 0, or prepare photos of a person"
            )
        composed = session.data.source if _uses_structure(knobs) else session.data.reference  # as training_rows has them
        faces = [(example.mean[0], example.keypoints[0]) for example in composed if example.keypoints is not None]
        if faces:
            recogniser = load_recogniser(session.pack, knobs.recogniser)
            tokens = session.prepared.tokens("source")
            people = torch.stack([embed_person(recogniser, session.prepared.of([token]).source) for token in tokens])
            identity = FaceIdentity(backbone, recogniser, people, knobs.identity_limit)
            margin = identity.measure_region(torch.stack([latent for latent, _ in faces]), torch.stack([points for _, points in faces]))
        else:
            log.warning("no look has a face: tuning.lambda_identity has no effect")
    structure = None
    if _uses_structure(knobs):
        net = load_structure(session.pack)
        shown = [session.prepared.of([token]).reference for token in session.prepared.tokens("reference")]
        looks = torch.stack([mean_cls(net, [item.image() for item in items]) for items in shown])
        structure = Structure(backbone, net, looks, knobs.identity_limit)
    rows = {"composed": knobs.composed, "prior": bool(knobs.lambda_prior)}
    recipe = Recipe(
        phase="tuning",
        steps=knobs.steps,
        kinds=tuple(kind for kind in (*KINDS, "prior") if rows.get(kind, True)),
        groups=[
            {"params": parameters, "lr": rate, "weight_decay": decay}
            for parameters, rate, decay in (
                (groups.unet, knobs.learning_rate, knobs.weight_decay),
                (groups.text, knobs.text_learning_rate, knobs.weight_decay),
                (vectors, knobs.token_learning_rate, 0.0),
            )
            if parameters and rate  # what has a rate of 0 stays as it is: frozen, and in no group
        ],
        factor=schedule(knobs),
        weights={
            "identity": knobs.lambda_identity,
            "attention": knobs.lambda_attention,
            "prior": knobs.lambda_prior,
            "structure": knobs.lambda_structure,
            "contrast": knobs.lambda_contrast,
            "appearance": knobs.lambda_appearance,
        },
        attention=AttentionMaps(backbone.unet, session.pack.attention_resolution) if knobs.lambda_attention else None,
        identity=identity,
        structure=structure,
        validate=Validation(backbone, session.pack, session.prepared, config, session.folder / "samples"),
        sample_every=knobs.sample_every,
    )
    return recipe, margin


def training_rows(session: Session, config: Config) -> TrainingData:
    """The session's examples; composed rows are source photos where the structure losses count.

    Where prior preservation is on, with class pictures that the backbone draws before it has learnt anything.
    """
    knobs = config.tuning
    composed = "source" if _uses_structure(knobs) else "reference"
    data = replace(session.data, composed=composed, source_composed=knobs.source_composed if knobs.composed else 0.0)
    if not knobs.lambda_prior:
        return data
    prior = class_examples(session.backbone, session.pack, config, session.folder.parent / "latents")
    return replace(data, prior=prior, class_prompt=knobs.class_prompt)


def _uses_identity(knobs: Tuning) -> bool:
    """Whether eq. 7 has a weight and rows to count on."""
    return knobs.lambda_identity > 0 and knobs.composed


def _uses_structure(knobs: Tuning) -> bool:
    """Whether a structure loss has a weight and rows to count on."""
    return knobs.composed and any((knobs.lambda_structure, knobs.lambda_contrast, knobs.lambda_appearance))


def _trainable(backbone: Backbone, knobs: Tuning, seed: int) -> adapters.Groups:
    """What ``tuning.trainable`` names, beside the tokens: LoRA is attached, own weights are unfrozen; nothing where the rate is 0."""
    text = knobs.text_learning_rate > 0
    if knobs.trainable == "lora":
        modules = None if text else {"unet": UNET_TARGETS, **dict.fromkeys(backbone.text_encoders, ())}
        return adapters.attach(backbone, knobs.lora.rank, knobs.lora.alpha, knobs.lora.dropout, seed, modules)
    if knobs.trainable == "tokens":
        return adapters.Groups([], [])
    return adapters.unfreeze(backbone, knobs.trainable, text)


def _lora(knobs: Tuning) -> dict[str, float] | None:
    """Rank and alpha as the artifact names them; None where no LoRA is trained."""
    return {"rank": knobs.lora.rank, "alpha": knobs.lora.alpha or knobs.lora.rank} if knobs.trainable == "lora" else None


def schedule(knobs: Tuning) -> Callable[[int], float]:
    """The factor in (0, 1] on every learning rate at a 0-based step: linear warm-up, then decay to 0 after the last step."""

    def factor(step: int) -> float:
        if step < knobs.warmup_steps:
            return (step + 1) / (knobs.warmup_steps + 1)
        done = (step - knobs.warmup_steps) / (knobs.steps - knobs.warmup_steps)
        return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[knobs.schedule]

    return factor


def _write(folder: Path, session: Session, progress: Progress, tokens: Path) -> tuple[str, str]:
    """Adapter files, curves, samples and attention maps; returns the tensor hashes of last and best."""
    backbone = session.backbone
    last = adapters.tensors(backbone)
    adapters.save(folder / "last", backbone)
    adapters.restore(backbone, progress.best)
    adapters.save(folder, backbone)
    inversion = [json.loads(line) for line in (tokens / "curves.jsonl").read_text().splitlines()]
    write_curves(folder / "curves.jsonl", inversion + progress.curves)
    (folder / "samples").mkdir()
    for entry in progress.scores:
        for path in sorted((session.folder / "samples").glob(f"step-{int(entry['step']):05d}-*.png")):
            shutil.copyfile(path, folder / "samples" / path.name)
    composed = np.array(Image.open(folder / "samples" / f"step-{progress.best_step:05d}-0.png").convert("RGB"))
    maps = AttentionMaps(backbone.unet, session.pack.attention_resolution)
    draw_attention(backbone, maps, _shown(session.prepared, composed), folder / "attention", session.data.word)
    return adapters.tensor_hash(last), adapters.tensor_hash(progress.best)


def _shown(prepared: PreparedSet, composed: np.ndarray) -> dict[str, tuple[np.ndarray, tuple[str, str]]]:
    """Name -> picture and its tokens: the first photo of every subject, the first image of every look, a composed sample of the first."""
    subjects, looks = prepared.tokens("source"), prepared.tokens("reference")

    def first(side: SetName, token: str) -> np.ndarray:
        items: tuple[PreparedItem, ...] = getattr(prepared.of([token]), side)
        return items[0].image()

    pictures = {f"source{_suffix(token)}": (first("source", token), (token, looks[0])) for token in subjects}
    pictures |= {f"reference{_suffix(token)}": (first("reference", token), (subjects[0], token)) for token in looks}
    return pictures | {"composed": (composed, (subjects[0], looks[0]))}


def _suffix(token: str) -> str:
    """ "-anna" of "[V1:anna]", nothing of "[V1]"."""
    return "".join(f"-{name}" for name in token[1:-1].split(":")[1:])
