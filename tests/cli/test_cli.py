"""The command line as a whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from magicapture.cli import app
from magicapture.packs import load_pack
from tests.cli import ROOT, run, runner


def test_help_names_every_command() -> None:
    text = runner.invoke(app, ["--help"]).output
    for command in ("train", "generate", "evaluate", "gallery", "adapter", "data", "purge", "packs", "config", "doctor", "track"):
        assert f"  {command} " in text
    assert "--set" in runner.invoke(app, ["train", "--help"]).output
    assert run("--help").stdout.startswith("Usage: ")


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
    result = run("train", tmp_path / "no-such-folder", tmp_path / "looks", "--out", tmp_path / "out", *arguments)
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
        result = run(*command)
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
