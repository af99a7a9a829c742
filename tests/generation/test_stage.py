"""The stage: portraits and two baselines with everything needed to make each again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicapture import generation
from magicapture.artifacts import read_manifest
from magicapture.backbones import BackboneError
from magicapture.config import Config, load_config
from magicapture.generation import GenerationError
from magicapture.generation.stage import plan
from magicapture.packs import Pack, load_pack
from tests.generation.conftest import DESCRIPTIONS, write_adapter


@pytest.fixture(scope="module")
def images(adapter: Path, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generation.run(adapter, tmp_path_factory.mktemp("out") / "images", config)


def _picture(folder: Path, item: dict) -> np.ndarray:
    return np.asarray(Image.open(folder / item["file"]))


def test_the_manifest_names_every_picture_and_how_it_was_made(images: Path, config: Config) -> None:
    manifest = read_manifest(images, "images", verify=True)
    content = manifest["content"]
    assert [(item["kind"], item["prompt"], item["seed"]) for item in content["items"]] == [
        *(("portrait", "a [V1] in [V2]", seed) for seed in (1, 2, 3)),
        *(("base", "a person", seed) for seed in (1, 2)),
        *(("attributes", "a photo of a person with light skin , long hair , in the beach style", seed) for seed in (1, 2)),
    ]
    assert [item["file"] for item in content["items"]] == [f"images/{i:04d}.png" for i in range(7)]
    first, last = content["items"][0], content["items"][-1]
    made = {"sampler": "euler_ancestral", "steps": 3, "guidance": 3.0, "unet_scale": 0.6, "text_scale": 0.9}
    assert {name: first[name] for name in made} == made
    assert (last["unet_scale"], last["text_scale"]) == (0.0, 0.0)
    assert content["adapter"]["seed"] == 3 and len(content["adapter"]["best_hash"]) == 64
    assert content["warnings"] == [f"prompt {last['prompt']!r} is longer than 38 tokens; left out: 'in the beach style'"]
    assert manifest["config"] == config.model_dump(mode="json")
    for item in content["items"]:
        assert _picture(images, item).shape == (32, 32, 3)


def test_pictures_follow_their_items_and_the_adapter_is_off_for_baselines(images: Path, adapter: Path, config: Config) -> None:
    items = read_manifest(images, "images")["content"]["items"]
    generator = generation.Generator(adapter, config)
    for item in (items[0], items[2], items[3], items[6]):
        expected = generator.sample([item["prompt"]], [item["seed"]], tuned=item["kind"] == "portrait")[0].astype(int)
        assert np.abs(_picture(images, item) - expected).max() <= 1, item


def test_the_trainings_curves_and_pictures_travel_along(images: Path) -> None:
    files = sorted(str(path.relative_to(images)) for path in (images / "training").rglob("*") if path.is_file())
    assert files == ["training/attention/source-v1.png", "training/curves.jsonl", "training/samples/step-00040-0.png"]


def test_prompts_and_seeds_given_replace_those_of_the_configuration(adapter: Path, config: Config, tmp_path: Path) -> None:
    out = generation.run(adapter, tmp_path / "o", load_config(config, ["evaluation.baseline_images=0"]), ["a dog"], [7])
    items = read_manifest(out, "images")["content"]["items"]
    assert [(item["kind"], item["prompt"], item["seed"]) for item in items] == [("portrait", "a dog", 7)]


def test_the_same_call_writes_the_same_pictures(images: Path, adapter: Path, config: Config, tmp_path: Path) -> None:
    again = read_manifest(generation.run(adapter, tmp_path / "o", config), "images")
    first = read_manifest(images, "images")
    assert (again["files"], again["lineage"]) == (first["files"], first["lineage"])


def test_without_descriptions_the_attributes_baseline_is_left_out(pack: Pack, config: Config, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", pack, None)
    content = read_manifest(generation.run(adapter, tmp_path / "o", config, seeds=[1]), "images")["content"]
    assert [item["kind"] for item in content["items"]] == ["portrait", "base"]
    assert content["warnings"] == ["no description.txt in the folder of photos and looks: attributes baseline left out"]


def test_a_refused_call_writes_nothing(adapter: Path, config: Config, tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"\[V7\]"):
        generation.run(adapter, tmp_path / "o", config, ["a [V7]"])
    assert list(tmp_path.iterdir()) == []


def test_baselines_repeat_first_prompts_and_seeds_each_pair_once() -> None:
    jobs, warnings = plan(["a [V1] person", "a person in the [V2] style"], [5, 6, 5], DESCRIPTIONS, 8)
    kinds = [job.kind for job in jobs]
    assert kinds == ["portrait"] * 6 + ["base"] * 2 + ["attributes"] * 2 and warnings == []
    assert [(job.prompt, job.seed) for job in jobs if job.kind == "base"] == [("a person", 5), ("a person", 6)]
    assert plan(["a"], [1], {}, 0) == ([("portrait", "a", 1, ())], [])


def test_a_picture_is_drawn_once_however_often_it_is_asked_for(pack: Pack, config: Config, tmp_path: Path) -> None:
    """Twice, it would count twice in means and intervals."""
    adapter = write_adapter(tmp_path / "adapter", pack, {}, ("[V1:ann]", "[V1:bob]", "[V2]"))
    out = generation.run(adapter, tmp_path / "o", config, ["a [V1] in [V2]", "a [V1:bob] in [V2]", "a [V1] in [V2]"], [4, 1, 4])
    made = [(item["prompt"], item["seed"]) for item in read_manifest(out, "images")["content"]["items"] if item["kind"] == "portrait"]
    assert made == [(f"a [V1:{name}] in [V2]", seed) for name in ("ann", "bob") for seed in (4, 1)]


def test_baselines_of_a_thing_are_told_of_the_thing() -> None:
    jobs, _ = plan(["[V1] on a table in the [V2] style"], [1], {"reference": "in red"}, 1, "vase")
    assert [(job.kind, job.prompt) for job in jobs[1:]] == [("base", "a vase on a table"), ("attributes", "a photo of a vase in red")]


def test_one_description_is_used_alone() -> None:
    jobs, warnings = plan(["a"], [1], {"source": None, "reference": "in the noir style"}, 1)
    assert jobs[-1][:3] == ("attributes", "a photo of a person in the noir style", 1)
    assert warnings == ["no description.txt in the folder of photos: attributes baseline describes only the other"]


def test_baselines_of_several_subjects_and_looks_are_shared_out_and_described_each_in_its_own_words() -> None:
    prompts = [f"a [V1:{who}] person in the [V2:{look}] style" for who in ("ann", "bob") for look in ("gala", "noir")]
    words = {"source:ann": "a person with light skin", "source:bob": "", "reference:gala": "in the gala style", "reference:noir": "in noir"}
    jobs, warnings = plan(prompts, [5, 6], dict(words), 6)
    assert [job.tokens for job in jobs[:3]] == [("[V1:ann]", "[V2:gala]"), ("[V1:ann]", "[V2:gala]"), ("[V1:ann]", "[V2:noir]")]
    kinds = [job.kind for job in jobs]
    assert kinds == ["portrait"] * 8 + ["base"] * 8 + ["attributes"] * 8  # six wanted: two for each of four
    assert {job.prompt for job in jobs if job.kind == "base"} == {"a person"}
    described = {job.tokens: job.prompt for job in jobs if job.kind == "attributes"}
    assert described["[V1:ann]", "[V2:noir]"] == "a photo of a person with light skin , in noir"
    assert described["[V1:bob]", "[V2:gala]"] == "a photo of a person in the gala style"
    assert warnings == [
        f"no description.txt in the folder of photos of [V1:bob] [V2:{look}]: attributes baseline describes only the other"
        for look in ("gala", "noir")
    ]


def test_a_plain_token_stands_for_each_of_several_in_turn(pack: Pack, config: Config, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", pack, {}, ("[V1:ann]", "[V1:bob]", "[V2]"))
    out = generation.run(adapter, tmp_path / "o", config, ["a [V1] in [V2]", "[v1:BOB] and [V1:ann]"], [1])
    items = read_manifest(out, "images")["content"]["items"]
    made = [(item["prompt"], item["tokens"]) for item in items if item["kind"] == "portrait"]
    assert made == [
        ("a [V1:ann] in [V2]", ["[V1:ann]"]),
        ("a [V1:bob] in [V2]", ["[V1:bob]"]),
        ("[V1:bob] and [V1:ann]", ["[V1:bob]", "[V1:ann]"]),  # a couple: one picture
    ]
    assert not np.array_equal(_picture(out, items[0]), _picture(out, items[1]))
    generator = generation.Generator(adapter, config)
    for prompt in ("a [V1] person", "a [V1:eve] person"):
        with pytest.raises(GenerationError, match=r"is not a token of this adapter; it has \[V1:ann\], \[V1:bob\], \[V2\]"):
            generator.predict([prompt])


def test_a_prompt_without_tokens_is_warned_of_and_drawn(adapter: Path, config: Config, tmp_path: Path) -> None:
    out = generation.run(adapter, tmp_path / "images", config, ["a photo of a dog"], [1])
    content = read_manifest(out, "images")["content"]
    (warning,) = [warning for warning in content["warnings"] if "has neither" in warning]  # none of the baselines' prompts
    assert warning.startswith("prompt 'a photo of a dog' has neither [V1]")
    assert content["items"][0]["prompt"] == "a photo of a dog"


def test_size_is_of_the_pictures(adapter: Path, config: Config, tmp_path: Path) -> None:
    side = load_pack(config.pack).resolution * 2
    out = generation.run(
        adapter, tmp_path / "images", load_config(config, [f"generation.size={side}", "evaluation.baseline_images=0"]), None, [1]
    )
    with Image.open(out / "images/0000.png") as picture:
        assert picture.size == (side, side)
    with pytest.raises(BackboneError, match=rf"size {side + 1}: .* multiples of \d+ px; the nearest is {side}"):
        generation.run(adapter, tmp_path / "other", load_config(config, [f"generation.size={side + 1}"]), None, [1])
