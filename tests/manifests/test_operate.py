"""docs/operate.md: its commands exist, name what is there, and say how far they were tried."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import pipeline
from components.images import TAG
from components.values import CHECKPOINTS
from magicapture import cli
from magicapture.config import load_config
from tests.manifests import kubectl
from tests.manifests.conftest import BY_HAND, MANIFESTS, ROOT
from tests.manifests.objects import Object, get, name
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


def understood(app: Any, command: str, words: list[str]) -> Any:
    """The command of ``app`` that the words call, which exists and has their options."""
    while words and words[0] in getattr(app, "commands", {}):
        app = app.commands[words.pop(0)]
    assert not hasattr(app, "commands") or not words or words[0].startswith("--"), command
    options = {option for parameter in app.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= options, command
    return app


def test_commands_of_the_pipeline_and_their_options_exist(commands: list[str]) -> None:
    app = typer.main.get_command(pipeline.app)
    seen = set()
    for command in (command for command in commands if "pipeline.py" in command):
        words = shlex.split(command.split("pipeline.py ", 1)[1])
        inner = understood(app, command, words)
        seen.add(inner.name)
        knobs = [value for flag, value in pairwise(words) if flag == "--set"]
        load_config("mini", knobs)
        if inner.name in ("submit", "schedule"):  # else all people share one model
            assert any(knob.startswith("promotion.subject=") for knob in knobs), command
    assert seen == {"upload", "submit", "schedule", "list", "pause", "compile"}


def test_commands_of_magicapture_and_their_options_exist(commands: list[str]) -> None:
    """Those in a pod too, where the command is a module: the images have no script."""
    app, seen = typer.main.get_command(cli.app), set()
    for command in commands:
        found = re.search(r"^magicapture (.*)| -- python -m magicapture (.*)", command)
        assert found or not re.search(r" -- (\./)?magicapture\b", command), command
        if found:
            seen.add(understood(app, command, shlex.split(found[1] or found[2])).name)
    assert seen == {"fetch", "verify", "show", "promote", "purge"}


def test_what_commands_name_is_there(guide: str, commands: list[str], built: dict[str, list[Object]]) -> None:
    for path in set(re.findall(r"(?<![\w/])((?:manifests|tests|images|benchmarks)/[\w./-]*\w)", guide)):
        assert (ROOT / path).exists(), path
    there = {name(thing).lower().replace(" ", "/") for overlay in ("local", *BY_HAND) for thing in built[overlay]}
    there |= {f"job/{made}" for made in re.findall(r"--from=cronjob/\w+ ([\w-]+)", guide)}
    text = "\n".join(commands)
    named = set(re.findall(r"\b((?:deployment|statefulset|cronjob|job|pod)/[\w-]+)", text))
    named |= {f"job/{waited}" for waited in re.findall(r"^finished ([\w-]+)", text, re.MULTILINE)}
    assert {"job/upgrade", "job/restore", "job/backup-now", "pod/volume"} <= named <= there
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


def test_the_images_have_what_they_are_built_with(commands: list[str], tmp_path: Path) -> None:
    """The index of torch's CPU build is exported before the images are made, and without one their build ends at once, saying so."""
    before = commands[: next(index for index, command in enumerate(commands) if "docker buildx bake" in command)]
    bake = (ROOT / "images" / "docker-bake.hcl").read_text()
    asked = re.findall(r'^variable "(\w+)" \{ default = "" \}', bake, re.MULTILINE)
    assert asked == ["TORCH_CPU_INDEX"] and any(command.startswith(f"export {asked[0]}=") for command in before)
    assert f"PIP_EXTRA_INDEX_URL = {asked[0]}" in bake
    stage = re.search(
        r"^FROM packages AS torch\n.*?^RUN (.*?)(?=\n\n)", (ROOT / "images" / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL
    )
    assert stage is not None and "pip install" in stage[1]

    def make(device: str, **variables: str) -> subprocess.CompletedProcess[str]:
        lock = ROOT / "images" / "locks" / "layers" / f"torch-{device}.txt"
        script = "pip() { echo pip; }\n" + stage[1].replace("/lock.txt", shlex.quote(str(lock)))
        return subprocess.run(["sh", "-c", script], env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, text=True, check=False)

    refused = make("cpu", PIP_INDEX_URL="", PIP_EXTRA_INDEX_URL="")
    assert refused.returncode == 1 and "set TORCH_CPU_INDEX" in refused.stderr and "pip\n" not in refused.stdout
    for done in (make("cpu", PIP_EXTRA_INDEX_URL="INDEX"), make("cpu", PIP_INDEX_URL="MIRROR"), make("gpu")):
        assert (done.returncode, done.stdout) == (0, "pip\n"), done.stderr


def test_argo_is_told_what_pods_of_runs_need(blocks: list[tuple[str, str]], built: dict[str, list[Object]], tmp_path: Path) -> None:
    """The command itself, on a map of a file: YAML in YAML, and JSON in that."""
    (command,) = (block for _, block in blocks if block.startswith("kubectl patch configmap"))
    own = tmp_path / "map.yaml"
    own.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "workflow-controller-configmap"}}))
    local = f"{kubectl.find()} --kubeconfig=/dev/null patch --local --output=json --filename={own}"
    script = command.replace("kubectl patch configmap workflow-controller-configmap", local)
    done = subprocess.run(["bash", "-euc", script], env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, capture_output=True, check=True)
    spec = yaml.safe_load(json.loads(done.stdout)["data"]["workflowDefaults"])["spec"]
    assert get(built["local"], "PriorityClass", spec["podPriorityClassName"])
    context = json.loads(spec["podSpecPatch"])["securityContext"]
    # The group of the images' user: it may write to a volume that is root's.
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "images" / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None and context == {"fsGroup": int(user[2]), "fsGroupChangePolicy": "OnRootMismatch"}


@pytest.mark.parametrize(
    ("states", "code"),
    [(["", "", "SuccessCriteriaMet Complete"], 0), (["FailureTarget", "FailureTarget Failed"], 1), (["gone"], 3)],
    ids=["well", "failed", "no such job"],
)
def test_waiting_for_a_job_ends_when_it_fails(states: list[str], code: int, blocks: list[tuple[str, str]]) -> None:
    (waiting,) = (block for _, block in blocks if block.startswith("finished()"))
    script = f"""
    states=({" ".join(shlex.quote(state) for state in states)}) asked=0
    sleep() {{ asked=$((asked + 1)); }}
    kubectl() {{
        case "$1 $2" in
            "get job") [[ ${{states[asked - 1]}} != gone ]] || return 3; echo "${{states[asked - 1]}}" ;;
            "logs job/upgrade") echo "what it said" ;;
            *) return 9 ;;
        esac
    }}
    {waiting}
    finished upgrade"""
    done = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == ("" if code == 3 else "what it said\n")


def test_no_job_is_waited_for_by_its_success_alone(guide: str, commands: list[str]) -> None:
    """Such a wait goes on for hours after the job has failed."""
    assert not re.search(r"--for[= ]condition=complete", guide)
    chain = commands[commands.index(next(command for command in commands if "--from=cronjob/backup backup-before-upgrade" in command)) :]
    after = chain[: chain.index("kubectl apply -k manifests/overlays/$OVERLAY") + 1]
    assert all(command.endswith("&&") for command in after[:-1])  # no new tables without a back-up
    assert after.index("finished backup-before-upgrade &&") < after.index("kubectl apply -k manifests/upgrade &&")


def test_a_pack_is_copied_to_where_runs_are_told_it_is(guide: str, commands: list[str]) -> None:
    """Into the folder above it, which is there: into one of its own, a second copy would lie within the first."""
    ((folder, where),) = (command.split()[-2:] for command in commands if command.startswith("kubectl cp "))
    assert f"kubectl exec --namespace kubeflow volume -- mkdir -p {where.removeprefix('volume:').rstrip('/')}" in commands
    copied = where.removeprefix("volume:") + Path(folder).name
    told = re.findall(r"`--preset (\w+) --set (pack=\S+)`", guide)
    assert [load_config(preset, [knob]).pack for preset, knob in told] == [copied] and copied.startswith(f"{CHECKPOINTS}/")


def test_the_pod_by_hand_has_the_image_that_promotes(built: dict[str, list[Object]]) -> None:
    """Registry and tag of the overlay; its packages are those that purging takes."""
    (made,) = built["volume"]
    registry = yaml.safe_load((MANIFESTS / "overlays" / "gpu" / "cluster.yaml").read_text())["registry"]
    (container,) = made["spec"]["containers"]
    assert container["image"] == f"{registry}/registry:{TAG}"
    (mount,) = (mount for mount in container["volumeMounts"] if mount["mountPath"] == CHECKPOINTS)
    (volume,) = (volume for volume in made["spec"]["volumes"] if volume["name"] == mount["name"])
    assert get(built["local"], "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
