"""What is exported generates the same in stock diffusers, and what is imported again is the adapter it was."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from magicapture import adapters
from magicapture.adapters import AdapterError
from magicapture.adapters.export import beside, export
from magicapture.adapters.files import TOKENS_FILE
from magicapture.adapters.operations import import_lora
from magicapture.artifacts import content_hash, page_tag, read_manifest, sha256_file, write_json, writing
from magicapture.backbones import load_backbone
from magicapture.backbones.sampling import denoise
from magicapture.evaluation.ranking import summaries
from magicapture.packs import Pack
from tests.adapters.artifact import (
    DATA,
    PROMPT,
    config_of,
    latents_here,
    latents_of,
    load_embeddings,
    stock_pipeline,
    tuned_of,
    write_adapter,
)
from tests.backbones.tinysd import write_pack as write_sd1
from tests.tinyfamilies import into_stock, write_pack

FAMILIES = ("sd1", "sd2-v", "sdxl")


@pytest.fixture(scope="module", params=FAMILIES)
def pack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    folder = tmp_path_factory.mktemp("packs") / request.param
    folder.mkdir()
    return write_sd1(folder) if request.param == "sd1" else write_pack(folder, request.param)


@pytest.fixture(scope="module")
def adapter(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "adapter", pack, tuned_of(pack))


@pytest.fixture(scope="module")
def expected(pack: Pack, adapter: Path) -> torch.Tensor:
    """The latents that stock diffusers generates with the adapter folder itself, the reference of every other form."""
    pipeline = stock_pipeline(pack.path("diffusion"))
    into_stock(adapter, pipeline)
    return latents_of(pipeline, pack)


def test_kohya_files_generate_the_same_by_diffusers_own_conversion(
    pack: Pack, adapter: Path, expected: torch.Tensor, tmp_path: Path
) -> None:
    export(adapter, tmp_path / "out", "kohya", "anna")
    pipeline = stock_pipeline(pack.path("diffusion"))
    before = latents_of(pipeline, pack, "a person")
    pipeline.load_lora_weights(tmp_path / "out", weight_name="anna.safetensors")
    load_embeddings(pipeline, {token: tmp_path / f"out/anna-{token[1:3]}.safetensors" for token in ("[V1]", "[V2]")})
    found = latents_of(pipeline, pack)
    assert (found - expected).abs().max() <= 1e-6
    assert (found - before).abs().max() > 0.05


def test_diffusers_files_generate_the_same(pack: Pack, adapter: Path, expected: torch.Tensor, tmp_path: Path) -> None:
    export(adapter, tmp_path / "out", "diffusers")
    pipeline = stock_pipeline(pack.path("diffusion"))
    pipeline.load_lora_weights(tmp_path / "out")
    if pack.name == "sdxl":
        load_embeddings(pipeline, {token: tmp_path / f"out/{token[1:3]}/learned_embeds.safetensors" for token in ("[V1]", "[V2]")})
    else:
        pipeline.load_textual_inversion([str(tmp_path / "out/V1"), str(tmp_path / "out/V2")])  # folders, tokens named inside
    assert (latents_of(pipeline, pack) - expected).abs().max() <= 1e-6


def test_a_merged_model_generates_the_same_with_no_adapter(pack: Pack, adapter: Path, expected: torch.Tensor, tmp_path: Path) -> None:
    export(adapter, tmp_path / "full", "pipeline")
    pipeline = stock_pipeline(tmp_path / "full")
    assert not pipeline.get_active_adapters()
    assert {"[V1]", "[V2]"} <= set(pipeline.tokenizer.get_added_vocab())
    assert (latents_of(pipeline, pack) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_merged_model_has_the_scales_in_it(pack: Pack, adapter: Path, tmp_path: Path) -> None:
    export(adapter, tmp_path / "full", "pipeline", unet_scale=0.6, text_scale=0.25)
    pipeline = stock_pipeline(pack.path("diffusion"))
    into_stock(adapter, pipeline)
    networks = {"unet": 0.6, "text_encoder": 0.25} | ({"text_encoder_2": 0.25} if pack.name == "sdxl" else {})
    pipeline.set_adapters(pipeline.get_active_adapters(), [networks])
    expected = latents_of(pipeline, pack)
    found = latents_of(stock_pipeline(tmp_path / "full"), pack)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("to", ["diffusers", "kohya"])
def test_an_export_comes_back_bit_for_bit(pack: Pack, adapter: Path, tmp_path: Path, to: str) -> None:
    export(adapter, tmp_path / "out", to, "anna")
    files = [(token, tmp_path / f"out/anna-{token[1:3]}.safetensors") for token in ("[V1]", "[V2]")] if to == "kohya" else []
    source = tmp_path / "out/anna.safetensors" if to == "kohya" else tmp_path / "out"
    back = import_lora(source, tmp_path / "back", config_of(pack), files)
    first, second = adapters.read(adapter), adapters.read(back)
    assert (second.rank, second.alpha) == (first.rank, first.alpha) == (4, 2.0)
    assert adapters.tensor_hash(first.tensors) == adapters.tensor_hash(second.tensors)
    content = read_manifest(back, "adapter", verify=True)["content"]
    assert content["pack_digest"] == pack.digest() and content["made_from"][0]["format"] == to
    assert torch.equal(latents_here(pack, back), latents_here(pack, adapter))


def test_the_cards_code_for_diffusers_draws_what_is_generated_here(
    pack: Pack, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executed as it stands (but for the decoding), in the export's folder."""
    backbone = load_backbone(pack)
    adapters.load(adapter, backbone)
    with torch.no_grad():
        shape = (backbone.latent_channels, backbone.latent_size, backbone.latent_size)
        guided = backbone._guided([PROMPT], 1.5)
        expected = denoise(guided, backbone.schedule, shape, [5], steps=2, sampler="dpmpp_2m", device=backbone.device)
    monkeypatch.setenv("MAGICAPTURE_PACKS", str(pack.folder.parent))
    if not (pack.folder.parent / pack.name).exists():
        (pack.folder.parent / pack.name).symlink_to(pack.folder)
    exported = [export(adapter, tmp_path / to, to, "anna", unet_scale=1.0, text_scale=1.0) for to in ("diffusers", "kohya", "pipeline")]
    for out in (*exported, beside(adapter).parent):
        (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
        code = code.replace(",\n).images[0]", ", output_type='latent',\n).images[0]")
        code = code.replace('picture.save("portrait.png")', 'torch.save(picture, "latents.pt")')
        monkeypatch.chdir(out)
        exec(code, {})
        found = torch.load(out / "latents.pt", weights_only=True)
        assert (found - expected[0]).abs().max() <= 1e-4 * expected.abs().max(), out


def _evaluation(folder: Path, digest: str) -> Path:
    """Of two portraits drawn with the tensors of that hash, the second (white) the better."""
    row = {"kind": "portrait", "face": 1, "identity": 0.61, "referee": 0.5, "style": 0.7}
    ranked = [
        {**row, "file": "images/0001.png"},
        {**row, "file": "images/0000.png", "identity": 0.41},
        {**row, "file": "b.png", "kind": "base"},
    ]
    with writing(folder, "evaluation/1") as draft:
        write_json(draft.path / "scores.json", {"items": ranked})
        (draft.path / "images").mkdir()
        for file, grey in (("images/0000.png", 0), ("images/0001.png", 255)):
            Image.new("L", (8, 8), grey).save(draft.path / file)
        draft.content = {"protocol": "p" * 16, "sets": summaries(ranked), "adapter": {"best_hash": digest}}
    return folder


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """An adapter where `magicapture train` leaves it, as yet alone."""
    (tmp_path / "pack").mkdir()
    pack = write_sd1(tmp_path / "pack")
    return write_adapter(tmp_path / "run/seed-3/adapter", pack, tuned_of(pack))


def test_the_card_says_scores_pictures_licence_and_data(trained: Path, tmp_path: Path) -> None:
    adapter, digest = trained, adapters.tensor_hash(adapters.read(trained).tensors)
    _evaluation(tmp_path / "evaluation", digest)
    with writing(tmp_path / "prepared", "prepared/1", subjects=read_manifest(adapter, "adapter")["subjects"]) as draft:
        (draft.path / "a").touch()
    with pytest.raises(AdapterError, match="is the evaluation of another adapter"):
        export(adapter, tmp_path / "out", "kohya", "anna", evaluation=_evaluation(tmp_path / "foreign", "another"))
    out = export(
        adapter, tmp_path / "out", "kohya", "anna", evaluation=tmp_path / "evaluation", prepared=tmp_path / "prepared", unet_scale=0.6
    )
    card = (out / "README.md").read_text()
    assert "| portrait | 0.51 (" in card and "| base | 0.61 |" in card
    assert content_hash(tmp_path / "prepared") in card and "Apache-2.0, commercial use allowed" in card
    assert "a photo of a anna-V1 person in the anna-V2 style <lora:anna:1:0.6>" in card
    assert "a photo of a embedding:anna-V1 person in the embedding:anna-V2 style" in card
    assert "strength_model 0.6, strength_clip 1" in card and '[{"text_encoder": 1.0, "unet": 0.6}]' in card
    assert "![portrait](pictures/0.png) ![portrait](pictures/1.png)" in card
    with Image.open(out / "pictures/0.png") as best:
        assert best.getpixel((0, 0)) == 255


def test_what_is_not_given_is_the_adapters_own(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def card() -> str:
        return (export("adapter", tmp_path / "out", "diffusers") / "README.md").read_text()

    monkeypatch.chdir(trained.parent)
    assert f"| Data | `{DATA}`" in card() and "portrait |" not in card()
    evaluation = _evaluation(trained.parent / "evaluation", "another")
    assert "portrait |" not in card() and "![" not in card()
    shutil.rmtree(evaluation)
    _evaluation(evaluation, adapters.tensor_hash(adapters.read(trained).tensors))
    assert "| portrait | 0.51 (" in card() and "![portrait](pictures/1.png)" in card()
    (evaluation / "scores.json").unlink()
    assert "portrait |" not in card()  # it is not whole, and nobody asked for it


def test_the_card_beside_an_adapter_shows_its_portraits_and_names_the_files_of_three_tools(trained: Path, tmp_path: Path) -> None:
    before = read_manifest(trained, "adapter"), content_hash(trained)
    _evaluation(trained.parent / "evaluation", adapters.tensor_hash(adapters.read(trained).tensors))
    path = beside(trained)
    card = path.read_text()
    assert path == trained.parent / "README.md" and path.samefile(tmp_path / "run/seed-3/README.md")
    assert (read_manifest(trained, "adapter", verify=True), content_hash(trained)) == before
    pictures = re.findall(r"!\[portrait\]\((.*?)\)", card)
    assert pictures == ["evaluation/images/0001.png", "evaluation/images/0000.png"]
    assert all((path.parent / picture).is_file() for picture in pictures)
    for fact in (
        DATA,
        "A person and a look, learnt by MagiCapture",
        "consent of everyone",
        "| portrait | 0.51 (",
        "Apache-2.0, commercial use allowed",
    ):
        assert fact in card
    assert 'pipe.load_lora_weights("adapter", weight_name="pytorch_lora_weights.safetensors")' in card
    assert "magicapture adapter export adapter --to kohya --name magicapture --out FOLDER" in card
    for tool in (
        "AUTOMATIC1111**: `magicapture.safetensors` into `models/Lora`",
        "ComfyUI**: `magicapture.safetensors` into `models/loras`",
    ):
        assert f"**{tool}" in card
    assert page_tag(before[0]["subjects"]) in card  # by which `magicapture purge` finds it


def test_the_card_of_a_thing_and_of_several_says_so(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    pack = write_sd1(tmp_path / "pack")
    thing = write_adapter(tmp_path / "vase/adapter", pack, tuned_of(pack), "preprocess.region=object")
    card = beside(thing).read_text()
    assert "A thing and a look, learnt" in card and "consent" not in card
    backbone = tuned_of(pack)
    for name in ("[V1:anna]", "[V1:ben]"):
        backbone.tokens.add(name, torch.zeros(backbone.tokens.width))
    del backbone.tokens.vectors["[V1]"]
    assert "2 people and a look, learnt" in beside(write_adapter(tmp_path / "both/adapter", pack, backbone)).read_text()


@pytest.mark.parametrize("to", ["diffusers", "kohya", "import"])
def test_a_strangers_adapter_writes_nothing_outside_of_the_folder(pack: Pack, adapter: Path, tmp_path: Path, to: str) -> None:
    """Its hashes are right: it was made so."""
    outside = tmp_path / "outside"
    outside.mkdir()
    tokens = adapters.load_tokens(adapter / TOKENS_FILE) | {
        f"{outside}/{token}": vector for token, vector in adapters.load_tokens(adapter / TOKENS_FILE).items()
    }
    stranger = export(adapter, tmp_path / "stranger", "diffusers") if to == "import" else shutil.copytree(adapter, tmp_path / "stranger")
    if to == "import":
        folder = stranger / "other"
        folder.mkdir()
        pair = {name[-6:]: vector for name, vector in tokens.items() if "V1].clip" in name}
        save_file(pair or {f"{outside}/[V1]": tokens["[V1]"]}, folder / "learned_embeds.safetensors")
    else:
        adapters.save_tokens(stranger / TOKENS_FILE, tokens)
        manifest = read_manifest(stranger, "adapter")
        manifest["files"][TOKENS_FILE] = sha256_file(stranger / TOKENS_FILE)
        write_json(stranger / "manifest.json", manifest)
    with pytest.raises(AdapterError, match=r"token '.*outside/.*' cannot name a file"):
        if to == "import":
            given = [(f"[{outside}/V1]", stranger / "other/learned_embeds.safetensors")] if pair else []
            import_lora(stranger, tmp_path / "out", config_of(pack), given)
        else:
            export(stranger, tmp_path / "out", to)  # type: ignore[arg-type]
    assert not list(outside.iterdir()) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["diffusers", "kohya"])
def test_two_tokens_that_would_be_one_file_are_refused(pack: Pack, adapter: Path, tmp_path: Path, to: str) -> None:
    tokens = adapters.load_tokens(adapter / TOKENS_FILE)
    theirs = shutil.copytree(adapter, tmp_path / "theirs")
    adapters.save_tokens(theirs / TOKENS_FILE, tokens | {name.replace("[V1]", "<V1>"): vector.clone() for name, vector in tokens.items()})
    manifest = read_manifest(theirs, "adapter")
    manifest["files"][TOKENS_FILE] = sha256_file(theirs / TOKENS_FILE)
    write_json(theirs / "manifest.json", manifest)
    with pytest.raises(AdapterError, match=r"tokens '<V1>' and '\[V1\]' would be written as one file, 'V1'"):
        export(theirs, tmp_path / "out", to)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_the_cards_code_quotes_what_a_token_is_called(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    pack = write_sd1(tmp_path / "pack")
    backbone = tuned_of(pack)
    token = '<x", token="y"); import os; print("'
    backbone.tokens.add(token, torch.zeros(backbone.tokens.width))
    export(write_adapter(tmp_path / "adapter", pack, backbone), tmp_path / "out", "kohya")
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "out/README.md").read_text(), re.DOTALL)
    given = [keyword.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) for keyword in node.keywords]
    assert token in [value.value for value in given if isinstance(value, ast.Constant)]
    assert "os" not in [alias.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import) for alias in node.names]


def test_a_token_of_several_vectors_is_one_file_and_generates_the_same(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    pack = write_sd1(tmp_path / "pack")
    backbone = tuned_of(pack)
    backbone.tokens.add("[V1]_1", torch.randn(backbone.tokens.width, generator=torch.Generator().manual_seed(9)))
    adapter = write_adapter(tmp_path / "adapter", pack, backbone)
    out = export(adapter, tmp_path / "out", "kohya", "anna")
    assert tuple(load_file(out / "anna-V1.safetensors")["[V1]"].shape) == (2, backbone.tokens.width)
    card = (out / "README.md").read_text()
    assert "'a photo of a [V1] [V1]_1 person in the [V2] style'" in card and "a photo of a anna-V1 person in the anna-V2 style" in card
    pipeline, reference = stock_pipeline(pack.path("diffusion")), stock_pipeline(pack.path("diffusion"))
    pipeline.load_lora_weights(out, weight_name="anna.safetensors")
    load_embeddings(pipeline, {token: out / f"anna-{token[1:3]}.safetensors" for token in ("[V1]", "[V2]")})
    into_stock(adapter, reference)
    prompt = "a photo of a [V1] [V1]_1 person in the [V2] style"
    found, expected = latents_of(pipeline, pack, prompt), latents_of(reference, pack, prompt)
    assert (found - expected).abs().max() <= 1e-6
    assert (expected - latents_of(reference, pack, "a photo of a [V1] person in the [V2] style")).abs().max() > 1e-3
