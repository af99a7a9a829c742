"""The command line, run as a person runs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from magicapture.artifacts import read_manifest, sha256_file, writing
from magicapture.backbones.iresnet import BLOCKS, IResNet
from magicapture.cli import app
from magicapture.config import load_config
from magicapture.doctor import Finding, examine
from magicapture.options import OptionsError
from magicapture.packs import load_pack
from magicapture.world.samples import write_samples

ROOT = Path(__file__).parent.parent
runner = CliRunner()


def _run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "magicapture", *map(str, arguments))
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_help_names_every_command() -> None:
    text = runner.invoke(app, ["--help"]).output
    for command in ("train", "generate", "evaluate", "gallery", "adapter", "data", "purge", "packs", "config", "doctor", "track"):
        assert f"  {command} " in text
    assert "--set" in runner.invoke(app, ["train", "--help"]).output
    assert _run("--help").stdout.startswith("Usage: ")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import json, sys\nsys.argv = ['magicapture', '--help']\nfrom magicapture.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\nprint(json.dumps(sorted(sys.modules)))"
    )
    result = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "mlflow", "kfp", "pydantic", "onnxruntime", "cv2", "rich", "yaml"}
    assert not heavy & set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--set", "tuning.stepz=50"], ["unknown knob 'tuning.stepz'", "did you mean 'tuning.steps'"]),
        (["--set", "tuning.steps=0"], ["tuning.steps = 0", "greater than or equal to 1"]),
        (["--set", "tuning.lora.rank=0"], ["tuning.lora.rank = 0", "greater than or equal to 1"]),
        (["--preset", "minni"], ["did you mean 'mini'"]),
        ([], ["no-such-folder", "does not exist"]),
    ],
)
def test_errors_are_one_message_and_no_traceback(tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    (tmp_path / "looks").mkdir()
    result = _run("train", tmp_path / "no-such-folder", tmp_path / "looks", "--out", tmp_path / "out", *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("magicapture: ")
    for part in parts:
        assert part in result.stderr
    assert not (tmp_path / "out").exists()  # nothing was begun, so nothing is there to be resumed


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    for command in (
        ("generate", tmp_path, "--out", tmp_path / "o"),
        ("evaluate", tmp_path, tmp_path, "--out", tmp_path / "o"),
        ("track", tmp_path),
    ):
        result = _run(*command)
        assert result.returncode == 2, result.stderr
        assert str(tmp_path) in result.stderr
        assert "manifest.json" in result.stderr


def test_unknown_names_are_told_the_nearest() -> None:
    for arguments, near in (
        (["train", "--lora-rnak", "4"], "--lora-rank"),
        (["trian"], "'train'"),
        (["generate", "--guidence", "4"], "--guidance"),
    ):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 2
        assert near in result.output, result.output


def test_names_of_the_original_with_hyphens_or_underscores(tmp_path: Path) -> None:
    for options in (["--lora_rank=0", "--use_8bit_adam"], ["--lora-rank", "0", "--use-8bit-adam"]):
        result = _run("train", "--instance_data_dir", "p", "--style-data-dir", "l", "--output_dir", tmp_path / "out", *options)
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
        result = _run(*arguments)
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


def test_shell_completion_knows_the_commands() -> None:
    words = {"_MAGICAPTURE_COMPLETE": "complete_bash", "COMP_WORDS": "magicapture con", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['magicapture']; from magicapture.cli import main; main()"
    environment = os.environ | words
    result = subprocess.run((sys.executable, "-c", code), cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["config"], result.stderr


def test_reading_commands_speak_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_PACKS", str(tmp_path / "nothing-fetched"))
    found = json.loads(runner.invoke(app, ["doctor", "--json"]).stdout)
    assert {"what", "ok", "found", "remedy", "needed"} == set(found[0])
    packs = {pack["name"]: pack for pack in json.loads(runner.invoke(app, ["packs", "list", "--json"]).stdout)}
    assert packs["mini"]["embedded"] and packs["mini"]["missing"] == []
    assert packs["mini"]["roles"]["judge"]["licence"] == load_pack("mini").roles["judge"].licence
    assert "diffusion" in packs["sd15"]["missing"]
    states = json.loads(runner.invoke(app, ["packs", "verify", "--json"]).stdout)
    assert states["sd15"] is None and set(states["mini"].values()) == {"ok"}


def test_a_negative_seed_is_refused() -> None:
    result = runner.invoke(app, ["train", "photos", "looks", "--out", "o", "--seed", "-1"])
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_packs_list_says_what_may_be_sold() -> None:
    text = runner.invoke(app, ["packs", "list"]).output
    assert text.startswith("mini ")
    for role, entry in load_pack("mini").roles.items():
        line = next(line for line in text.splitlines() if line.split()[0] == role)
        assert entry.licence in line
        assert ("NOT for commercial use" in line) is not entry.commercial


def test_packs_verify_finds_one_flipped_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICAPTURE_PACKS", str(tmp_path / "nothing-fetched"))
    assert runner.invoke(app, ["packs", "verify"]).exit_code == 0
    shutil.copytree(load_pack("mini").folder, tmp_path / "pack")
    assert runner.invoke(app, ["packs", "verify", str(tmp_path / "pack")]).exit_code == 0
    path = load_pack(tmp_path / "pack").path("judge")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    result = _run("packs", "verify", tmp_path / "pack")
    assert result.returncode == 1
    (line,) = [line for line in result.stdout.splitlines() if not line.endswith(" ok")]
    assert "judge" in line
    assert "corrupt" in line


def test_packs_convert_says_what_pack_yaml_needs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(IResNet(BLOCKS["iresnet18"]).state_dict(), tmp_path / "backbone.pth")
    result = runner.invoke(app, ["packs", "convert", str(tmp_path / "backbone.pth"), str(tmp_path / "arcface.safetensors")])
    assert result.exit_code == 0, result.output
    said = yaml.safe_load("\n".join(line for line in result.output.splitlines() if line.startswith(" ")))
    digest = sha256_file(tmp_path / "arcface.safetensors")
    assert said == {"sha256": {"arcface.safetensors": digest}, "settings": {"architecture": "iresnet18"}}
    result = _run("packs", "convert", tmp_path / "none.pth", tmp_path / "out.safetensors")
    assert (result.returncode, result.stdout) == (2, "")
    assert "none.pth is not a file; expected a published backbone.pth" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_or_corrupt_pack_stops_a_run_before_it_starts(tmp_path: Path) -> None:
    shutil.copytree(load_pack("mini").folder, tmp_path / "pack")
    path = load_pack(tmp_path / "pack").path("detector")
    path.write_bytes(path.read_bytes()[:-1])
    write_samples(tmp_path / "data", count=1, size=64)
    data = (tmp_path / "data" / "person", tmp_path / "data" / "look")
    result = _run("train", *data, "--out", tmp_path / "out", "--set", "pack=nowhere")
    assert (result.returncode, "no pack 'nowhere'" in result.stderr) == (2, True)
    result = _run("train", *data, "--out", tmp_path / "out", "--set", f"pack={tmp_path / 'pack'}")
    assert result.returncode == 2
    assert "corrupt or replaced" in result.stderr
    assert path.name in result.stderr


def test_doctor_finds_this_machine_fit() -> None:
    found = {finding.what: finding for finding in examine()}
    for name in ("magicapture", "torch", "device", "onnxruntime", "opencv", "pack mini", "git"):
        assert found[name].ok, found[name]
    assert "CPUExecutionProvider" in found["onnxruntime"].found
    assert "sha256 ok" in found["pack mini"].found


def test_doctor_says_what_to_do_about_what_is_missing(tmp_path: Path) -> None:
    result = _run("doctor", PATH=str(tmp_path))  # neither git nor chromium
    lines = result.stdout.splitlines()
    git = next(number for number, line in enumerate(lines) if line.startswith("MISS git"))
    assert "apt-get install git" in lines[git + 1]
    chromium = next(number for number, line in enumerate(lines) if line.startswith("-    chromium"))
    assert "apt-get install chromium" in lines[chromium + 1]
    assert result.returncode == 1


def test_doctor_looks_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def data() -> Finding | None:
        return next((finding for finding in examine() if finding.what == "data"), None)

    monkeypatch.chdir(tmp_path)
    assert data() is None
    (tmp_path / "data.dvc").touch()
    missing = data()
    assert missing is not None
    assert (missing.ok, missing.remedy) == (False, "dvc pull")


def test_train_generate_evaluate(tmp_path: Path) -> None:
    """The whole way with the embedded pack, a handful of steps: what each command prints is where its artifact lies."""
    write_samples(tmp_path / "data", count=2, size=128)
    short = ["inversion.steps=2", "tuning.steps=2", "tuning.samples=1", "training.augment.versions=1", "training.threads=1"]
    short += ["generation.steps=2", "generation.seeds=[7]", "evaluation.baseline_images=1"]
    knobs = [part for knob in short for part in ("--set", knob)]
    out = tmp_path / "run"
    result = _run("train", tmp_path / "data" / "person", tmp_path / "data" / "look", "--out", out, "--seed", "3", *knobs)
    assert result.returncode == 0, result.stderr
    assert f"best: {out / 'seed-3' / 'adapter'}" in result.stdout
    assert str(out / "seed-3" / "evaluation" / "report.html") in result.stdout
    assert read_manifest(out / "seed-3" / "adapter", "adapter", verify=True)["content"]["seed"] == 3
    assert not (out / "promotion").exists()  # registering was not asked for

    result = _run(
        "generate", out / "seed-3" / "adapter", "--out", tmp_path / "more", "--prompt", "a photo of a [V1] person", "--seed", "11"
    )
    assert result.returncode == 0, result.stderr
    content = read_manifest(tmp_path / "more" / "portraits", "portraits", verify=True)["content"]
    portraits = [item for item in content["items"] if item["kind"] == "portrait"]
    assert [(item["prompt"], item["seed"], item["steps"]) for item in portraits] == [("a photo of a [V1] person", 11, 2)]
    with Image.open(tmp_path / "more" / "portraits" / portraits[0]["file"]) as picture:
        assert picture.size == (256, 256)

    result = _run("evaluate", tmp_path / "more" / "portraits", out / "prepared", "--out", tmp_path / "scores")
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
