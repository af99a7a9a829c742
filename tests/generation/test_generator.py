"""An adapter folder turns prompts into pictures, on its own pack only."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from magicapture import adapters
from magicapture.artifacts import ArtifactError, read_manifest, write_json
from magicapture.backbones import load_backbone
from magicapture.config import Config, load_config
from magicapture.generation import GenerationError, Generator
from magicapture.packs import Pack
from tests.backbones.tinysd import write_pack


@pytest.fixture(scope="module")
def generator(adapter: Path, config: Config) -> Generator:
    return Generator(adapter, config)


def test_pictures_are_those_of_the_backbone_with_the_adapter_at_its_scales(
    generator: Generator, adapter: Path, config: Config, pack: Pack
) -> None:
    prompts, seeds = ["a [V1] in [V2]", "a dog", "[V1]", "[V2]"], [4, 4, 9, 4]
    found = generator.predict(prompts, seeds)
    assert found.shape == (4, 32, 32, 3) and found.dtype == np.uint8
    backbone = load_backbone(pack)
    adapters.load(adapter, backbone, config.generation.unet_scale, config.generation.text_scale)
    expected = backbone.sample(prompts, seeds, steps=3, guidance=3.0, sampler="euler_ancestral", batch=3)
    assert np.array_equal(found, expected)
    base = load_backbone(pack).sample(["a dog"], [4], steps=3, guidance=3.0, sampler="euler_ancestral")
    assert np.abs(found[1].astype(int) - base[0]).mean() > 1


def test_the_negative_prompt_reaches_the_sampler(adapter: Path, config: Config, pack: Pack) -> None:
    generator = Generator(adapter, load_config(config, ["generation.negative_prompt=a dark photo"]))
    settings = {"steps": 3, "guidance": 3.0, "sampler": "euler_ancestral"}
    expected = load_backbone(pack).sample(["a dog"], [4], **settings, negative_prompt="a dark photo")
    found = generator.sample(["a dog"], [4], tuned=False)
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, load_backbone(pack).sample(["a dog"], [4], **settings))


def test_untuned_pictures_are_those_of_the_base_model(generator: Generator, pack: Pack) -> None:
    base = load_backbone(pack).sample(["a dog"], [4], steps=3, guidance=3.0, sampler="euler_ancestral")
    tuned = generator.sample(["a dog"], [4])
    assert np.array_equal(generator.sample(["a dog"], [4], tuned=False), base)
    assert np.array_equal(generator.sample(["a dog"], [4]), tuned) and not np.array_equal(tuned, base)


def test_without_seeds_the_first_of_the_configuration_is_taken(generator: Generator) -> None:
    assert np.array_equal(generator.predict(["a", "b"]), generator.predict(["a", "b"], [1, 1]))


@pytest.mark.parametrize(
    ("prompts", "seeds", "message"),
    [
        ([], [1], "at least one prompt and one seed"),
        (["a"], [], "at least one prompt and one seed"),
        ("a [V1]", [1], "expected lists"),
        (["a [V3]"], [1], r"\[V3\] is not a token of this adapter; it has \[V1\], \[V2\]"),
        (["a"], [-1], "seed -1: expected a whole number"),
        (["a"], [1.5], "seed 1.5"),
        (["a"], [True], "seed True"),
        (["a", "b"], [1], "2 prompts but 1 seeds"),
    ],
)
def test_impossible_calls_are_refused(generator: Generator, prompts: list[str], seeds: list[int], message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        generator.predict(prompts, seeds)


def test_a_long_prompt_says_what_was_cut(generator: Generator, caplog: pytest.LogCaptureFixture) -> None:
    generator.predict(["a" * 38, "a" * 38 + " late words"], [1, 1])
    assert [record.getMessage() for record in caplog.records] == [
        f"prompt {'a' * 38 + ' late words'!r} is longer than 38 tokens; left out: 'late words'"
    ]


def test_an_adapter_of_another_pack_is_refused(adapter: Path, config: Config, tmp_path: Path) -> None:
    other = write_pack(tmp_path, 9)
    with pytest.raises(GenerationError, match=r"trained on pack 'tiny0' \(digest \w{16}\), but config.pack is .*tune again"):
        Generator(adapter, load_config(config, [f"pack={other.folder}"]))


def test_an_adapter_fits_its_pack_whatever_else_is_laid_down_there(adapter: Path, config: Config, pack: Pack, tmp_path: Path) -> None:
    shutil.copytree(pack.folder, tmp_path / "pack")
    data = yaml.safe_load((tmp_path / "pack/pack.yaml").read_text())
    laid_down = {"path": "cosface.safetensors", "sha256": {"cosface.safetensors": "1" * 64}, "licence": "MIT", "commercial": True}
    data["roles"]["recogniser_torch"] = laid_down
    (tmp_path / "pack/pack.yaml").write_text(yaml.safe_dump(data))
    Generator(adapter, load_config(config, [f"pack={tmp_path / 'pack'}"]))


def test_an_adapter_from_before_the_diffusion_digest_is_held_to_all_files(
    adapter: Path, config: Config, pack: Pack, tmp_path: Path
) -> None:
    shutil.copytree(adapter, tmp_path / "old")
    manifest = read_manifest(adapter, "adapter")
    del manifest["content"]["diffusion_digest"]
    write_json(tmp_path / "old/manifest.json", manifest | {"content": manifest["content"] | {"pack_digest": pack.weights_digest()}})
    Generator(tmp_path / "old", config)
    write_json(tmp_path / "old/manifest.json", manifest | {"content": manifest["content"] | {"pack_digest": "0" * 16}})
    with pytest.raises(GenerationError, match=r"trained on pack 'tiny0' \(digest 0{16}\)"):
        Generator(tmp_path / "old", config)


def test_missing_foreign_and_altered_adapters_are_refused(adapter: Path, config: Config, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected a 'adapter' artifact"):
        Generator(tmp_path / "nothing", config)
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    file = copy / "pytorch_lora_weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="differs from its recorded sha256"):
        Generator(copy, config)
