"""docs/operate.md: its commands exist, name what is there, and say how far they were tried."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

import pipeline
from tests.manifests import kubectl
from tests.manifests.conftest import BY_HAND, ROOT
from tests.manifests.objects import Object, name
from tests.manifests.test_schemas import check

LABEL = re.compile(r"^(Executed|Needs a cluster: not executed)", re.MULTILINE)


@pytest.fixture(scope="module")
def blocks(guide: str) -> list[tuple[str, str]]:
    """(the text since the last heading or numbered step, the commands) of every block."""
    found = []
    for section in re.split(r"^(?=##|\*\*\d+\. |\*\*Pipelines kept)", guide, flags=re.MULTILINE):
        for block in re.finditer(r"^ *```sh\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL):
            found.append((section[: block.start()], block[1]))
    return found


@pytest.fixture(scope="module")
def commands(blocks: list[tuple[str, str]]) -> list[str]:
    return [line.strip() for _, block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_every_block_says_how_far_it_was_tried(blocks: list[tuple[str, str]]) -> None:
    assert len(blocks) > 10
    assert [block for before, block in blocks if not LABEL.search(before)] == []


def test_commands_of_the_pipeline_and_their_options_exist(commands: list[str]) -> None:
    app = typer.main.get_command(pipeline.app)
    seen = set()
    for command in (command for command in commands if "pipeline.py" in command):
        words = shlex.split(command.split("pipeline.py ", 1)[1])
        inner = app
        while words and words[0] in getattr(inner, "commands", {}):
            inner = inner.commands[words.pop(0)]  # type: ignore[attr-defined]
        assert not hasattr(inner, "commands"), command
        options = {option for parameter in inner.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, command
        seen.add(inner.name)
    assert seen == {"upload", "submit", "schedule", "list", "compile"}


def test_what_commands_name_is_there(guide: str, commands: list[str], built: dict[str, list[Object]]) -> None:
    for path in set(re.findall(r"(?<![\w/])((?:manifests|tests|images|benchmarks)/[\w./-]*\w)", guide)):
        assert (ROOT / path).exists(), path
    there = {name(thing).lower().replace(" ", "/") for overlay in ("local", *BY_HAND) for thing in built[overlay]}
    there |= {f"job/{made}" for made in re.findall(r"--from=cronjob/\w+ ([\w-]+)", guide)}
    text = "\n".join(commands)
    named = set(re.findall(r"\b((?:deployment|statefulset|cronjob|job)/[\w-]+)", text))
    assert named and named <= there
    assert set(re.findall(r"--namespace (\S+)", text)) == {"magicapture", "kubeflow", "nvidia-device-plugin"}
    for target in set(re.findall(r"make (\w+)", text)):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_the_servers_version_is_the_clients(guide: str) -> None:
    locked = re.search(r"^kfp==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert f"PIPELINE_VERSION={locked[1]}\n" in guide


def test_secrets_are_made_as_they_are_read(commands: list[str], secrets: dict[str, set[str]], tmp_path: Path) -> None:
    """The commands themselves, with kubectl's dry run in place of a cluster."""
    dry = f"{kubectl.find()} --kubeconfig=/dev/null create --dry-run=client --output=yaml"
    lines = [command for command in commands if command.startswith(("kubectl create secret", "export S3_KEY"))]
    script = "\n".join(line.replace("kubectl create", "echo ---; " + dry) for line in lines)
    done = subprocess.run(
        ["bash", "-euc", script],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GIT_TOKEN": "a", "MLFLOW_PASSWORD": "b", "WEBHOOK": "c"},
        capture_output=True,
        text=True,
        check=True,
    )
    made = [thing for thing in yaml.safe_load_all(done.stdout) if thing]
    assert {thing["metadata"]["name"] for thing in made} == set(secrets) and len(made) == len(secrets) + 1
    for thing in made:
        thing["metadata"].pop("creationTimestamp", None)
        check(thing)
        assert set(thing["data"]) <= secrets[thing["metadata"]["name"]]
    both = [thing["data"]["AWS_SECRET_ACCESS_KEY"] for thing in made if thing["metadata"]["name"] == "magicapture-s3"]
    assert len(both) == 2 and both[0] == both[1]
