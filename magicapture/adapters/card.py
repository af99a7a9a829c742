"""The model card of an adapter: what it is, what it was made from, how good it is, under which licence, and how to load it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from magicapture.adapters.base import FAMILIES, of_pack
from magicapture.adapters.files import LORA_FILE, TOKENS_FILE, Stored, file_name, inversion_steps, of_network, stacked
from magicapture.adapters.layers import layers_of, tokens_of
from magicapture.backbones.sampling import SAMPLERS
from magicapture.backbones.tokens import parts_of, spelt_out
from magicapture.config import load_config
from magicapture.faces.concepts import TOKENS, of_side, spread
from magicapture.packs import Pack

Target = Literal["diffusers", "kohya", "pipeline"]


class Scales(NamedTuple):
    """How strong the LoRA acts: 0 = not at all, 1 = as trained."""

    unet: float
    text: float


class Facts(NamedTuple):
    """What the card tells."""

    name: str
    to: Target | None  # None: the card lies beside the adapter's own folder
    folder: str  # that holds the files, from where the card lies: the adapter's name, of an export "."
    pack: Pack
    manifest: Mapping[str, Any]  # the adapter's
    stored: Stored
    digest: str
    scales: Scales
    evaluation: Mapping[str, Any] | None  # content of the evaluation's manifest
    data: str  # hash of the prepared pictures, or ""
    files: Sequence[str]
    pictures: Sequence[str]  # from where the card lies


def card(facts: Facts) -> str:
    """Markdown."""
    pictures = "".join(f"![portrait]({name}) " for name in facts.pictures)
    role = facts.pack.role("diffusion")
    counts = {token: len(next(iter(vectors.values()))) for token, vectors in stacked(tokens_of(facts.stored)).items()}
    tokens = ", ".join(f"`{token}`" + (f" ({count} vectors)" if count > 1 else "") for token, count in counts.items())
    content, inverted = facts.manifest["content"], inversion_steps(facts.manifest)
    rows = {
        "Base": f"{role.hub or f'pack {facts.pack.name} {facts.pack.version}'}, digest `{content['pack_digest']}`",
        "Licence of the base": f"{role.licence}, {'commercial use allowed' if role.commercial else 'NOT for commercial use'}",
        "LoRA": f"rank {facts.stored.rank}, alpha {facts.stored.alpha:g}, {len(layers_of(facts.stored))} layers"
        if facts.stored.rank
        else "none",
        "Tokens": tokens or "none: trained on words alone",
        "Steps": ("" if inverted is None else f"{inverted} of inversion, ") + f"{content['best_step']} of tuning"
        if content.get("best_step")
        else "not known",
        "Seed": content.get("seed"),
        "Scales": f"UNet {facts.scales.unet:g}, text encoder {facts.scales.text:g}" + (", merged in" if facts.to == "pipeline" else ""),
        "Adapter": f"`{facts.digest}` (sha256 of its tensors)",
        "Data": f"`{facts.data}` (hash of the prepared pictures)" if facts.data else None,
        "Lineage": f"`{facts.manifest['lineage']}` (names data, knobs, code, weights and seed)",
        "Made from": "; ".join(str(each.get("file") or each.get("hash")) for each in content.get("made_from", [])) or None,
        "Operation": content.get("operation"),
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items() if value is not None)
    return f"""# {facts.name}

{pictures}

{_learnt(facts)}, learnt by MagiCapture; {_files(facts)}

| | |
| --- | --- |
{table}

{_scores(facts.evaluation)}
## Load it

{_tools(facts)}
{_consent(facts)}"""


def _of_things(facts: Facts) -> bool:
    return facts.manifest["config"].get("preprocess", {}).get("region") == "object"


def _learnt(facts: Facts) -> str:
    tokens = {name.removesuffix(".clip_l").removesuffix(".clip_g") for name in tokens_of(facts.stored)}
    subjects, looks = (len(of_side(tokens, plain)) for plain in TOKENS)
    one, several = ("A thing", "things") if _of_things(facts) else ("A person", "people")
    return f"{one if subjects < 2 else f'{subjects} {several}'} and {'a look' if looks < 2 else f'{looks} looks'}"


def _consent(facts: Facts) -> str:
    return "" if _of_things(facts) else "It shows the faces of people. Use it with the consent of everyone it shows only.\n"


def prediction_type(pack: Pack) -> str:
    """What the pack's UNet predicts, "epsilon" or "v_prediction"."""
    config = json.loads((pack.path("diffusion") / "scheduler" / "scheduler_config.json").read_text())
    return str(config.get("prediction_type", "epsilon"))


def _files(facts: Facts) -> str:
    if facts.to == "pipeline":
        return "a whole model in diffusers' layout, nothing else is needed."
    if facts.to is None:
        return f"the adapter is the folder `{facts.folder}`: {', '.join(facts.files)}."
    return (
        f"files for {'diffusers' if facts.to == 'diffusers' else 'AUTOMATIC1111, ComfyUI, kohya and diffusers'}: {', '.join(facts.files)}."
    )


def _scores(evaluation: Mapping[str, Any] | None) -> str:
    if evaluation is None:
        return ""
    kinds = evaluation["sets"]
    measures = [measure for measure, summary in kinds["portrait"].items() if isinstance(summary, dict)]  # the others are counts
    lines = [f"| {kind} | {' | '.join(_interval(sets.get(measure)) for measure in measures)} |" for kind, sets in kinds.items()]
    return (
        f"Means and 95 % intervals under protocol `{evaluation['protocol']}` (base, attributes: the untuned model):\n\n"
        f"| | {' | '.join(measures)} |\n|{' --- |' * (len(measures) + 1)}\n" + "\n".join(lines) + "\n"
    )


def _interval(summary: Mapping[str, Any] | None) -> str:
    if not summary:
        return "-"
    return f"{summary['mean']:.2f}" + ("" if summary["low"] is None else f" ({summary['low']:.2f}, {summary['high']:.2f})")


def _tools(facts: Facts) -> str:
    prompt = _prompt(facts)
    own = not facts.stored.rank and any(map(of_network, facts.stored.tensors))
    if own and facts.to != "pipeline":
        diffusers = f"**diffusers** loads it merged into a whole model, which this writes:\n\n{_export(facts, 'pipeline')}"
    else:
        diffusers = f"**diffusers**, in this folder:\n\n```python\n{_python(facts, prompt)}```\n\n"
    if own:
        return f"{diffusers}**AUTOMATIC1111** and **ComfyUI** do not: it changes the model's own weights, which LoRA files cannot hold.\n\n"
    if facts.to != "kohya":
        diffusers += f"**AUTOMATIC1111** and **ComfyUI** take other files of the adapter, which this writes:\n\n{_export(facts, 'kohya')}"
    if of_pack(facts.pack).family not in FAMILIES:
        diffusers += f"The pack `{facts.pack.name}` is of other sizes than any base those two know: with it only diffusers draws.\n\n"
    webui, comfy = _spoken(facts, prompt, ""), _spoken(facts, prompt, "embedding:")
    lora, tags = bool(facts.stored.rank), f"<lora:{facts.name}:{facts.scales.text:g}:{facts.scales.unet:g}>"
    names = ", ".join(f"`{facts.name}-{file_name(token)}.safetensors`" for token in stacked(tokens_of(facts.stored)))
    return f"""{diffusers}**AUTOMATIC1111**: {f"`{facts.name}.safetensors` into `models/Lora`, " if lora else ""}{
        names
    } into `embeddings`; prompt:

    {webui}{f" {tags}" if lora else ""}

**ComfyUI**: {
        f"`{facts.name}.safetensors` into `models/loras` (node Load LoRA, strength_model {facts.scales.unet:g}, strength_clip "
        f"{facts.scales.text:g}), "
        if lora
        else ""
    }{names} into `models/embeddings`; prompt:

    {comfy}

"""


def _export(facts: Facts, to: Target) -> str:
    """The command that writes the adapter's files of another form; where an export's adapter lies only its reader knows."""
    adapter = shlex.quote(facts.folder) if facts.to is None else "ADAPTER"
    return f"```sh\nmagicapture adapter export {adapter} --to {to} --name {facts.name} --out FOLDER\n```\n\n"


def _prompt(facts: Facts) -> str:
    """The first prompt of the adapter's configuration, of its first person and look, every vector of a token named."""
    names = sorted({name.removesuffix(".clip_l").removesuffix(".clip_g") for name in tokens_of(facts.stored)})
    kept = {name: facts.manifest["config"].get(name, {}) for name in ("training", "generation")}
    prompts = load_config(kept, partial=True).generation.prompts  # a pipeline's adapter does not say them
    prompt = spread(prompts[0], names)[0]
    return spelt_out(prompt, dict.fromkeys(names, 0))


def _spoken(facts: Facts, prompt: str, before: str) -> str:
    """The prompt with the embeddings' files in the tokens' places, a token's vectors being one file there."""
    tokens = stacked(tokens_of(facts.stored))
    names = {f"{token}_{i}" if i else token: 0 for token, v in tokens.items() for i in range(len(next(iter(v.values()))))}
    for token in tokens:
        prompt = prompt.replace(" ".join(parts_of(token, names)), f"{before}{facts.name}-{file_name(token)}")
    return prompt


def _python(facts: Facts, prompt: str) -> str:
    """Code that loads the files with stock diffusers and draws the prompt."""
    knobs, hub = facts.manifest["config"]["generation"], facts.pack.role("diffusion").hub
    xl = any(name.endswith(".clip_g") for name in facts.stored.tensors)
    scheduler, settings = SAMPLERS[knobs["sampler"]]
    lines = ["import torch", f"from diffusers import DiffusionPipeline, {scheduler.__name__}"]
    if facts.to == "pipeline":
        lines += ["", 'pipe = DiffusionPipeline.from_pretrained(".", torch_dtype=torch.float32)']
    else:
        lines += ["from safetensors.torch import load_file"] if xl or facts.to is None else []
        base = f'"{hub}"' if hub else f'load_pack("{facts.pack.name}").path("diffusion")'
        lines += [] if hub else ["from magicapture.packs import load_pack"]
        lines += ["", f"pipe = DiffusionPipeline.from_pretrained({base}, torch_dtype=torch.float32)"]
        lines += _loading(facts, xl)
    size, more = facts.pack.resolution, "".join(f", {key}={value!r}" for key, value in settings.items())
    lines += [
        f"pipe.scheduler = {scheduler.__name__}.from_config(pipe.scheduler.config{more})",
        f'picture = pipe(\n    {prompt!r}, num_inference_steps={knobs["steps"]}, guidance_scale={knobs["guidance"]:g},'
        f'\n    height={size}, width={size}, generator=torch.Generator().manual_seed({knobs["seeds"][0]}),\n).images[0]',
        'picture.save("portrait.png")',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _loading(facts: Facts, xl: bool) -> list[str]:
    lines = []
    if facts.stored.rank:
        file = f"{facts.name}.safetensors" if facts.to == "kohya" else LORA_FILE
        lines.append(f'pipe.load_lora_weights({json.dumps(facts.folder)}, weight_name="{file}")')
        if facts.scales != (1, 1):
            networks = {name.partition(".")[0] for name in layers_of(facts.stored)}
            weights = {each: facts.scales.unet if each == "unet" else facts.scales.text for each in sorted(networks)}
            lines.append(f"pipe.set_adapters(pipe.get_active_adapters(), [{json.dumps(weights)}])")
    form = {
        "diffusers": "{}/learned_embeds.safetensors",
        "kohya": f"{facts.name}-{{}}.safetensors",
        None: f"{facts.folder}/{{}}.safetensors",  # of XL alone
    }[facts.to]
    files = {token: form.format(file_name(token)) for token in stacked(tokens_of(facts.stored))}
    if not xl and facts.to is None:
        lines.append(f"for token, vector in load_file({json.dumps(f'{facts.folder}/{TOKENS_FILE}')}).items():")
        return [*lines, "    pipe.load_textual_inversion({token: vector})"]
    if not xl:
        return lines + [f"pipe.load_textual_inversion({file!r}, token={token!r})" for token, file in files.items()]
    lines.append("pipe.text_encoder_2.text_model.eos_token_id = pipe.tokenizer_2.eos_token_id  # the published configuration's is wrong")
    lines.append(f"for token, file in {json.dumps(files)}.items():")
    for key, number in (("clip_l", ""), ("clip_g", "_2")):
        lines.append(
            f'    pipe.load_textual_inversion(load_file(file)["{key}"], token=token, text_encoder=pipe.text_encoder{number}, '
            f"tokenizer=pipe.tokenizer{number})"
        )
    return lines
