"""Adapters made of adapters do what their arithmetic says, and nothing is overwritten or half written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from magicapture import adapters
from magicapture.adapters import AdapterError
from magicapture.adapters.export import beside, export
from magicapture.adapters.operations import describe, import_lora, merge, new_artifact, resize, scale
from magicapture.artifacts import ArtifactError, read_manifest, write_json
from magicapture.backbones import load_backbone
from magicapture.packs import Pack, load_pack
from tests.adapters.artifact import PROMPT, config_of, latents_here, noise_of, stock_pipeline, tuned_of, write_adapter
from tests.backbones.tinysd import write_pack as write_sd1
from tests.tinyfamilies import stock_prediction
from tests.tinyfamilies import write_pack as write_family


@pytest.fixture(scope="module")
def adapter(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "adapter", pack, tuned_of(pack))


@pytest.fixture(scope="module")
def other(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("other") / "other", pack, tuned_of(pack, seed=8, rank=2, alpha=3.0))


def test_scaled_for_good_is_scaled_while_generating(pack: Pack, adapter: Path, tmp_path: Path) -> None:
    scale(adapter, tmp_path / "weak", 0.6, 0.25)
    found, expected = latents_here(pack, tmp_path / "weak"), latents_here(pack, adapter, 0.6, 0.25)
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max() + 1e-6
    assert (found - latents_here(pack, adapter)).abs().max() > 0.01
    content = read_manifest(tmp_path / "weak", "adapter", verify=True)["content"]
    assert content["operation"] == "scale unet 0.6 text 0.25" and content["seed"] == 3


def test_a_merge_with_itself_is_itself_and_by_half_and_none_is_half(pack: Pack, adapter: Path, other: Path, tmp_path: Path) -> None:
    merge([adapter, adapter], tmp_path / "same")
    assert adapters.read(tmp_path / "same").rank == 8
    assert torch.allclose(latents_here(pack, tmp_path / "same"), latents_here(pack, adapter), atol=1e-5)
    kept = merge([adapter, adapter], tmp_path / "cut", rank=4)
    assert kept.share == pytest.approx(1) and adapters.read(tmp_path / "cut").rank == 4
    assert torch.allclose(latents_here(pack, tmp_path / "cut"), latents_here(pack, adapter), atol=1e-4)


def test_two_people_are_merged_under_their_names(pack: Pack, adapter: Path, other: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"knows \[V1\] by another vector.*--name anna --name ben"):
        merge([adapter, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge([adapter, other], tmp_path / "out", [1.0, 0.0], ["anna", "ben"])
    found = describe(tmp_path / "out")
    assert found["tokens"] == {"[V1:anna]": 1, "[V1:ben]": 1, "[V2:anna]": 1, "[V2:ben]": 1} and found["rank"] == 6
    assert set(read_manifest(tmp_path / "out", "adapter")["subjects"]) == {"adapter", "other"}  # by which `magicapture purge` finds it
    named = latents_here(pack, tmp_path / "out", prompt="a photo of a [V1:anna] person in the [V2:anna] style")
    assert torch.allclose(named, latents_here(pack, adapter), atol=1e-5)


def test_resized_to_its_own_rank_is_the_same_and_to_less_says_so(pack: Pack, adapter: Path, tmp_path: Path) -> None:
    assert resize(adapter, tmp_path / "same", rank=4).share == pytest.approx(1)
    assert torch.allclose(latents_here(pack, tmp_path / "same"), latents_here(pack, adapter), atol=1e-4)
    kept = resize(adapter, tmp_path / "less", keep=0.6)
    assert kept.rank < 4 and 0.6 <= kept.share < 1 and adapters.read(tmp_path / "less").rank == kept.rank
    with pytest.raises(AdapterError, match="expected either a rank"):
        resize(adapter, tmp_path / "none")


def test_what_cannot_be_merged_is_refused(pack: Pack, adapter: Path, other: Path, tmp_path: Path) -> None:
    family = write_family(tmp_path, "sd2-v")
    foreign = write_adapter(tmp_path / "foreign", family, tuned_of(family))
    for arguments, message in (
        (([adapter],), "expected two or more"),
        (([adapter, other], [1.0]), "1 x --weight for 2 adapters"),
        (([adapter, other], [], ["anna", "anna"]), "expected a different one each"),
        (([adapter, other], [], ["a b", "c"]), "letters, digits"),
        (([adapter, foreign],), "adapters of different bases cannot be summed"),
    ):
        with pytest.raises(AdapterError, match=message):
            merge(arguments[0], tmp_path / "out", *arguments[1:])
    own = load_backbone(pack)
    own.tokens.add("[V1]", torch.ones(own.tokens.width))
    adapters.unfreeze(own, "cross_attention")
    dreambooth = write_adapter(tmp_path / "own", pack, own)
    with pytest.raises(AdapterError, match="holds no LoRA but a model's own weights"):
        scale(dreambooth, tmp_path / "out", 0.5, 0.5)
    with pytest.raises(AdapterError, match="use --to pipeline"):
        export(dreambooth, tmp_path / "out", "kohya")


def test_a_models_own_weights_are_exported_as_a_whole_model(pack: Pack, tmp_path: Path) -> None:
    """DreamBooth's adapters; tokens alone (Textual Inversion) go to every form."""
    backbone, generator = load_backbone(pack), torch.Generator().manual_seed(4)
    for token in ("[V1]", "[V2]"):
        backbone.tokens.add(token, torch.randn(backbone.tokens.width, generator=generator))
    tokens = write_adapter(tmp_path / "tokens", pack, backbone)
    export(tokens, tmp_path / "embeddings", "kohya", "anna")
    assert {path.name for path in (tmp_path / "embeddings").glob("*.safetensors")} == {"anna-V1.safetensors", "anna-V2.safetensors"}
    card = beside(tokens).read_text()
    assert 'load_file("tokens/tokens.safetensors")' in card and "load_lora" not in card and "--to kohya" in card
    groups = adapters.unfreeze(backbone, "all")
    with torch.no_grad():
        for parameter in (*groups.unet, *groups.text):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    adapter = write_adapter(tmp_path / "adapter", pack, backbone)
    export(adapter, tmp_path / "full", "pipeline")
    for card in (beside(adapter).read_text(), (tmp_path / "full/README.md").read_text()):
        assert "which LoRA files cannot hold" in card and "--to kohya" not in card
    assert "magicapture adapter export adapter --to pipeline" in beside(adapter).read_text()
    noise, timesteps = noise_of(backbone.latent_channels, backbone.latent_size)
    with torch.no_grad():
        found = stock_prediction(stock_pipeline(tmp_path / "full"), noise, timesteps, [PROMPT] * 2)
        untuned = stock_prediction(stock_pipeline(pack.path("diffusion")), noise, timesteps, [PROMPT] * 2)
    expected = latents_here(pack, adapter)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - untuned).abs().max() > 0.05


def test_a_foreign_lora_with_other_layers_is_taken_whole(pack: Pack, adapter: Path, tmp_path: Path) -> None:
    """kohya trains more layers, the UNet alone, or layers of another rank each."""
    export(adapter, tmp_path / "out", "kohya", "anna")
    tensors = {key: tensor for key, tensor in load_file(tmp_path / "out/anna.safetensors").items() if key.startswith("lora_unet")}
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    tensors |= {
        f"{stem}.lora_down.weight": torch.randn(2, 32, 1, 1),
        f"{stem}.lora_up.weight": torch.randn(32, 2, 1, 1),
        f"{stem}.alpha": torch.tensor(1.0),
    }
    save_file(tensors, tmp_path / "foreign.safetensors")
    back = import_lora(tmp_path / "foreign.safetensors", tmp_path / "back", config_of(pack), without_tokens=True)
    found = describe(back)
    assert found["steps"] is None and found["layers"] == {"unet": len(tensors) // 3} and found["tokens"] == {} and found["rank"] == 4
    backbone, plain = load_backbone(pack), load_backbone(pack)
    adapters.load(back, backbone)
    inputs = torch.randn(1, 32, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        update = backbone.unet.mid_block.attentions[0].proj_in(inputs) - plain.unet.mid_block.attentions[0].proj_in(inputs)
        up, down = (tensors[f"{stem}.lora_{half}.weight"].flatten(1) for half in ("up", "down"))
        expected = torch.einsum("oi,bihw->bohw", 0.5 * up @ down, inputs)
    assert torch.allclose(update, expected, atol=1e-4) and expected.abs().max() > 0.1
    export(back, tmp_path / "again", "kohya", "anna")
    assert load_file(tmp_path / "again/anna.safetensors").keys() == tensors.keys()


def test_missing_tokens_and_tokens_of_another_base_are_refused(pack: Pack, adapter: Path, tmp_path: Path) -> None:
    export(adapter, tmp_path / "out", "kohya", "anna")
    file, config = tmp_path / "out/anna.safetensors", config_of(pack)
    with pytest.raises(AdapterError, match=r"the tokens it was trained with are missing.*--without-tokens"):
        import_lora(file, tmp_path / "back", config)
    save_file({"[V1]": torch.ones(1, 768)}, tmp_path / "sd.safetensors")
    with pytest.raises(AdapterError, match=r"vectors of \[V1\]: width 768, but pack .* takes width 32; they were learnt on another base"):
        import_lora(file, tmp_path / "back", config, [("", tmp_path / "sd.safetensors")])
    token = tmp_path / "out/anna-V1.safetensors"
    with pytest.raises(AdapterError, match="was given already"):
        import_lora(file, tmp_path / "back", config, [("[V1]", token), ("[V1]", token)])
    assert not (tmp_path / "back").exists()


def test_an_adapter_of_another_pack_is_not_exported(pack: Pack, adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "a")
    manifest = (tmp_path / "a/manifest.json").read_text()
    (tmp_path / "a/manifest.json").write_text(manifest.replace(pack.digest("diffusion"), "0" * 16))
    with pytest.raises(AdapterError, match="an adapter fits only the weights it was trained on"):
        export(tmp_path / "a", tmp_path / "out", "kohya")


def _older(folder: Path, adapter: Path, pack: Pack) -> Path:
    """The adapter as it was written before its manifest told the diffusion model from the rest of the pack."""
    shutil.copytree(adapter, folder)
    manifest = read_manifest(adapter, "adapter")
    del manifest["content"]["diffusion_digest"]
    manifest["content"]["pack_digest"] = pack.weights_digest()
    write_json(folder / "manifest.json", manifest)
    return folder


def test_adapters_from_before_the_diffusion_digest_go_on_being_merged_and_exported(
    pack: Pack, adapter: Path, other: Path, tmp_path: Path
) -> None:
    old = _older(tmp_path / "old", adapter, pack)
    for pair in ([old, other], [other, old]):
        merge(pair, tmp_path / "both", names=["anna", "ben"])
        export(tmp_path / "both", tmp_path / "out", "kohya")
    export(old, tmp_path / "out", "kohya")


def test_an_adapter_goes_on_fitting_its_pack_when_another_role_is_laid_down(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    pack = write_sd1(tmp_path / "pack")
    adapter = write_adapter(tmp_path / "a", pack, tuned_of(pack))
    laid_down = {"path": "cosface.safetensors", "sha256": {"cosface.safetensors": "1" * 64}, "licence": "MIT", "commercial": True}
    text = yaml.safe_load((pack.folder / "pack.yaml").read_text())
    text["roles"]["recogniser_torch"] = laid_down
    (pack.folder / "pack.yaml").write_text(yaml.safe_dump(text))
    merge([adapter, write_adapter(tmp_path / "b", load_pack(pack.folder), tuned_of(pack))], tmp_path / "both")
    for each in (adapter, tmp_path / "both"):
        export(each, tmp_path / "out", "kohya")


def test_other_peoples_files_are_never_replaced(adapter: Path, tmp_path: Path) -> None:
    mine = tmp_path / "models"
    mine.mkdir()
    (mine / "precious.safetensors").touch()
    for act in (lambda: export(adapter, mine, "diffusers"), lambda: scale(adapter, mine, 1, 1)):
        with pytest.raises(AdapterError, match="exists and is no (export|adapter) of MagiCapture; it is left as it is"):
            act()
    assert (mine / "precious.safetensors").exists()
    export(adapter, tmp_path / "out", "diffusers")
    export(adapter, tmp_path / "out", "diffusers", "again")  # its own may be
    assert read_manifest(tmp_path / "out", "export", verify=True)["content"]["name"] == "again"
    with pytest.raises(AdapterError, match="expected letters, digits"):
        export(adapter, tmp_path / "out", "diffusers", "a/b")


@contextmanager
def _no_root() -> Iterator[None]:
    """Root writes everywhere: as nobody inside."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_named(adapter: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    moved = Path("/tmp") / f"adapter-{os.getpid()}" if os.geteuid() == 0 else adapter
    if moved != adapter:  # nobody may not look into pytest's folders
        shutil.copytree(adapter, moved)
        moved.chmod(0o755)
        closed = moved / "closed"
        closed.mkdir(mode=0o555)
    try:
        with (
            _no_root(),
            pytest.raises(AdapterError, match=r"cannot write .*closed/out: Permission denied .*choose a folder that can be written"),
        ):
            scale(moved, closed / "out", 1, 1)
        assert not list(closed.iterdir())
    finally:
        if moved != adapter:
            shutil.rmtree(moved)


def test_what_is_no_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected a 'adapter' artifact"):
        describe(tmp_path)
    with pytest.raises(AdapterError, match="is not a file; expected a .safetensors file"):
        describe(tmp_path / "none.safetensors")


def test_an_adapter_that_does_not_keep_all_knobs_tells_what_it_knows(pack: Pack, adapter: Path, tmp_path: Path) -> None:
    """The pipeline's: its tuning was given its own sections, and no prompts."""
    shutil.copytree(adapter, tmp_path / "a")
    manifest = json.loads((adapter / "manifest.json").read_text())
    for section in ("inversion", "postprocessing", "search"):
        del manifest["config"][section]
    del manifest["config"]["generation"]["prompts"]
    manifest["content"]["inversion_steps"] = 77
    write_json(tmp_path / "a/manifest.json", manifest)
    assert describe(tmp_path / "a")["steps"] == {"inversion": 77, "tuning": 80}
    export(scale(tmp_path / "a", tmp_path / "b", 1, 1), tmp_path / "out", "diffusers")
    card = (tmp_path / "out/README.md").read_text()
    assert "| Steps | 77 of inversion, 80 of tuning |" in card and f"'{PROMPT}'" in card
    del manifest["content"]["inversion_steps"]
    write_json(tmp_path / "a/manifest.json", manifest)
    assert describe(tmp_path / "a")["steps"]["inversion"] is None
    export(tmp_path / "a", tmp_path / "out", "diffusers")
    assert "| Steps | 80 of tuning |" in (tmp_path / "out/README.md").read_text()


def test_a_trained_adapter_is_never_replaced(pack: Pack, adapter: Path, other: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "a")
    (tmp_path / "a/curves.jsonl").write_text("hours of work")
    for source in (tmp_path / "a", other):
        with pytest.raises(AdapterError, match="is a trained adapter, not one that this command wrote; it is left as it is"):
            scale(source, tmp_path / "a", 0.5, 0.5)
    assert (tmp_path / "a/curves.jsonl").is_file()
    scale(adapter, tmp_path / "b", 0.5, 0.5)
    scale(tmp_path / "b", tmp_path / "b", 2, 2)  # what a command here wrote may be
    assert read_manifest(tmp_path / "b", "adapter", verify=True)["content"]["operation"] == "scale unet 2 text 2"


def test_of_two_people_both_are_described_and_both_networks_are_known(adapter: Path, other: Path, tmp_path: Path) -> None:
    for folder, words, role in ((adapter, "with a beard", "recogniser"), (other, "with red hair", "arcface")):
        manifest = json.loads((folder / "manifest.json").read_text())
        known = {"descriptions": {"source": words}, "recogniser": {"role": role, "weights": role, "onnx": None}}
        shutil.copytree(folder, tmp_path / role)
        write_json(tmp_path / role / "manifest.json", manifest | {"content": manifest["content"] | known})
    merge([tmp_path / "recogniser", tmp_path / "arcface"], tmp_path / "out", [], ["anna", "ben"])
    content = read_manifest(tmp_path / "out", "adapter")["content"]
    assert content["descriptions"] == {"source:anna": "with a beard", "source:ben": "with red hair"}
    assert [each["role"] for each in content["recognisers"]] == ["recogniser", "arcface"]
    merge([tmp_path / "out", tmp_path / "out"], tmp_path / "again", [0.5, 0.5])
    assert read_manifest(tmp_path / "again", "adapter")["content"]["recognisers"] == content["recognisers"]


def test_a_file_that_cannot_be_read_is_not_called_one_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_artifact(tmp_path / "deep" / "out", "adapter/1", "", {}, None):
        (tmp_path / "elsewhere").read_text()
    with pytest.raises(AdapterError, match="cannot write"), new_artifact(tmp_path / "deep" / "out", "adapter/1", "", {}, None) as draft:
        (draft.path / "none" / "file").write_text("")
