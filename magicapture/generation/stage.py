"""The generation stage: an adapter in, an ``images/1`` artifact out."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from magicapture.artifacts import content_hash, lineage_key, read_manifest, subjects_of, writing
from magicapture.config import Config
from magicapture.faces.concepts import named, spread
from magicapture.generation.generator import Generator
from magicapture.generation.prompts import attributes_prompt, base_prompt, without_tokens
from magicapture.progress import progress

_log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A picture to make; ``tokens``: which of several subjects and looks it is of, or is compared with (``faces.concepts.named``)."""

    kind: str
    prompt: str
    seed: int
    tokens: tuple[str, ...] = ()


def run(
    adapter: str | Path,
    out: str | Path,
    config: Config,
    prompts: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Path:
    """Portraits of every prompt with every seed (None: those of ``config.generation``), each pair once, then both baselines.

    ``images/1``: images/NNNN.png, training/ (the adapter's curves, samples and attention maps, for the report); content:
    items [{file, kind, prompt, seed, tokens, sampler, steps, guidance, unet_scale, text_scale}], adapter (the adapter's content),
    negative_prompt, warnings. A prompt's [V1] or [V2] stands for each in turn of several subjects or looks; items' ``tokens`` say which.
    Kinds: "portrait"; "base": the untuned model with the same seeds and the prompt without the tokens; "attributes": the untuned model
    prompted with the descriptions in words (left out, with a warning, where there are none). Returns ``out``; raises what Generator raises.
    """
    prompts = list(config.generation.prompts if prompts is None else prompts)
    seeds = list(config.generation.seeds if seeds is None else seeds)
    generator = Generator(adapter, config)
    tokens = list(generator.backbone.tokens.ids)
    # Drawn twice, a picture would count twice in means and intervals.
    prompts = list(dict.fromkeys(each for prompt in prompts for each in spread(prompt, tokens)))
    seeds = list(dict.fromkeys(seeds))
    generator.check(prompts, seeds)
    trained = read_manifest(adapter, "adapter")
    word = (trained["config"].get("training") or {}).get("class_word", "person")  # the adapter's: this configuration may be another's
    jobs, warnings = plan(prompts, seeds, generator.adapter.get("descriptions") or {}, config.evaluation.baseline_images, word)
    warnings = without_tokens(prompts, word) + generator.warnings([job.prompt for job in jobs]) + warnings
    for warning in warnings:
        _log.warning(warning)
    lineage = lineage_key(content_hash(adapter), config.digest(), json.dumps([prompts, seeds]))
    whose = subjects_of(trained)
    with writing(out, "images/1", lineage=lineage, config=config.recorded(trained), subjects=whose) as draft:
        _carry(Path(adapter), draft.path / "training")
        (draft.path / "images").mkdir()
        items: list[dict[str, Any]] = []
        for job, picture in progress(_pictures(generator, jobs), total=len(jobs), what="generate", unit="picture"):
            file = f"images/{len(items):04d}.png"
            picture.save(draft.path / file)
            items.append({"file": file, **_record(job, config)})
        draft.content = {
            "items": items,
            "adapter": generator.adapter,
            "negative_prompt": config.generation.negative_prompt,
            "warnings": warnings,
        }
    return Path(out)


def plan(
    prompts: Sequence[str],
    seeds: Sequence[int],
    descriptions: dict[str, str | None],
    baseline_images: int,
    word: str = "person",
) -> tuple[list[Job], list[str]]:
    """All pictures to make, kind by kind, and warnings. Baselines repeat the portraits' first prompts and seeds, each pair once.

    Of several subjects or looks, each combination has its share of the baselines, and one at least.
    """
    jobs = [Job("portrait", prompt, seed, tuple(named(prompt))) for prompt in prompts for seed in seeds]
    if not baseline_images:
        return jobs, []
    base, attributes, warnings = [], [], []
    combinations = list(dict.fromkeys(job.tokens for job in jobs))
    each = -(-baseline_images // len(combinations))
    for tokens in combinations:
        own = [job for job in jobs if job.tokens == tokens]
        base += list(dict.fromkeys(Job("base", base_prompt(job.prompt, word), job.seed, tokens) for job in own))[:each]
        person, look = (_description(descriptions, name, plain, tokens) for name, plain in (("source", "[V1"), ("reference", "[V2")))
        words = attributes_prompt(person, look, word)
        attributes += list(dict.fromkeys(Job("attributes", words, job.seed, tokens) for job in own))[:each] if words else []
        missing = [folder for folder, text in (("photos", person), ("looks", look)) if not (text or "").strip()]
        if missing:
            left = "attributes baseline left out" if not words else "attributes baseline describes only the other"
            whose = f" of {' '.join(tokens)}" if tokens else ""
            warnings.append(f"no description.txt in the folder of {' and '.join(missing)}{whose}: {left}")
    return jobs + base + attributes, warnings


def _description(descriptions: Mapping[str, str | None], name: str, start: str, tokens: Sequence[str]) -> str | None:
    """The words of the set's concept that is among the tokens, or of its only one."""
    concept = next((token[len(start) : -1] for token in tokens if token.startswith(f"{start}:")), "")
    return descriptions.get(name + concept)


def _carry(adapter: Path, target: Path) -> None:
    """Copy what the report shows of the training; the pictures' folder is all that later stages are given."""
    for name in ("samples", "attention"):
        if (adapter / name).is_dir():
            shutil.copytree(adapter / name, target / name)
    if (adapter / "curves.jsonl").is_file():
        target.mkdir(exist_ok=True)
        shutil.copyfile(adapter / "curves.jsonl", target / "curves.jsonl")


def _pictures(generator: Generator, jobs: Sequence[Job]) -> Iterator[tuple[Job, Image.Image]]:
    batch = generator.config.generation.batch
    for tuned in (True, False):
        part = [job for job in jobs if (job.kind == "portrait") == tuned]
        for start in range(0, len(part), batch):
            rows = part[start : start + batch]
            pictures = generator.sample([job.prompt for job in rows], [job.seed for job in rows], tuned=tuned)
            yield from zip(rows, map(Image.fromarray, pictures), strict=True)


def _record(job: Job, config: Config) -> dict[str, Any]:
    knobs = config.generation
    tuned = job.kind == "portrait"
    return {
        "kind": job.kind,
        "prompt": job.prompt,
        "seed": int(job.seed),
        "tokens": list(job.tokens),
        "sampler": knobs.sampler,
        "steps": knobs.steps,
        "guidance": knobs.guidance,
        "unet_scale": knobs.unet_scale if tuned else 0.0,
        "text_scale": knobs.text_scale if tuned else 0.0,
    }
