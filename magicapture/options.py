"""The named options of ``magicapture train`` and ``generate``: the original code's names, and what each sets here.

The names are the original code's (hyphens or underscores: ``--lora-rank``, ``--lora_rank``), those of diffusers' and kohya's scripts beside
them, so that their users find what they know. An option sets a knob of ``magicapture.config``, where its range and advice stand;
docs/migrate.md is generated from these tables. Pure: nothing here reads pictures, packs or the machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple


class OptionsError(ValueError):
    """Options that cannot be used together: names both, and what to do."""


class Option(NamedTuple):
    """A named option. ``knob`` is the dotted knob it sets, "" where it sets none."""

    name: str
    kind: type  # int, float, str; bool: --name and --no-name
    knob: str = ""
    #: Given value -> the knob's; None: says nothing of the knob.
    value: Callable[[Any], Any] = lambda given: given
    #: What to know beside the knob's own description; of an option that sets nothing, what superseded it.
    note: str = ""
    #: Other names it goes by.
    aliases: tuple[str, ...] = ()

    @property
    def superseded(self) -> bool:
        """Whether it is only accepted, and answered with its note."""
        return not self.knob


SAMPLERS = {
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "KDPM2AncestralDiscreteScheduler": "kdpm2_ancestral",
    "DDIMScheduler": "ddim",
}
#: Hub ids of base models that a preset's pack stands for.
HUB = {
    "runwayml/stable-diffusion-v1-5": "sd15",  # gone from the hub; the same weights
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "sd15",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
}


def _pack(given: str) -> str:
    return HUB.get(given, given)


def _device(given: str) -> str:
    return "cuda" if given == "cuda:0" else given


def _word(given: str) -> str:
    return "" if given.startswith("<rand") else given


def _schedule(given: str) -> str:
    return "constant" if given == "constant_with_warmup" else given


def _off(value: Any, on: Any = None) -> Callable[[bool], Any]:
    """Of a flag: ``value`` where it is denied, ``on`` where it is given (None: as the knob stands)."""
    return lambda given: on if given else value


TRAIN: tuple[Option, ...] = (
    Option("pretrained_model_name_or_path", str, "pack", _pack, "A pack's name or folder, or a hub id that a pack is of; fetch it first: `magicapture packs fetch`."),
    Option("resolution", int, note="The pack's own: its models work at one size. `--preset sd15` is 512 px, sdxl 1024, mini 64."),
    Option("with_prior_preservation", bool, "tuning.lambda_prior", _off(0.0, 1.0), "Needs --class-prompt."),
    Option("class_prompt", str, "tuning.class_prompt"),
    Option("num_class_images", int, "tuning.class_images"),
    Option("class_data_dir", str, note="Class pictures are drawn by the model itself, once, and kept as latents beside the checkpoints."),
    Option("train_text_encoder", bool, "tuning.text_learning_rate", _off(0.0), "Denied: learning rate 0."),
    Option("train_batch_size", int, "training.rows", note="Rows of each kind (source, reference, composed) in a step."),
    Option("gradient_accumulation_steps", int, "training.accumulation", note="Default 1, not 4: a step has a row of every kind at once."),
    Option("gradient_checkpointing", bool, "training.gradient_checkpointing", note="Non-reentrant, so that Attention Refocusing has a gradient."),
    Option("scale_lr", bool, note="Learning rates are final; multiply them yourself (the original multiplied by accumulation it never did)."),
    Option("initializer_tokens", str, "inversion.source_initialiser", _word, "One word; `<rand-0.017>`: Gaussian.", ("initializer_token",)),
    Option("initializer_tokens_style", str, "inversion.reference_initialiser", _word, "One word; `<rand-0.017>`: Gaussian."),
    Option("placeholder_tokens", str, note="The person is [V1] in prompts, of several people [V1:name]."),
    Option("placeholder_tokens_style", str, note="The look is [V2] in prompts, of several looks [V2:name]."),
    Option("use_template", str, note="The paper's prompts, of which the usual one is part; the word for the thing is `--set training.class_word=...`."),
    Option("learning_rate_unet", float, "tuning.learning_rate", aliases=("learning_rate", "unet_lr")),
    Option("learning_rate_text", float, "tuning.text_learning_rate", aliases=("text_encoder_lr",)),
    Option("learning_rate_ti", float, "inversion.learning_rate"),
    Option("continue_inversion", bool, "tuning.token_learning_rate", _off(0.0), "Denied: learning rate 0."),
    Option("continue_inversion_lr", float, "tuning.token_learning_rate"),
    Option("color_jitter", bool, "training.augment.brightness", _off(0.0), "Denied: training.augment.contrast is 0 too. Varies although latents are cached."),
    Option("lr_scheduler", str, "tuning.schedule", _schedule, "constant_with_warmup: constant, with --lr-warmup-steps."),
    Option("lr_warmup_steps", int, "tuning.warmup_steps"),
    Option("save_steps", int, "training.checkpoint_every", note="Checkpoints to go on from; the step that the judge likes best is kept (tuning.sample_every).", aliases=("checkpointing_steps",)),
    Option("max_train_steps_ti", int, "inversion.steps"),
    Option("max_train_steps_tuning", int, "tuning.steps", aliases=("max_train_steps",)),
    Option("perform_inversion", bool, "inversion.steps", _off(0), "Denied: 0 steps, the tokens start from their words."),
    Option("clip_ti_decay", bool, "inversion.norm_pull", note="To the vocabulary's median norm, which is 0.4 in the original's model."),
    Option("weight_decay_ti", float, "inversion.weight_decay"),
    Option("weight_decay_lora", float, "tuning.weight_decay"),
    Option("lora_rank", int, "tuning.lora.rank", aliases=("rank", "network_dim")),
    Option("lora_dropout_p", float, "tuning.lora.dropout"),
    Option("lora_scale", float, "tuning.lora.alpha", note="In training; alpha = scale x rank. At inference: generate --unet-scale, --text-scale."),
    Option("network_alpha", float, "tuning.lora.alpha", note="kohya's."),
    Option("mask_temperature", float, note="Masks are binary: they come from a face parser, not from a soft segmentation."),
    Option("cached_latents", bool, note="Always cached, in training.augment.versions augmented versions, each draw a fresh sample."),
    Option("use_8bit_adam", bool, note="Only LoRA and token vectors have optimiser state: a few MB."),
    Option("lambda_arc", float, "tuning.lambda_identity", note="On composed rows alone (paper, eq. 7), counted once.", aliases=("lambda_id",)),
    Option("lambda_style", float, "training.lambda_style"),
    Option("device", str, "device", _device, "auto, cpu or cuda; which card: CUDA_VISIBLE_DEVICES."),
    Option("mixed_precision", str, "precision", lambda given: {"no": "fp32"}.get(given, given), "diffusers' and kohya's; `no`: fp32."),
    Option("log_wandb", bool, note="Curves, samples and attention maps are in the report; --register sends them to MLflow."),
)  # fmt: skip

GENERATE: tuple[Option, ...] = (
    Option("pretrained_model_name", str, "pack", _pack, "Base model: a pack, which has to hold the weights that the adapter was trained on.", ("base",)),
    Option("step", int, "generation.steps", aliases=("steps",)),
    Option("guidance_scale", float, "generation.guidance", aliases=("guidance",)),
    Option("start_scheduler", str, "generation.sampler", lambda given: SAMPLERS.get(given, given), "Or the name of a diffusers class.", ("scheduler", "sampler")),
    Option("negative_prompt", str, "generation.negative_prompt"),
    Option("unet_scale", float, "generation.unet_scale"),
    Option("text_scale", float, "generation.text_scale"),
    Option("size", int, "generation.size"),
    Option("batch", int, "generation.batch"),
    Option("upscale", bool, "postprocessing.upscale"),
    Option("restore", bool, "postprocessing.restore"),
    Option("fidelity", float, "postprocessing.fidelity", aliases=("fidelity_weight",)),
    Option("device", str, "device", _device, "auto, cpu or cuda; which card: CUDA_VISIBLE_DEVICES."),
)  # fmt: skip


def flag(name: str) -> str:
    """As it is typed: "lora_rank" -> "--lora-rank"."""
    return f"--{name.replace('_', '-')}"


def notes(table: Iterable[Option], given: Mapping[str, Any]) -> list[str]:
    """What to tell of the options that were given and set nothing."""
    return [
        f"{flag(option.name)} sets nothing: {option.note}" for option in table if option.superseded and given.get(option.name) is not None
    ]


def overrides(table: Iterable[Option], given: Mapping[str, Any], sets: Sequence[str] = (), rank: int = 4) -> list[str]:
    """Named options and ``--set`` as overrides of ``config.load_config``.

    ``given``: option's name -> value (None: not given); ``rank``: of LoRA where no option says. Raises OptionsError where two of them give a
    knob different values.
    """
    said: dict[str, tuple[str, str]] = {}  # knob -> who said it, and its override

    def say(who: str, knob: str, value: str) -> None:
        other, before = said.setdefault(knob, (who, value))
        if differ(before, value):
            raise OptionsError(f"{other} and {who} contradict one another: {knob} is {before} or {value}; give one of them")

    for item in sets:
        knob, sign, text = item.partition("=")
        if not sign:
            raise OptionsError(f"--set {item}: expected name=value, for example --set tuning.steps=50")
        say(f"--set {item}", knob.strip(), text.strip())
    if given.get("lora_rank") is not None:
        rank = given["lora_rank"]
    elif "tuning.lora.rank" in said and given.get("lora_scale") is not None:
        with suppress(ValueError, OverflowError):  # what is wrong with it is said where knobs are read
            rank = int(_parsed(said["tuning.lora.rank"][1]))
    for option in table:
        value: Any = given.get(option.name)
        if value is None or option.superseded:
            continue
        who = flag(option.name) if value is not False else flag(f"no_{option.name}")
        value = rank * value if option.name == "lora_scale" else option.value(value)
        if value is None:
            continue
        say(who, option.knob, json.dumps(value, ensure_ascii=False))
        if option.name == "color_jitter":
            say(who, "training.augment.contrast", json.dumps(value))
    return [f"{knob}={value}" for knob, (_, value) in said.items()]


def markdown() -> str:
    """The table of docs/migrate.md: every option, what it sets here, what to know."""
    lines = ["| original | here | why, and what to know |", "| --- | --- | --- |"]
    for option in (*TRAIN, *GENERATE):
        names = "`, `".join(flag(name) for name in (option.name, *option.aliases))
        lines.append(f"| `{names}` | {f'`{option.knob}`' if option.knob else 'superseded'} | {option.note or 'The same.'} |")
    return "\n".join(lines) + "\n"


def one(what: str, first: Any, second: Any) -> Any:
    """Of a thing that may be given in two ways; raises OptionsError where both were, and differ."""
    if first is not None and second is not None and first != second:
        raise OptionsError(f"{what}: {first} and {second} were given; give one of them")
    return second if first is None else first


def refuse(table: Iterable[Option], given: Mapping[str, Any], names: Sequence[str], because: str) -> None:
    """Raise OptionsError where one of these options was given although ``because`` leaves nothing for it to do."""
    for option in table:
        if option.name in names and given.get(option.name) not in (None, False):
            raise OptionsError(f"{because} and {flag(option.name)} contradict one another; give one of them")


def seeds(given: Sequence[int], count: int | None, usual: Sequence[int]) -> list[int]:
    """Seeds of generation: those given, or ``count`` of them from the first on; ``usual`` where none were given.

    Raises OptionsError for a count below 1, and for several seeds with a count of others.
    """
    given = list(dict.fromkeys(given))
    if count is None:
        return given or list(usual)
    if count < 1:
        raise OptionsError(f"count {count}: expected 1 or more pictures of each prompt")
    if len(given) > 1 and len(given) != count:
        raise OptionsError(f"--count {count} with {len(given)} seeds; give one seed to count from, or the seeds alone")
    if len(given) == count:
        return given
    first = given[0] if given else usual[0]
    return list(range(first, first + count))


def affirmed(table: Iterable[Option], given: Mapping[str, Any], value: Callable[[str], Any]) -> None:
    """Raise OptionsError where a flag was given whose knob (``value(knob)``) is 0 all the same: something else denies it."""
    for option in table:
        if option.kind is bool and given.get(option.name) and option.knob and not value(option.knob):
            raise OptionsError(f"{flag(option.name)} was given, but {option.knob} is {value(option.knob)}; give it a value above 0")


def differ(first: str, second: str) -> bool:
    """Whether two values, as they are typed, are different ones."""
    return bool(_parsed(first) != _parsed(second))


def _parsed(text: str) -> Any:
    """For comparison: numbers as numbers, whatever they are written like."""
    try:
        return float(text)
    except ValueError:
        return re.sub(r'^"(.*)"$', r"\1", text)
