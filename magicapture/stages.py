"""The table of contents: one function a stage, paths in, a path out. The command line and the components call only these.

::

    prepared = preprocess("data/person", "data/look", "a/prepared", "mini")
    tokens = invert(prepared, "a/tokens", "mini", seed=0, checkpoints="a/checkpoints")
    adapter = tune(prepared, tokens, "a/adapter", "mini", seed=0, checkpoints="a/checkpoints")
    images = generate(adapter, "a/images", "mini")
    portraits = postprocess(images, "a/portraits", "mini")
    evaluation = evaluate(portraits, prepared, "a/evaluation", "mini")
    promote([{"adapter": adapter, "evaluation": evaluation}], "a/promotion", "mini")

Each writes one artifact (``magicapture.artifacts``): a folder with ``manifest.json``, whose top level is ``schema`` (the
artifact's kind and version), ``lineage`` (key of data + configuration + code), ``files`` (path -> sha256), ``config`` (the
knobs used, as far as they were told: a stage of the pipeline is given its own sections, and adds what its inputs keep of the
others), ``made`` ({id, time} of this very making), ``subjects`` (whose it is: name -> sha256 of that person's photos, by
which ``magicapture purge`` finds it) and ``content`` (described at each stage below). It is written aside
and renamed: ``out`` is either complete or as it was before, and where it is anything but an artifact of that kind or an empty folder, it is
refused before anything else is done (ArtifactError). Pictures are RGB PNG files, 8 bit.

``config`` is a :class:`~magicapture.config.Config`, a preset's name (``"mini"``), a YAML file or a mapping. All stages
raise ConfigError for knobs that cannot be used, PackError for weights that are missing or altered, and ArtifactError for an
input folder that is missing, damaged or of another kind.

A stage's room is imported inside its function: a machine that only preprocesses needs no torch, and none needs MLflow but
the one that promotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magicapture.artifacts import check_out
from magicapture.config import Config, load_config

Folder = str | Path
Settings = Config | Mapping[str, Any] | str | Path


def preprocess(photos: Folder, looks: Folder, out: Folder, config: Settings, data: str = "") -> Path:
    """Photos of one person and images of one look -> the prepared set (artifact ``prepared/1``).

    Either folder may hold sub-folders instead of pictures: each is a person, or a look, of its own, judged by itself, and called by the
    folder's name: ``[V1:anna]``, ``[V2:noir]`` in prompts (``faces.concepts``; a single one is ``[V1]``, ``[V2]``).

    In a folder's place may stand the address of versioned data, ``git+URL@REVISION#FOLDER`` (``magicapture.data``). ``data``, if given, is
    the hash (``data.pair_hash``) that the pictures must have.

    Decodes safely (EXIF orientation applied), finds and judges the face of every picture, crops a square around it. A picture
    that cannot be used is set aside with its reason; the stage fails only when fewer than ``preprocess.min_pictures`` of a
    folder remain. A ``description.txt`` beside the pictures says the person or the look in words (for a baseline only).

    With ``preprocess.region: object`` the photos show a thing: no face is sought, a photo's mask is its own transparency (all of it
    without any, with a warning), a look's is empty; key points and boxes are null, parsing is 0, embeddings have no rows.

    Writes, R the side in px of the pack's pictures, i the index from 0:

    - ``source/<i>.png``, ``reference/<i>.png`` (R, R, 3); beside each ``<i>.mask.png`` (R, R; 255 = face) and
      ``<i>.parsing.png`` (R, R; classes of ``faces.classes.PARSING_CLASSES``)
    - ``embeddings.safetensors``: ``"source.recogniser"`` and ``"source.judge"``, (photos, dimensions) float32, unit rows
    - ``sheet.html``: every picture with its verdict
    - content: ``resolution`` R; ``source``, ``reference``: [{name, file, mask, parsing, keypoints 5 x (x, y) px, box (left,
      top, right, bottom) px, score 0..1, sharpness, sha256 of the photo, concept (its sub-folder, or "")}] (a look
      without a face stays: keypoints null, mask empty);
      ``set_aside``: [{set, name, reason}]; ``warnings``; ``descriptions``: {source, reference}, of
      several {"source:anna", ...}

    Read it with ``magicapture.faces.prepared.PreparedSet``.
    """
    from magicapture import references

    check_out(out, "prepared")
    return references.run(photos, looks, out, load_config(config), data)


def invert(prepared: Folder, out: Folder, config: Settings, seed: int, checkpoints: Folder) -> Path:
    """Phase 1, textual inversion: the vectors of ``[V1]`` (the person) and ``[V2]`` (the look) (paper eq. 9; ``tokens/1``).

    Of several people or looks a token each: ``"[V1:anna]"``, ``"[V1:ben]"``.

    ``checkpoints`` is a folder that outlives a killed task: the same call continues from the last checkpoint of the same
    lineage and ends with the same tensors.

    Writes:

    - ``tokens.safetensors``: ``"[V1]"``, ``"[V2]"`` (width,) float32; loads in stock diffusers ``load_textual_inversion``. With
      two text encoders (Stable Diffusion XL) one a token and encoder: ``"[V1].clip_l"``, ``"[V1].clip_g"``, ...
    - ``curves.jsonl``: one object a step {phase "inversion", step, total, source, reference, gradient, lr}
    - content: ``pack``, ``pack_digest``, ``diffusion_digest``, ``steps``, ``tensor_hash``, ``machine``, ``threads``
    """
    from magicapture.training import inversion

    check_out(out, "tokens")
    return inversion.run(prepared, out, load_config(config), seed, checkpoints)


def tune(
    prepared: Folder,
    tokens: Folder,
    out: Folder,
    config: Settings,
    seed: int,
    checkpoints: Folder,
    until_step: int | None = None,
) -> Path:
    """Phase 2: LoRA and tokens together (paper eq. 10; artifact ``adapter/1``). The best step by the judge is kept.

    ``checkpoints`` as in :func:`invert`. ``until_step`` stops after that many updates of the full schedule; called again
    with a later one (or None) on the same checkpoints, training goes on as if it had never stopped.

    Writes:

    - ``pytorch_lora_weights.safetensors`` (stock diffusers' ``load_lora_weights`` reads it) and ``tokens.safetensors``: of the
      best step; ``last/``: both of the last step; with two text encoders also each token alone, ``V1.safetensors``
    - ``curves.jsonl``: the inversion's lines, then one a step {phase "tuning", step, total, source, reference, composed,
      identity, attention, gradient, lr}; of objects structure, contrast and appearance instead of composed and identity; prior where
      class pictures are trained on too
    - ``samples/step-<5 digits>-<i>.png``: fixed-seed pictures of each validation
    - ``attention/{source,reference,composed}.png`` (of several ``source-anna.png``, ``reference-noir.png``), and ``-v1``, ``-v2`` of each:
      where each token looks; the maps alone in ``maps.safetensors``: name -> (tokens, side, side) float32 in [0, 1]
    - content: ``pack``, ``pack_digest``, ``diffusion_digest``, ``recogniser`` (the network trained against: {role, weights, onnx}, the
      last two sha256; null without identity loss), ``lora`` {rank, alpha}, ``inversion_steps`` (of the tokens), ``best_step``,
      ``last_step``, ``scores`` [{step, judge}] (of objects by the role structure: ``training.validation.ObjectScore``), ``best_hash``,
      ``last_hash`` (of tensors), ``data`` (hash of the prepared pictures), ``descriptions``, ``seed``, ``train_seconds``, ``step_seconds``
      (of them in optimiser updates)
    """
    from magicapture.training import tuning

    check_out(out, "adapter")
    return tuning.run(prepared, tokens, out, load_config(config), seed, checkpoints, until_step)


def generate(
    adapter: Folder,
    out: Folder,
    config: Settings,
    prompts: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Path:
    """Prompts x seeds -> pictures (artifact ``images/1``), with the untuned base model's beside them for comparison.

    ``prompts`` and ``seeds``, when None or empty, are ``generation.prompts`` and ``generation.seeds``; picture i depends only on its own
    prompt and seed. ``[V1]`` and ``[V2]`` in a prompt stand for the learnt tokens; of several people or looks for each in turn, which makes
    every pair, while ``[V1:anna]`` is one.

    Writes:

    - ``images/<4 digits>.png`` (R, R, 3); ``training/``: the adapter's curves, samples and attention maps
    - content: ``items``: [{file, kind "portrait" | "base" (untuned, tokens taken out of the prompt) | "attributes" (untuned,
      prompted with the descriptions in words), prompt, seed, tokens (which of several people and looks it is of), sampler, steps,
      guidance, unet_scale, text_scale}];
      ``adapter``: the adapter's content
    """
    from magicapture import generation

    check_out(out, "images")
    return generation.run(adapter, out, load_config(config), prompts or None, seeds or None)


def postprocess(images: Folder, out: Folder, config: Settings, only: Sequence[str] | None = None) -> Path:
    """Super-resolution and face restoration (artifact ``portraits/1``); with ``only`` of these files, in their order.

    Writes:

    - ``images/<4 digits>.png`` (scale x R on a side), ``before/<4 digits>.png`` as generated, ``training/`` as it came
    - content: ``items`` as generated, with ``before`` and ``size`` [width, height] px; ``adapter``
    """
    from magicapture import postprocessing

    check_out(out, "portraits")
    return postprocessing.run(images, out, load_config(config), only)


def evaluate(images: Folder, prepared: Folder, out: Folder, config: Settings) -> Path:
    """Scores, ranking and report (artifact ``evaluation/1``). The judge selects, the referee only reports.

    Neither may be the network that the adapter was trained against: that is a PackError unless ``evaluation.allow_trained_network``.
    ``images`` is a ``portraits/1`` or an ``images/1`` artifact. Every picture is measured against the person and the look that its prompt
    names (all of them where it names none; where it names two people, each of its two largest faces against its own).

    Writes:

    - ``scores.json``: ``protocol`` (hash); ``trained_against`` (which of judge and referee; none, unless allowed); ``items``: [{file,
      before, kind, prompt, seed, identity (judge's cosine), referee (raw CSIM), likeness (normalised, or null), style, aesthetic,
      face_count, structure (of objects, where the pack has the role; it selects in the place of identity, and what is of a face is null),
      rank, selection}]; ``sets.<kind>.<measure>``: {mean, low, high (95 % interval), n};
      ``pairs``: of several people or looks [{tokens, levels, sets}]
    - ``report.html``: self-contained; ``images/``, ``before/``: the pictures under the names they came with
    - content: ``protocol``, ``selection`` and ``identity`` (means over the better-ranked half of the portraits, of every pair), ``best``
      (file), ``adapter``
    """
    from magicapture import evaluation

    check_out(out, "evaluation")
    return evaluation.run(images, prepared, out, load_config(config))


def score_again(adapter: Folder, prepared: Folder, out: Folder, config: Settings, prompts: Sequence[str], seeds: Sequence[int]) -> Path:
    """Draw, finish and evaluate an adapter's portraits anew, as another's were: what compares it with that other one.

    Writes ``images``, ``portraits`` and ``evaluation`` below ``out`` and returns the last.
    """
    images = generate(adapter, Path(out) / "images", config, prompts, seeds)
    return evaluate(postprocess(images, Path(out) / "portraits", config), prepared, Path(out) / "evaluation", config)


def promote(candidates: Sequence[Mapping[str, Folder]], out: Folder, config: Settings, run: Folder | None = None) -> Path:
    """The best candidate becomes a model version; it becomes champion or stays challenger, with the reason (``promotion/1``).

    A candidate maps artifact kinds to folders: ``adapter`` and ``evaluation`` are needed, ``prepared``, ``tokens``, ``images``
    and ``portraits`` are logged too where given. ``run`` is the ``run/1`` artifact of a pipeline run; without it a parent run
    is opened here. Idempotent by lineage: the same candidates again make no second version. A champion that was scored under another
    protocol is scored again where torch is installed and ``prepared`` is given; else the reason says what to run. A tracking server that
    is down fails nothing: what was to be sent is kept in ``out`` for ``magicapture track``.

    Writes:

    - content: ``model``, ``version`` (null while tracking is down), ``champion`` (bool), ``outcome`` ("champion", "challenger",
      "rejected" or "rolled back"), ``reason``, ``previous``, ``run``, ``best`` (index), ``candidates`` [{seed, selection, identity,
      protocol, folders}], ``tags``; ``outbox`` while unsent
    """
    from magicapture import registry

    check_out(out, "promotion")
    return registry.promote(candidates, out, load_config(config), run, score_again)
