"""Run the pipeline with every stage in its image's packages, and nothing else: `make test-images`.

No engine builds images here, so what an image lacks has to show up otherwise. The CPU layers (images/locks) are installed as
the Dockerfile does, and each image's are laid into a fresh virtual environment, which then holds exactly the pins of its lock.
kfp.local runs pipeline.py's own DAG; each task's command, KFP's executor with the component's source, runs with the packages
of the task's image in a bubblewrap sandbox made as a pod is: the code at /app and everything else read-only but /tmp and the
volumes, the Dockerfile's environment and the task's alone, a user who is not root, no network but for the registry's tasks,
which talk to a real MLflow server on loopback. The run is of the pack mini with a few steps; then an object is prepared and
evaluated, which takes other modules.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from kfp import dsl, local
from kfp.local import status, subprocess_task_handler
from packaging.utils import canonicalize_name

import pipeline
from components.evaluation import evaluation
from components.local import Quiet
from components.preprocess import preprocess
from components.values import NEEDS
from magicapture.artifacts import read_manifest
from magicapture.config import load_config
from magicapture.world.samples import write_object_samples, write_samples

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "images" / "locks"
FEW_STEPS = (
    "inversion.steps=3", "tuning.steps=4", "tuning.sample_every=2", "tuning.samples=1", "generation.steps=2",
    "generation.seeds=[1000, 1001]", "evaluation.baseline_images=1", "training.threads=1", "training.augment.versions=1",
)  # fmt: skip
ONLINE = "registry"  # the one image whose tasks use the network


def included(lock: Path) -> list[str]:
    """The layers that an image's lock names, in its order."""
    return re.findall(r"(?m)^-r layers/(.+)\.txt$", lock.read_text())


def pins(lock: Path) -> dict[str, str]:
    """Name -> version of an image's lock."""
    texts = [(lock.parent / "layers" / f"{name}.txt").read_text() for name in included(lock)]
    return dict(line.split("==") for text in texts for line in text.splitlines() if not line.startswith("#"))


def environment(dockerfile: Path) -> dict[str, str]:
    """What the final images' ENV sets: of the stage runtime-cpu. Build arguments in it stay as they are written."""
    stage = re.split(r"(?m)^FROM ", dockerfile.read_text().partition(" AS runtime-cpu\n")[2])[0]
    instructions = re.findall(r"(?m)^ENV ((?:.*\\\n)*.*)$", stage)
    return dict(word.split("=", 1) for text in instructions for word in shlex.split(text.replace("\\\n", " ")))


def install(layer: str, folder: Path) -> None:
    """Install a layer's lock into a folder, as the Dockerfile does. Raises RuntimeError."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--ignore-installed")
    _run(*pip, "--prefix", str(folder), "-r", str(LOCKS / "layers" / f"{layer}.txt"))


def compose(image: str, layers: Path, folder: Path) -> str:
    """Make a virtual environment of an image's layers; returns a line on it. Raises RuntimeError unless it holds just the image's lock."""
    lock = LOCKS / f"{image}-cpu.txt"
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    for name in included(lock):
        shutil.copytree(layers / name, folder, copy_function=_link, dirs_exist_ok=True)
    listing = "import importlib.metadata, json; print(json.dumps([[d.name, d.version] for d in importlib.metadata.distributions()]))"
    installed = {canonicalize_name(n): v for n, v in json.loads(_run(str(folder / "bin/python"), "-I", "-c", listing))}
    wanted = {canonicalize_name(name): version for name, version in pins(lock).items()}
    if installed != wanted:
        raise RuntimeError(f"image {image}: installed and locked differ: {sorted(set(installed.items()) ^ set(wanted.items()))}")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return f"{image:15}{len(installed):3} packages, {size / 1e6:5.0f} MB"


class InImage(subprocess_task_handler.SubprocessTaskHandler):
    """kfp.local's handler of a task, but in the packages and the confinement of the task's image."""

    environments: Path  # one a image
    code: Path  # the image's /app
    readable: Path
    writable: Path  # within it

    def run(self) -> status.Status:
        """Run the task's command; its output goes to print, as kfp's own handler sends it."""
        name = self.image.rpartition("/")[2].partition(":")[0]
        packages = self.environments / name
        if not packages.is_dir():
            raise RuntimeError(f"image {self.image}: there is no lock {LOCKS / name}-cpu.txt")
        system = [str(path) for path in map(Path, ("/usr", "/etc", "/bin", "/lib", "/lib64", "/sbin")) if path.exists()]
        readable = [*system, sys.base_prefix, str(packages), str(self.readable)]
        variables = environment(ROOT / "images" / "Dockerfile") | self.env_vars
        variables |= {"PATH": f"{packages}/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
        if name == ONLINE:
            variables["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_TRACKING_URI"]
        command = ["bwrap", "--unshare-user", "--uid", "1000", "--gid", "1000", "--unshare-pid", "--unshare-ipc", "--die-with-parent"]
        command += [] if name == ONLINE else ["--unshare-net"]
        command += ["--clearenv", *(part for item in variables.items() for part in ("--setenv", *item))]
        command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        command += [part for path in readable for part in ("--ro-bind", path, path)]
        command += ["--bind", str(self.writable), str(self.writable)]
        command += ["--ro-bind", str(self.code), "/app", "--remount-ro", "/", "--chdir", "/tmp", *self.full_command]
        return status.Status.SUCCESS if subprocess_task_handler.run_local_subprocess(command) == 0 else status.Status.FAILURE


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    """A real MLflow server on loopback whose store lies in a folder; yields its address. Raises RuntimeError if it does not come up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir()
    address, log = f"http://127.0.0.1:{port}", folder / "server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    variables = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("w") as stream:
        server = subprocess.Popen(command, cwd=folder, env=variables, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while not _answers(f"{address}/health"):
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the MLflow server did not come up: {log.read_text()[-2000:]}")
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def run(work: Path) -> str:
    """Run the pipeline and check what it promoted; returns a line on it. Raises RuntimeError for a task that fails."""
    began = time.monotonic()
    with _in_images(work, "face") as root:
        pipeline.portraits(None, 1)(
            photos=str(work / "data" / "person"),
            looks=str(work / "data" / "look"),
            config=load_config("mini", FEW_STEPS).to_yaml(),
            seeds=["0"],
            checkpoints=str(root / "checkpoints"),
            always=True,
        )
    ran = {path.parent.name for path in root.rglob("executor_output.json")}
    content = read_manifest(next(root.glob("*/promotion/promotion")), "promotion")["content"]
    if ran != set(NEEDS) or content["version"] is None:
        raise RuntimeError(f"face: ran {sorted(ran)} of {sorted(NEEDS)}; promotion: {content['reason']}")
    return f"face           {len(ran):2} stages, version {content['version']} of {content['model']}, in {time.monotonic() - began:.0f} s"


def run_object(work: Path) -> str:
    """Prepare an object and score the face run's portraits against it, which takes other modules; returns a line on it.

    The stages between need a role that the pack mini lacks (structure). Raises RuntimeError for a task that fails.
    """
    began = time.monotonic()
    knobs = load_config("mini", ["preprocess.region=object"]).model_dump_json()
    things = work / "objects"
    portraits = next((work / "face").rglob("postprocessing/portraits"))

    @dsl.pipeline(name="object")
    def objects():  # type: ignore[no-untyped-def]  # kfp wants no "-> None"
        ready = preprocess(photos=str(things / "object"), looks=str(things / "look"), config=knobs, data="", code="")
        drawn = dsl.importer(artifact_uri=str(portraits), artifact_class=dsl.Dataset, metadata={"seed": "0"})
        evaluation(portraits=drawn.output, prepared=ready.outputs["prepared"], config=knobs, code="")

    with _in_images(work, "object") as root:
        objects()
    ran = {path.parent.name for path in root.rglob("executor_output.json")}
    if ran != {"preprocess", "evaluation"}:
        raise RuntimeError(f"object: ran {sorted(ran)}, expected preprocess and evaluation")
    return f"object         {len(ran):2} stages, in {time.monotonic() - began:.0f} s"


@contextmanager
def _in_images(work: Path, name: str) -> Iterator[Path]:
    """kfp.local set to run tasks in their images; yields the one folder that they may write, ``work/name``."""
    InImage.readable, InImage.writable = work, work / name
    InImage.writable.mkdir()
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(InImage.writable), enable_caching=False)
    with warnings.catch_warnings(), Quiet(sys.stdout):
        warnings.simplefilter("ignore", RuntimeWarning)  # "image without 'python' in its name"
        yield InImage.writable


def check(work: Path) -> None:
    """All of it, in a folder for the packages and what the stages write. Raises RuntimeError."""
    images = sorted(path.name.removesuffix("-cpu.txt") for path in LOCKS.glob("*-cpu.txt"))
    layers = {name for image in images for name in included(LOCKS / f"{image}-cpu.txt")}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda layer: install(layer, work / "layers" / layer), sorted(layers, reverse=True)))  # torch, the longest, early
    for image in images:
        print(compose(image, work / "layers", work / "images" / image))
    # A copy of what is committed: what lies about in the checkout is no part of an image.
    InImage.environments, InImage.code = work / "images", work / "app"
    listed = _run("git", "-C", str(ROOT), "ls-files", "-z", "--", "magicapture", "components").split("\0")
    for name in filter(None, listed):
        (InImage.code / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, InImage.code / name)
    write_samples(work / "data")
    write_object_samples(work / "objects")
    subprocess_task_handler.SubprocessTaskHandler = InImage
    with tracking_server(work / "mlflow") as os.environ["MLFLOW_TRACKING_URI"]:
        print(run(work))
        print(run_object(work))


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _link(source: str, target: str) -> None:
    if not Path(target).exists():  # two layers may hold the same package
        os.link(source, target)


def _run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {(result.stderr or result.stdout).strip()[-2000:]}")
    return result.stdout


def main() -> None:
    """Check all images in a temporary folder (5 GB), or in --work, which stays."""
    parser = argparse.ArgumentParser(description="Run the pipeline with every stage in the packages of its image alone.")
    parser.add_argument("--work", type=Path, help="a new folder to work in and keep (5 GB); default: a temporary one")
    work = parser.parse_args().work
    if shutil.which("bwrap") is None:
        raise SystemExit("bubblewrap (bwrap), which stands for the container engine, is not installed: apt-get install bubblewrap")
    began = time.monotonic()
    try:
        if work:
            check(work.resolve())
        else:
            with tempfile.TemporaryDirectory(prefix="magicapture-images-") as folder:
                check(Path(folder))
    except RuntimeError as error:
        raise SystemExit(f"images: {error}") from None
    print(f"images: all of them ran their stages, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
