"""``magicapture train | generate | evaluate``, run as a person runs them."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from magicapture.artifacts import read_manifest, writing
from magicapture.cli import app
from magicapture.config import load_config
from magicapture.options import OptionsError
from magicapture.packs import load_pack
from magicapture.world.samples import write_samples
from tests.cli import run, runner


def test_names_of_the_original_with_hyphens_or_underscores(tmp_path: Path) -> None:
    for options in (["--lora_rank=0", "--use_8bit_adam"], ["--lora-rank", "0", "--use-8bit-adam"]):
        result = run("train", "--instance_data_dir", "p", "--style-data-dir", "l", "--output_dir", tmp_path / "out", *options)
        assert result.returncode == 2
        assert "tuning.lora.rank = 0" in result.stderr
        assert "note: --use-8bit-adam sets nothing" in result.stderr
    assert not (tmp_path / "out").exists()


def test_folders_that_are_missing_or_given_twice_are_named(tmp_path: Path) -> None:
    for arguments, said in (
        (["train", "p", "l"], "missing: out"),
        (["train", "p", "l", "--photos", "q", "--out", tmp_path / "o"], "photos: p and q were given"),
        (["train", "--resume", "--out", tmp_path], "nothing to resume"),
        (["train", "p", "l", "--out", tmp_path / "o", "--json"], "--json is of --dry-run"),
        (["generate", "a", "--prepared", "p", "--out", tmp_path / "o"], "manifest.json"),
        (["generate", "--out", tmp_path / "o"], "expected an adapter folder and --out"),
        (["generate", "a", "--no-postprocess", "--fidelity", "1", "--out", tmp_path / "o"], "--no-postprocess and --fidelity"),
        (["generate", "a", "--adapter", "b", "--out", tmp_path / "o"], "the adapter: a and b were given"),
    ):
        result = run(*arguments)
        assert (result.returncode, said in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--lora-rank", "4", "--lora_rank=8"], "--lora-rank / --rank / --network-dim was given 2 times; give it once"),
        (["--lambda_arc", "0.5", "--lambda-id", "0.2"], "--lambda-arc / --lambda-id was given 2 times"),
        (["--out", "p"], "--out / --output-dir was given 2 times"),
        (["--train_text_encoder", "--no-train-text-encoder"], "was given 2 times"),
    ],
)
def test_what_is_given_twice_is_refused(given: list[str], said: str) -> None:
    result = runner.invoke(app, ["train", "data/person", "data/look", "--out", "o", "--dry-run", *given])
    assert isinstance(result.exception, OptionsError) and said in str(result.exception)


def test_flags_are_read_as_the_originals_scripts_write_them(tmp_path: Path) -> None:
    write_samples(tmp_path / "data", count=1, size=64)
    folders = [str(tmp_path / "data/person"), str(tmp_path / "data/look"), "--out", str(tmp_path / "out"), "--dry-run", "--json"]
    told = {}
    for flags in (
        ["--perform_inversion=True"],
        ["--perform_inversion", "True"],
        ["--perform_inversion=False"],
        ["--perform-inversion", "false"],
    ):
        result = runner.invoke(app, ["train", *folders, *flags])
        assert result.exit_code == 0, result.output
        stages = {work["stage"]: work["does"] for work in json.loads(result.stdout)["stages"]}
        told[" ".join(flags)] = stages["inversion"].startswith("60 steps")
    assert list(told.values()) == [True, True, False, False]
    assert "does not take a value" in runner.invoke(app, ["train", *folders, "--perform_inversion=maybe"]).output


def test_a_negative_seed_is_refused() -> None:
    result = runner.invoke(app, ["train", "photos", "looks", "--out", "o", "--seed", "-1"])
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_a_missing_or_corrupt_pack_stops_a_run_before_it_starts(tmp_path: Path) -> None:
    shutil.copytree(load_pack("mini").folder, tmp_path / "pack")
    path = load_pack(tmp_path / "pack").path("detector")
    path.write_bytes(path.read_bytes()[:-1])
    write_samples(tmp_path / "data", count=1, size=64)
    data = (tmp_path / "data" / "person", tmp_path / "data" / "look")
    result = run("train", *data, "--out", tmp_path / "out", "--set", "pack=nowhere")
    assert (result.returncode, "no pack 'nowhere'" in result.stderr) == (2, True)
    result = run("train", *data, "--out", tmp_path / "out", "--set", f"pack={tmp_path / 'pack'}")
    assert result.returncode == 2
    assert "corrupt or replaced" in result.stderr
    assert path.name in result.stderr


def test_train_generate_evaluate(tmp_path: Path) -> None:
    """The whole way with the embedded pack, a handful of steps: what each command prints is where its artifact lies."""
    write_samples(tmp_path / "data", count=2, size=128)
    short = ["inversion.steps=2", "tuning.steps=2", "tuning.samples=1", "training.augment.versions=1", "training.threads=1"]
    short += ["generation.steps=2", "generation.seeds=[7]", "evaluation.baseline_images=1"]
    knobs = [part for knob in short for part in ("--set", knob)]
    out = tmp_path / "run"
    result = run("train", tmp_path / "data" / "person", tmp_path / "data" / "look", "--out", out, "--seed", "3", *knobs)
    assert result.returncode == 0, result.stderr
    assert f"best: {out / 'seed-3' / 'adapter'}" in result.stdout
    assert str(out / "seed-3" / "evaluation" / "report.html") in result.stdout
    assert read_manifest(out / "seed-3" / "adapter", "adapter", verify=True)["content"]["seed"] == 3
    assert not (out / "promotion").exists()  # registering was not asked for

    result = run("generate", out / "seed-3" / "adapter", "--out", tmp_path / "more", "--prompt", "a photo of a [V1] person", "--seed", "11")
    assert result.returncode == 0, result.stderr
    content = read_manifest(tmp_path / "more" / "portraits", "portraits", verify=True)["content"]
    portraits = [item for item in content["items"] if item["kind"] == "portrait"]
    assert [(item["prompt"], item["seed"], item["steps"]) for item in portraits] == [("a photo of a [V1] person", 11, 2)]
    with Image.open(tmp_path / "more" / "portraits" / portraits[0]["file"]) as picture:
        assert picture.size == (256, 256)

    result = run("evaluate", tmp_path / "more" / "portraits", out / "prepared", "--out", tmp_path / "scores")
    assert result.returncode == 0, result.stderr
    selection = read_manifest(tmp_path / "scores", "evaluation", verify=True)["content"]["selection"]
    said = "no portrait has a face" if selection is None else f"selection {selection:.4f}"  # two steps may not make a face
    assert said in result.stdout


def test_knobs_that_an_artifact_does_not_keep_are_named(tmp_path: Path) -> None:
    kept = {"pack": "mini", "generation": load_config("mini").generation.model_dump(mode="json")}
    for kind in ("adapter", "portraits"):
        with writing(tmp_path / kind, f"{kind}/1", config=kept):
            pass
    result = runner.invoke(app, ["evaluate", str(tmp_path / "portraits"), str(tmp_path / "none"), "--out", str(tmp_path / "o")])
    assert "portraits does not say evaluation: as by default; --preset names" in result.output
    result = runner.invoke(app, ["generate", str(tmp_path / "adapter"), "--out", str(tmp_path / "o")])
    assert "adapter does not say postprocessing, evaluation: as by default" in result.output
    assert "does not say" not in runner.invoke(app, ["generate", str(tmp_path / "adapter"), "--out", "o", "--preset", "mini"]).output
