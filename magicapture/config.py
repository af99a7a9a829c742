"""Every knob of MagiCapture, declared once: type, default, range, unit, source, and when to move it.

A configuration is a preset (``magicapture/presets/<name>.yaml``), a YAML file, or a mapping, with dotted overrides on
top (``tuning.steps=50``). Unknown names and impossible values are refused when it is read, with the nearest valid name.

Sources: *paper* = arXiv 2309.06895; *original* = the authors' repository; *ours* = decided and measured here.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from magicapture.mappings import ConfigError as ConfigError
from magicapture.mappings import assign, explain, flatten, leaves, merge, number, quoted, shortened, without

PRESETS = Path(__file__).parent / "presets"
#: Short names in the section ``search`` -> knobs of its grid.
SHORT = {"lambda_id": "tuning.lambda_identity", "steps": "tuning.steps"}


class Section(BaseModel):
    """Base of every group of knobs: frozen, and closed to unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocess(Section):
    """From photos to the prepared set (``magicapture.references``)."""

    max_pixels: int = Field(64_000_000, ge=4096, le=178_956_970, description="Pictures with more pixels are set aside unopened (ours: decompression bombs).")
    min_side: int = Field(48, ge=16, description="Least side in px of a usable picture (ours; 256 for the large packs).")
    min_face: float = Field(0.2, gt=0, lt=1, description="Least height of the face box as a share of the picture (original: do not let the face be too small).")
    max_face: float = Field(0.98, gt=0, le=1, description="Greatest height of the face box as a share of the picture (original: nor too big).")
    far_face: float = Field(0.06, ge=0, lt=1, description="Least height of the face box as a share of a photo's short side before it is cropped: detectors see the whole picture reduced and place a smaller face's key points roughly (ours; the original: not too small).")
    rim: float = Field(0.02, ge=0, lt=1, description="Least distance of the face box to a photo's rim, in heights of the box; nearer, the face counts as cut off (ours).")
    min_detection: float = Field(0.5, ge=0, le=1, description="Least detector score that counts as a face (insightface default 0.5).")
    second_face: float = Field(0.5, gt=0, description="A second face at least this share of the first one's height sets a picture aside: mask and embedding must be of one person (ours).")
    max_tilt: float = Field(25.0, gt=0, le=180, description="Greatest angle in degrees of the line of a photo's eyes (ours).")
    max_turn: float = Field(0.5, gt=0, description="Greatest turn of the head to a side: how far the features lie from the middle of the face's skin, in its standard deviations (ours; 0 frontal, 0.4 half turned).")
    min_visible: float = Field(0.4, ge=0, le=1, description="Least share of each eye, of nose and mouth that a photo must show, of what is usual; less, and something covers the face. 0: not judged, for a person who always wears dark glasses (ours).")
    min_sharpness: float = Field(15.0, ge=0, description="Least variance of the Laplacian of the face region on 0..255 grey values (ours).")
    min_brightness: float = Field(70.0, ge=0, le=255, description="Least 95th percentile of a photo's face on 0..255 grey values: some light must fall on it, whatever the skin (ours).")
    max_burnt: float = Field(0.25, ge=0, le=1, description="Greatest share of a photo's face in which two colour channels are at their end (250 of 255): above it the face is burnt out (ours).")
    same_person: float = Field(0.1, ge=-1, le=1, description="Least cosine of a photo's embedding to the mean of the others; below it the photo is set aside as someone else (ours).")
    duplicate_distance: int = Field(12, ge=0, le=64, description="Greatest Hamming distance of 64-bit difference hashes at which two pictures may be one; their grey values decide (ours).")
    warn_margin: float = Field(0.2, ge=0, lt=1, description="A measure nearer to its limit than this share of it is used with a warning (ours).")
    advised_pictures: int = Field(4, ge=1, description="Fewer usable pictures than this bring a warning (paper uses 4 to 6).")
    same_pose: float = Field(0.1, ge=0, description="Photos whose faces' turns (as max_turn) span less than this bring the advice to add other poses (ours).")
    same_light: float = Field(0.03, ge=0, description="Photos whose faces differ less than this in brightness and in side of the light (mean distance to the middle, in half the grey scale) bring the advice to add another light (ours).")
    same_background: float = Field(0.3, ge=0, le=1, description="Photos whose backgrounds' colours lie less than this apart (mean total variation) bring the advice to add another place (ours).")
    region: Literal["face", "head", "object"] = Field("face", description="What belongs to the person and not to the look: the face (paper), or the head with hair and glasses, with room for it in reference images too (ours: of illustrated people, hair is half of what they are told apart by). object: no face is sought, the photos show a thing where they are not transparent (paper's supplement).")
    min_pictures: int = Field(1, ge=1, description="Fewer usable pictures than this of a subject or a look stop the run (paper uses 4 to 6; one works, with a warning).")


class Augment(Section):
    """Variation of the training pictures; applied to image and mask together, cached in several versions."""

    versions: int = Field(8, ge=1, le=256, description="Augmented versions of each picture whose latents are cached (ours: jitter varies although latents are cached).")
    brightness: float = Field(0.1, ge=0, lt=1, description="Colour jitter, brightness factor drawn from 1 +- this (paper 0.1).")
    contrast: float = Field(0.1, ge=0, lt=1, description="Colour jitter, contrast factor drawn from 1 +- this (paper 0.1).")
    flip: bool = Field(True, description="Flip image, mask and key points together in half of the versions (paper).")


class Inversion(Section):
    """Phase 1: textual inversion of the special tokens (paper, eq. 9)."""

    steps: int = Field(1200, ge=0, description="Optimiser updates, which several subjects or looks share (paper 1200; 1600 is also fine; 0: tuning begins with the tokens as they start, as DreamBooth's).")
    learning_rate: float = Field(5e-4, gt=0, le=1, description="Of the token embeddings; final, never rescaled (paper 5e-4).")
    weight_decay: float = Field(0.0, ge=0, description="On the token embeddings (original 0).")
    source_initialiser: str = Field("person", description="Word whose embedding starts [V1], or [V1:name] of every subject (paper); empty: Gaussian, as for [V2].")
    reference_initialiser: str = Field("", description="Word whose embedding starts [V2]; empty: Gaussian with the vocabulary's standard deviation (paper: sigma 0.017).")
    vectors: int = Field(1, ge=1, le=16, description="Vectors of each token, [V1] and [V1]_1, [V1]_2, ... as diffusers names them; prompts go on saying [V1] (original: one works best).")
    norm_pull: bool = Field(True, description="After each update pull token norms to the vocabulary's median norm by min(1, 100 x lr) (original: to 0.4).")


class Lora(Section):
    """The adapter's size (phase 2)."""

    rank: int = Field(4, ge=1, le=512, description="LoRA rank on UNet attention and GEGLU projections and on the text encoder's attention (original 4).")
    alpha: float | None = Field(None, gt=0, description="LoRA alpha; null: equal to the rank (scale 1).")
    dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout (original 0).")


class Tuning(Section):
    """Phase 2: LoRA and tokens together (paper, eq. 10)."""

    steps: int = Field(1500, ge=1, description="Optimiser updates, which several subjects or looks share (paper 1500; 2000 at 4e-5 is also fine).")
    trainable: Literal["lora", "all", "cross_attention", "tokens"] = Field("lora", description="What is trained beside the tokens: LoRA (paper), all of UNet and text encoder (DreamBooth), the UNet's cross-attention keys and values (Custom Diffusion), nothing (Textual Inversion).")
    composed: bool = Field(True, description="Rows of composed prompts (paper, eq. 6); false: the ablation without them, and the baselines. The identity loss counts on these rows.")
    source_composed: float = Field(0.0, ge=0, le=1, description="Share of source rows that are called by a composed prompt, so that the person's region is learnt under the prompts that portraits are made with (paper 0); none without tuning.composed. Where the region is the head, nothing else teaches composed prompts the hair: the identity loss sees the face alone (ours).")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Of what is trained in the UNet (paper 1e-4, for LoRA).")
    text_learning_rate: float = Field(1e-5, ge=0, le=1, description="Of what is trained in the text encoder; 0 leaves it as it is (paper 1e-5).")
    token_learning_rate: float = Field(1e-4, ge=0, le=1, description="Of the tokens, which go on training (original continue_inversion_lr 1e-4).")
    weight_decay: float = Field(1e-3, ge=0, description="On LoRA weights (original 1e-3).")
    warmup_steps: int = Field(0, ge=0, description="Linear warm-up of every learning rate (original 0).")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="Decay of every learning rate to 0 over the steps (original linear).")
    lambda_identity: float = Field(0.25, ge=0, description="Weight of the identity loss (paper 1, 0.25 and 0.5 fine; original 0.25).")
    recogniser: str = Field("recogniser", pattern=r"^[a-z][a-z0-9_]*$", description="Network of the identity loss: a role NAME whose torch weights the pack holds as NAME_torch; the large packs have recogniser, arcface and cosface (original: ArcFace or CosFace).")
    lambda_attention: float = Field(2.5, ge=0, description="Weight of Attention Refocusing (paper 2.5).")
    lambda_structure: float = Field(0.0, ge=0, description="Weight of the self-similarity of DINO keys to the source photo (paper's supplement 0.1, for objects). Where this or one of the next two is above 0, composed rows are source photos, held by these losses instead of reconstruction.")
    lambda_contrast: float = Field(0.0, ge=0, description="Weight of the patch contrast of DINO keys to the source photo (paper's supplement 0.2, for objects).")
    lambda_appearance: float = Field(0.0, ge=0, description="Weight of the distance of DINO's [CLS] token to the looks' (paper's supplement 2, for objects).")
    lambda_prior: float = Field(0.0, ge=0, description="Weight of prior preservation: pictures of the untuned model stay what they are (MagiCapture 0, DreamBooth and Custom Diffusion 1).")
    class_prompt: str = Field("", description="Of the pictures that prior preservation holds on to; needed with lambda_prior (original class_prompt).")
    class_images: int = Field(200, ge=1, le=10_000, description="How many of them are drawn, once (paper 200).")
    identity_limit: float = Field(0.8, gt=0, le=1, description="T'/T: the losses on the estimated clean picture (identity; structure, contrast, appearance) count only for composed rows with t <= T' (original 0.8, of identity).")
    sample_every: int = Field(100, ge=0, description="Steps between fixed-seed samples scored by the judge; 0: only at the end (ours).")
    samples: int = Field(4, ge=1, le=64, description="Pictures per validation; of several subjects or looks at least one of each pair (ours).")
    lora: Lora = Lora()


class Training(Section):
    """What both phases share."""

    rows: int = Field(1, ge=1, le=64, description="k: rows of each kind (source, reference, composed) in every step (paper batch 1, row mix 1:1:1).")
    accumulation: int = Field(1, ge=1, le=64, description="Micro-batches averaged into one update (original 4); learning rates are NOT multiplied by it.")
    gradient_clip: float = Field(1.0, gt=0, description="Greatest global gradient norm (original 1.0).")
    masked: bool = Field(True, description="Reconstruction counts where the row's concept is: the face of source rows, all else of the others (paper, eqs. 4 to 6); false: in the whole picture (the baselines).")
    class_word: str = Field("person", pattern=r"^[a-z]+$", description="What the photos show, in one word of the text encoder's vocabulary; stands in all prompts of training (paper person). For another word set inversion.source_initialiser and generation.prompts too.")
    lambda_style: float = Field(2.0, ge=0, description="Weight of the reference and composed reconstruction during the first half of each phase (original 2).")
    gradient_checkpointing: bool = Field(False, description="Trade time for memory; non-reentrant (ours).")
    checkpoint_every: int = Field(50, ge=1, description="Steps between checkpoints (ours); a killed run resumes from the last one, bit for bit.")
    threads: int = Field(2, ge=0, le=256, description="CPU threads of torch; fixed so that a resumed run equals an uninterrupted one. 0: torch's own choice.")
    augment: Augment = Augment()


class Search(Section):
    """Which adapters ``magicapture train`` tries before one is kept (``magicapture.search``)."""

    seeds: int | tuple[int, ...] = Field(1, description="Training seeds: how many, from 0 on, or a list of them; all share one inversion. More than one searches (ours; the original tells its users to try another seed by hand).")
    grid: dict[str, tuple[Any, ...]] = Field({}, description="Knob of training, inversion or tuning -> values to try, every combination with every seed: {tuning.lambda_identity: [0.25, 0.5]}; for short lambda_id and steps stand beside seeds. Other knobs of inversion or training want an inversion of their own (ours).")
    reduction: int = Field(2, ge=1, le=16, description="One candidate in this many goes on at each check, the best by the judge on the validation prompts; after the last, at 1/reduction of the steps, one is left (successive halving, Jamieson and Talwalkar 2016). 1: all are trained to the end, to look at them.")

    @model_validator(mode="before")
    @classmethod
    def _short_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        grid = {name: data[short] for short, name in SHORT.items() if short in data}
        given = data.get("grid", {})
        if isinstance(given, Mapping):
            both = sorted(grid.keys() & given.keys())
            if both:
                raise ValueError(f"search.grid has {both[0]}, and so has its short name; give one of them")
            grid |= given
        # YAML 1.1 takes 1e-5 for a word.
        grid = {name: [number(value) for value in values] if isinstance(values, list | tuple) else values for name, values in grid.items()}
        return {name: value for name, value in data.items() if name not in SHORT} | ({"grid": grid} if grid else {})


class Generation(Section):
    """Prompts x seeds -> pictures."""

    steps: int = Field(50, ge=1, le=1000, description="Sampler steps (paper 50).")
    guidance: float = Field(7.0, ge=0, le=50, description="Classifier-free guidance scale (paper 7 to 7.5).")
    sampler: Literal["euler_ancestral", "dpmpp_2m", "kdpm2_ancestral", "ddim"] = Field("euler_ancestral", description="By name (paper: Euler ancestral).")
    unet_scale: float = Field(0.6, ge=0, le=2, description="LoRA scale of the UNet at inference (paper 0.60).")
    text_scale: float = Field(0.9, ge=0, le=2, description="LoRA scale of the text encoder at inference (paper 0.90).")
    negative_prompt: str = Field("", description="What to steer away from.")
    prompts: tuple[str, ...] = Field(("a photo of a [V1] person in the [V2] style",), min_length=1, description="[V1] and [V2] stand for the learnt tokens; where an adapter has several subjects or looks, for each in turn, and [V1:name] for one.")
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = Field(tuple(range(1000, 1008)), min_length=1, description="One picture per prompt (per pair of several subjects and looks) and seed, 0 to 2^63 - 1; disjoint from validation seeds.")
    batch: int = Field(4, ge=1, le=64, description="Pictures sampled at once.")
    size: int | None = Field(None, ge=16, le=4096, description="Side in px of generated pictures; null: the pack's, at which its model was trained and draws best.")


class Postprocessing(Section):
    """Super-resolution, face restoration, paste-back."""

    upscale: bool = Field(True, description="Run the pack's upscaler.")
    consistency: float = Field(0.0, ge=0, le=1, description="How far the enlarged picture, reduced again, is brought back to the generated one (back-projection, Irani and Peleg 1991): 0 = the upscaler alone, 1 = to the same pixels (ours).")
    restore: bool = Field(True, description="Run the pack's face restorer on each detected face.")
    fidelity: float = Field(0.5, ge=0, le=1, description="Restorer: 0 = most restoration, 1 = closest to the input (CodeFormer 0.5).")


class Evaluation(Section):
    """Scores, ranking, report."""

    weight_identity: float = Field(1.0, ge=0, le=1000, description="Rank weight of the judge's cosine; of objects, of the structure score (ours).")
    weight_style: float = Field(1.0, ge=0, le=1000, description="Rank weight of masked CLIP style similarity (ours).")
    weight_aesthetic: float = Field(0.02, ge=0, le=1000, description="Rank weight of the aesthetic score, 1 to 10 (ours).")
    baseline_images: int = Field(4, ge=0, le=64, description="Pictures of the untuned base model scored beside the portraits, of several subjects or looks at least one a pair; 0: none (ours).")
    allow_trained_network: bool = Field(False, description="Score even where judge or referee is the network trained against; such scores say nothing of likeness (ours).")
    strangers: int = Field(16, ge=1, le=1000, description="Matched strangers that set the zero of normalised likeness in benchmarks, where identity is known; of runs it decides nothing (ours).")


class Policy(Section):
    """When a model version becomes champion (``magicapture.registry.gate``); a policy file (``registry promote --policy``) holds these keys."""

    min_identity: float = Field(0.0, ge=-1, le=1, description="Floor of likeness: least judge cosine, mean of all portraits, 0 where no face is found; of objects, of the structure score (ours).")
    min_style: float = Field(0.0, ge=-1, le=1, description="Floor of masked CLIP style similarity, mean of all portraits (ours).")
    min_aesthetic: float = Field(0.0, ge=0, le=20, description="Floor of the aesthetic score, about 1 to 10, mean of all portraits (ours).")
    margin: float = Field(0.0, ge=0, le=3, description="By more than this must the mean selection score exceed the champion's, on the same prompts and seeds (ours).")
    false_promotion: float = Field(0.05, gt=0, le=0.5, description="Greatest probability that a run promotes a candidate that is no better than the champion by the margin; shared among the run's candidates (ours). Smaller wants more portraits: 2^-portraits must be below it.")
    tolerance_identity: float = Field(0.05, ge=0, le=2, description="Mean likeness may fall below the champion's by this much (ours: twice the standard error of 8 portraits of mini).")
    tolerance_style: float = Field(0.02, ge=0, le=2, description="Mean style similarity may fall below the champion's by this much (ours).")
    tolerance_aesthetic: float = Field(0.5, ge=0, le=20, description="Mean aesthetic score may fall below the champion's by this much (ours).")


class Promotion(Section):
    """The model registry: one registered model ``<model_name>.<subject>.<style>`` (subject and style have no dot, so no two pairs share a name)."""

    model_name: str = Field("magicapture", pattern=r"^[A-Za-z0-9._-]+$", max_length=60, description="First part of the registered model's name.")
    subject: str = Field("subject", pattern=r"^[A-Za-z0-9_-]+$", max_length=60, description="Whose model this is, and by whose name all that is made of the photos is found again (magicapture purge); as long as it is 'subject', their folder's name is.")
    style: str = Field("style", pattern=r"^[A-Za-z0-9_-]+$", max_length=60, description="In which look.")
    lock_wait: float = Field(600.0, ge=0, le=86_400, description="Seconds to wait while another run promotes the same model (ours).")
    policy: Policy = Policy()


class Config(Section):
    """The whole configuration; ``Config.digest`` keys caches and lineage."""

    pack: str = Field("mini", min_length=1, description="Name of an embedded pack or path of a pack folder (holds pack.yaml).")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where torch runs.")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="Of the frozen networks; trainable parameters stay fp32. bf16 and fp16 want a GPU.")
    preprocess: Preprocess = Preprocess()
    training: Training = Training()
    inversion: Inversion = Inversion()
    tuning: Tuning = Tuning()
    search: Search = Search()
    generation: Generation = Generation()
    postprocessing: Postprocessing = Postprocessing()
    evaluation: Evaluation = Evaluation()
    promotion: Promotion = Promotion()
    _untold: frozenset[str] = PrivateAttr(frozenset())

    @model_validator(mode="after")
    def _possible(self) -> Config:
        if self.device == "cpu" and self.precision == "fp16":
            raise ValueError("precision: fp16 does not run on device cpu; use fp32 (or device: cuda)")
        if self.tuning.warmup_steps >= self.tuning.steps:
            raise ValueError(f"tuning.warmup_steps ({self.tuning.warmup_steps}) must be below tuning.steps ({self.tuning.steps})")
        if self.tuning.lambda_prior and not self.tuning.class_prompt.strip():
            raise ValueError(
                f"tuning.lambda_prior is {self.tuning.lambda_prior:g} but tuning.class_prompt is empty: prior preservation needs the words of "
                'what is to stay as it is, for example tuning.class_prompt="a photo of a person"'
            )
        if self.tuning.trainable in ("all", "cross_attention") and self.precision != "fp32":
            raise ValueError(
                f"tuning.trainable: {self.tuning.trainable} changes the model's own weights, which have to be fp32, not {self.precision}; "
                "set precision: fp32, or tuning.trainable: lora"
            )
        word, spoken = self.training.class_word, [prompt for prompt in self.generation.prompts if "[V1] person" in prompt]
        if word != "person" and spoken:
            raise ValueError(f"training.class_word is {word!r} but generation.prompts has {spoken[0]!r}; write {spoken[0].replace('[V1] person', f'[V1] {word}')!r}")
        if strange := re.search(r"\[V(?![12][]:])\d[^]]*\]", " ".join(self.generation.prompts), re.IGNORECASE):
            raise ValueError(f"generation.prompts has {strange[0]}: the person is [V1] (of several [V1:name]), the look [V2]")
        if self.preprocess.min_face >= self.preprocess.max_face:
            raise ValueError("preprocess.min_face must be below preprocess.max_face")
        return self

    def digest(self, *sections: str) -> str:
        """16 hex digits over the named sections (all when none is named); equal configurations have equal digests."""
        data = self.model_dump(mode="json")
        if sections:
            data = {name: data[name] for name in sections}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    def to_yaml(self) -> str:
        """The complete configuration as YAML, readable by :func:`load_config`."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    @property
    def untold(self) -> list[str]:
        """What stands at its default because nobody said it (``load_config``'s ``partial``), whole sections by their name."""
        return shortened(self._untold, Config)

    def recorded(self, *inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The knobs as an artifact's manifest keeps them: those that were said, and of the others what the manifests of the artifacts that
        it is made of (``inputs``, the later before the earlier) keep. A default that nobody said is not there."""
        known: dict[str, Any] = {}
        for manifest in inputs:
            kept: Mapping[str, Any] = manifest.get("config") or {}
            known = merge(known, without(kept, flatten(kept).keys() - set(leaves(Config))))  # older versions had knobs that are gone
        return merge(known, without(self.model_dump(mode="json"), self._untold))


def load_config(
    source: Config | Mapping[str, Any] | str | Path = "mini", overrides: Iterable[str] = (), *, partial: bool = False
) -> Config:
    """Read a preset name, a YAML file or a mapping, apply ``a.b=value`` overrides, and validate.

    A YAML file may name a ``preset:`` it starts from. ``partial``: the mapping is what a stage was given, or what an artifact keeps: a knob
    that is not in it is not at its default but unknown (``Config.untold``, ``Config.recorded``). Raises ConfigError naming knob, value and
    remedy.
    """
    if isinstance(source, Config):
        data, partial = without(source.model_dump(mode="json"), source._untold), bool(source._untold)
    elif isinstance(source, Mapping):
        data = dict(source)
    else:
        data = _read_yaml(source)
    seen: list[str] = []
    while "preset" in data:  # which may start from another
        seen.append(str(data.pop("preset")))
        if seen[-1] in seen[:-1]:
            raise ConfigError(f"presets start from one another: {' -> '.join(seen)}; leave preset out of one of them")
        data = merge(_read_yaml(seen[-1]), data)
    for item in overrides:
        key, sign, value = item.partition("=")
        if not sign:
            raise ConfigError(f"override {item!r}: expected name=value, for example tuning.steps=50")
        try:
            assign(data, key.strip(), yaml.safe_load(value))
        except yaml.YAMLError:
            right = f"{key.strip()}={quoted(value, key.strip() == 'generation.prompts')}"
            raise ConfigError(f"override {item!r}: {value!r} is not YAML; put it in quotes: {right}") from None
    untold = frozenset(leaves(Config)) - flatten(data).keys() if partial else frozenset[str]()
    if "generation.prompts" in untold:  # the prompts of another thing are not at hand: its own word in the usual one
        word = (data.get("training") or {}).get("class_word", "person")
        prompts = [prompt.replace("[V1] person", f"[V1] {word}") for prompt in Generation().prompts]
        data = merge(data, {"generation": {"prompts": prompts}})
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, Config)) from None
    config._untold = untold
    return config


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _read_yaml(source: str | Path) -> dict[str, Any]:
    path = Path(source)
    if not path.suffix and not path.is_file():  # a folder may be called like a preset
        path = PRESETS / f"{source}.yaml"
        if not path.is_file():
            near = difflib.get_close_matches(str(source), preset_names(), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"no preset or file {str(source)!r}; presets: {', '.join(preset_names())}{hint}")
    if not path.is_file():
        raise ConfigError(f"configuration file {path} does not exist")
    try:
        data = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of knobs, got {type(data).__name__}")
    return data
