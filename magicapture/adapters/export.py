"""An adapter as other tools load it, with a model card: diffusers' files, kohya's (AUTOMATIC1111, ComfyUI), or a whole model of its own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor, nn

from magicapture.adapters import card
from magicapture.adapters.algebra import scaled
from magicapture.adapters.base import of_pack
from magicapture.adapters.card import Scales, Target
from magicapture.adapters.files import (
    LORA_FILE,
    TOKENS_FILE,
    WEIGHTS_FILE,
    AdapterError,
    Stored,
    file_name,
    file_names,
    of_network,
    save_tokens,
    stacked,
    tensor_hash,
)
from magicapture.adapters.formats import to_diffusers, to_kohya
from magicapture.adapters.layers import layers_of, tokens_of
from magicapture.adapters.operations import new_artifact, open_adapter, pack_of
from magicapture.artifacts import (
    ArtifactError,
    content_hash,
    lineage_key,
    page_tag,
    read_manifest,
    subjects_of,
    within,
    write_bytes,
    write_text,
)
from magicapture.backbones.quiet import no_progress_bar
from magicapture.packs import Pack

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def export(
    adapter: str | Path,
    out: str | Path,
    to: Target,
    name: str = "magicapture",
    *,
    unet_scale: float | None = None,
    text_scale: float | None = None,
    evaluation: str | Path | None = None,
    prepared: str | Path | None = None,
) -> Path:
    """Write an ``export/1`` artifact to ``out``, with a model card (README.md), and return it.

    - diffusers: ``pytorch_lora_weights.safetensors``; ``<token>/learned_embeds.safetensors`` for every token
    - kohya: ``<name>.safetensors`` (LoRA), ``<name>-<token>.safetensors`` (embeddings; their names are what prompts say)
    - pipeline: a stock diffusers model folder, the LoRA merged into its weights (fp32) at the scales, tokens in tokenizer and text encoder

    Scales default to those the adapter's configuration generates with; files of LoRA hold it as trained, and the card says the scales.
    ``evaluation`` (of this very adapter) gives the card scores and pictures; None: the one that `magicapture train` left in the run, if it
    is this adapter's. ``prepared`` gives the hash of the data; None: as the adapter remembers it. Raises AdapterError, ArtifactError,
    PackError.
    """
    if not _NAME.fullmatch(name):
        raise AdapterError(f"name {name!r}: expected letters, digits, - and _, since it is a file's name and a word in prompts")
    facts, shown = _facts(Path(adapter), name, evaluation, prepared, unet_scale, text_scale)
    stored, manifest, pack, digest, scales = facts.stored, facts.manifest, facts.pack, facts.digest, facts.scales
    layers, tokens = layers_of(stored), tokens_of(stored)
    own = any(map(of_network, stored.tensors)) and not layers
    if own and to != "pipeline":
        raise AdapterError(f"{adapter} holds weights of the model itself, not LoRA, which {to} files cannot hold; use --to pipeline")
    lineage = lineage_key(manifest["lineage"], digest, to, name, *map(str, scales))
    with new_artifact(out, "export/1", lineage, manifest["config"], subjects_of(manifest)) as draft:
        if to == "diffusers":
            if layers:
                write_bytes(draft.path / LORA_FILE, to_diffusers(layers))
            _embeddings(tokens, draft.path, "{}/learned_embeds.safetensors")
        elif to == "kohya":
            if layers:
                about = _about(name, tokens, digest, manifest, pack)
                write_bytes(draft.path / f"{name}.safetensors", to_kohya(layers, of_pack(pack), about))
            _embeddings(tokens, draft.path, f"{name}-{{}}.safetensors")
        else:
            _pipeline(pack, stored, scales).save_pretrained(draft.path, safe_serialization=True)
        made = sorted(path.name for path in draft.path.iterdir() if path.is_file())
        pictures = [f"pictures/{number}.png" for number in range(len(shown))]
        (draft.path / "pictures").mkdir()
        for picture, path in zip(pictures, shown, strict=True):
            shutil.copyfile(path, draft.path / picture)
        write_text(draft.path / "README.md", card.card(facts._replace(to=to, folder=".", files=made, pictures=pictures)))
        draft.content = {
            "format": to, "name": name, "pack": pack.name, "pack_digest": pack.digest(), "adapter": digest, "tokens": list(stacked(tokens)),
            "scales": scales._asdict(), "descriptions": manifest["content"].get("descriptions") or {},
        }  # fmt: skip
    return Path(out)


def beside(adapter: str | Path) -> Path:
    """Write the model card of an adapter that `magicapture train` made beside its folder (``seed-N/README.md``), and return it.

    Scores and pictures are those of ``seed-N/evaluation``, if it is of this very adapter; until then the samples of its training. The card
    says itself whose it is, for `magicapture purge`. Raises AdapterError, ArtifactError, PackError.
    """
    adapter = Path(adapter).resolve()
    facts, shown = _facts(adapter, "magicapture")
    files = [name for name in (LORA_FILE, WEIGHTS_FILE, TOKENS_FILE) if (adapter / name).is_file()]
    pictures = [path.relative_to(adapter.parent).as_posix() for path in shown]
    text = card.card(facts._replace(folder=adapter.name, files=files, pictures=pictures))
    write_text(adapter.parent / "README.md", f"{text}\n{page_tag(subjects_of(facts.manifest))}\n")
    return adapter.parent / "README.md"


def _facts(
    adapter: Path,
    name: str,
    evaluation: str | Path | None = None,
    prepared: str | Path | None = None,
    unet_scale: float | None = None,
    text_scale: float | None = None,
) -> tuple[card.Facts, list[Path]]:
    """What a card tells of an adapter whatever the form, and its pictures; arguments as :func:`export` takes them."""
    stored, manifest = open_adapter(adapter)
    pack, digest, knobs = pack_of(manifest, adapter), tensor_hash(stored.tensors), manifest["config"]["generation"]
    scales = Scales(*(knobs[key] if given is None else given for key, given in (("unet_scale", unet_scale), ("text_scale", text_scale))))
    evaluation = _its_evaluation(adapter, digest) if evaluation is None else evaluation
    scores = _scores(evaluation, digest) if evaluation is not None else None
    data = content_hash(prepared) if prepared is not None and read_manifest(prepared, "prepared") else manifest["content"].get("data", "")
    facts = card.Facts(name, None, ".", pack, manifest, stored, digest, scales, scores, data, (), ())
    return facts, _pictures(adapter, evaluation, manifest)


def _its_evaluation(adapter: Path, digest: str) -> Path | None:
    """The one that `magicapture train` leaves beside the adapter's folder, if it is whole and its portraits are of these very tensors."""
    folder = adapter.resolve().parent / "evaluation"
    try:
        ours = _drawn_with(read_manifest(folder, "evaluation", verify=True)["content"]) == digest
    except ArtifactError:
        return None
    return folder if ours else None


def _embeddings(tokens: Mapping[str, Tensor], folder: Path, form: str) -> None:
    """A file a token, its name in ``form``: {"[V1]": (n, D)}, of XL {clip_l: (n, D), clip_g: (n, D)}, which other programs read alike."""
    vectors = stacked(tokens)
    for token, name in file_names(vectors).items():
        save_tokens(folder / form.format(name), {encoder or token: rows for encoder, rows in vectors[token].items()})


def _about(name: str, tokens: Mapping[str, Tensor], digest: str, manifest: Mapping[str, Any], pack: Pack) -> dict[str, str]:
    """What kohya and sai_model_spec have fields for; only what is known."""
    content, knobs = manifest["content"], manifest["config"]["tuning"]
    trained = content.get("best_step") is not None  # here: what was imported was not trained by its configuration
    velocity = card.prediction_type(pack) == "v_prediction"
    architecture, _ = of_pack(pack).architecture(velocity)
    words = [f"{name}-{file_name(token)}" for token in stacked(tokens)]
    known = {
        "ss_output_name": name, "ss_sd_model_name": pack.role("diffusion").hub or pack.name,
        "ss_resolution": f"({pack.resolution}, {pack.resolution})",
        "ss_max_train_steps": knobs["steps"] if trained else None, "ss_steps": content.get("best_step"), "ss_seed": content.get("seed"),
        "ss_unet_lr": knobs["learning_rate"] if trained else None, "ss_text_encoder_lr": knobs["text_learning_rate"] if trained else None,
        "ss_v_parameterization": velocity or None, "ss_training_comment": f"MagiCapture adapter, tensors {digest}",
        "modelspec.architecture": f"{architecture}/lora", "modelspec.title": name,
        "modelspec.resolution": f"{pack.resolution}x{pack.resolution}", "modelspec.prediction_type": "v" if velocity else "epsilon",
        "modelspec.trigger_phrase": " ".join(words) or None, "modelspec.license": pack.role("diffusion").licence,
        "modelspec.usage_hint": f"needs its embeddings beside it: {', '.join(words)}" if words else None,
        "modelspec.date": datetime.fromtimestamp(int(manifest["made"]["time"]), UTC).replace(tzinfo=None).isoformat(),
    }  # fmt: skip
    return {key: str(value) for key, value in known.items() if value is not None}


def _pipeline(pack: Pack, stored: Stored, scales: Scales) -> Any:
    """diffusers' own pipeline with the adapter in its weights; merged in fp64, so that only the last rounding to fp32 is left."""
    pack.require("diffusion")
    with no_progress_bar():
        pipeline = DiffusionPipeline.from_pretrained(
            pack.path("diffusion"), torch_dtype=torch.float32, local_files_only=True, use_safetensors=True, safety_checker=None
        )
    with torch.no_grad():
        for name, layer in scaled(layers_of(stored), *scales).items():
            weight = _module(pipeline, name).weight
            update = layer.scale * layer.up.flatten(1).double() @ layer.down.flatten(1).double()
            weight.copy_(weight.double() + update.reshape(weight.shape))
        for name, tensor in stored.tensors.items():
            if of_network(name) and ".lora_" not in name:
                module, _, parameter = name.rpartition(".")
                getattr(_module(pipeline, module), parameter).copy_(tensor)
    for name, vector in sorted(tokens_of(stored).items()):
        number = "_2" if name.endswith(".clip_g") else ""
        encoder, tokenizer = getattr(pipeline, f"text_encoder{number}"), getattr(pipeline, f"tokenizer{number}")
        pipeline.load_textual_inversion({re.sub(r"\.clip_[lg]$", "", name): vector}, text_encoder=encoder, tokenizer=tokenizer)
    if isinstance(pipeline, StableDiffusionXLPipeline):
        # The published configuration says 2, at which transformers pools at the greatest id: at a new token.
        pipeline.text_encoder_2.config.eos_token_id = pipeline.tokenizer_2.eos_token_id
    return pipeline


def _module(pipeline: Any, name: str) -> nn.Module:
    """The module of a layer's name on disk; a name without CLIP's text_model level is its own (``adapters.weights``)."""
    prefix, _, path = name.partition(".")
    network: nn.Module = getattr(pipeline, prefix)
    if prefix != "unet" and not hasattr(network, "text_model"):
        path = path.removeprefix("text_model.")
    return network.get_submodule(path)


def _scores(evaluation: str | Path, digest: str) -> dict[str, Any]:
    content: dict[str, Any] = read_manifest(evaluation, "evaluation")["content"]
    if _drawn_with(content) != digest:
        raise AdapterError(f"{evaluation} is the evaluation of another adapter; give the one of this adapter's portraits, or none")
    return content


def _drawn_with(evaluation: Mapping[str, Any]) -> str | None:
    """Hash of the tensors whose portraits an evaluation (its content) is of."""
    digest: str | None = evaluation.get("adapter", {}).get("best_hash")
    return digest


def _pictures(adapter: Path, evaluation: str | Path | None, manifest: Mapping[str, Any]) -> list[Path]:
    """At most four: the best-ranked portraits, else the samples of the adapter's step."""
    if evaluation is not None:
        items = json.loads((Path(evaluation) / "scores.json").read_text())["items"]  # in order of rank
        return [within(evaluation, item["file"]) for item in items if item["kind"] == "portrait"][:4]
    return sorted((adapter / "samples").glob(f"step-{int(manifest['content'].get('best_step') or 0):05d}-*.png"))[:4]
