"""The images: locks that are complete, a Dockerfile and a bake file that agree with them, and what is neither root nor compiler."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from components.images import REGISTRY, TAG
from components.values import NEEDS
from images import check, lock

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / "images" / "locks"
DOCKERFILE = (ROOT / "images" / "Dockerfile").read_text()
BAKE = (ROOT / "images" / "docker-bake.hcl").read_text()
# Image -> the extra of pyproject.toml that says what its stage imports; the registry's is MLflow whole, and the image has its client.
EXTRAS = {name: name for name in ("training", "generation", "postprocessing", "evaluation")} | {"preprocess": "references"}
NAMES = sorted(path.stem for path in LOCKS.glob("*.txt"))


def _stage(name: str) -> str:
    """The instructions of a stage of the Dockerfile."""
    (body,) = re.findall(rf"(?ms)^FROM [^\n]* AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE)
    return body


def _copied(name: str) -> list[str]:
    return re.findall(r"^COPY --link --from=(\w+) ", _stage(name), re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_copies_just_the_layers_of_its_lock(name: str) -> None:
    image, _, device = name.rpartition("-")
    runtime = _copied("runtime-cpu") + (_copied("runtime-gpu") if device == "gpu" else [])
    assert [layer.removesuffix(f"-{device}") for layer in check.included(LOCKS / f"{name}.txt")] + ["code"] == runtime + _copied(image)


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_holds_all_that_its_stage_asks_for(name: str) -> None:
    image, _, device = name.rpartition("-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = lock.closure([*project["dependencies"], *project["optional-dependencies"].get(EXTRAS.get(image, ""), [])])
    held = check.pins(LOCKS / f"{name}.txt")
    public = {package: version.removesuffix("+cpu") for package, version in held.items()}
    assert (lock.on_gpu(wanted) if device == "gpu" else wanted).items() <= public.items()
    assert "kfp" in held and "kfp-server-api" not in held
    assert held.get("torch", "") == ("" if image in ("preprocess", "postprocessing", "registry") else "2.13.0" + "+cpu" * (device == "cpu"))


def test_layers_are_exact_pins_and_agree() -> None:
    versions: dict[str, set[str]] = {}
    for path in (LOCKS / "layers").iterdir():
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert lines == sorted(set(lines))
        for line in lines:
            assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==\d[\w.]*(\+cpu)?", line), line
            name, version = line.split("==")
            versions.setdefault(name, set()).add(version.removesuffix("+cpu"))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_the_gpu_images_have_the_libraries_of_their_runtimes() -> None:
    # Measured from onnxruntime-gpu 1.31.1's extras cuda and cudnn
    needed = {"nvidia-cuda-nvrtc": "13", "nvidia-cuda-runtime": "13", "nvidia-cufft": "12", "nvidia-curand": "10", "nvidia-cudnn-cu13": "9"}
    for name in (name for name in NAMES if name.endswith("-gpu")):
        held = check.pins(LOCKS / f"{name}.txt")
        assert {package: held[package].split(".")[0] for package in needed} == needed
        assert "onnxruntime" not in held


def test_the_registry_has_the_client_alone() -> None:
    held = check.pins(LOCKS / "registry-cpu.txt")
    assert {"mlflow-skinny", "pandas", "numpy"} <= set(held)
    assert not {"mlflow", "torch", "onnxruntime", "scikit-learn", "pyarrow", "sqlalchemy"} & set(held)


def test_every_component_runs_in_an_image_that_is_built() -> None:
    used = set()
    for name in NEEDS:
        used |= set(re.findall(r'base_image=image\("(\w+)"\)', (ROOT / "components" / name / "component.py").read_text()))
    assert used == set(lock.IMAGES) == {name.removesuffix("-cpu") for name in NAMES if name.endswith("-cpu")}
    for variable, default in (("REGISTRY", REGISTRY), ("TAG", TAG)):
        assert f'variable "{variable}" {{ default = "{default}" }}' in BAKE
    built = {
        target: set(re.findall(r'"([\w-]+)"', listed)) for target, listed in re.findall(r'target "(\w+)".*?= \[(.*?)\]', BAKE, re.DOTALL)
    }
    assert {f"{image}-gpu" for image in re.findall(r'"(\w+)"', re.findall(r'target "gpu".*?stage = \[(.*?)\]', BAKE, re.DOTALL)[0])} == {
        name for name in NAMES if name.endswith("-gpu")
    }
    assert built["sbom"] == {name.removesuffix("-cpu") for name in NAMES}


def test_an_image_runs_as_another_user_than_root_and_writes_to_tmp_alone() -> None:
    for image in lock.IMAGES:
        assert "USER" not in _stage(image) and "RUN" not in _stage(image)  # nothing undoes or adds to the runtime's
    runtime = _stage("runtime-cpu")
    assert "\nUSER 1000:1000\n" in runtime and "HEALTHCHECK" not in DOCKERFILE
    assert not re.search(r"apt-get|gcc|build-essential", DOCKERFILE)
    variables = check.environment(ROOT / "images" / "Dockerfile")
    assert {name for name, value in variables.items() if value.startswith("/") and not value.startswith("/tmp")} == {"PYTHONPATH"}
    assert {"HOME", "XDG_CACHE_HOME", "HF_HOME", "PYTHONDONTWRITEBYTECODE", "MAGICAPTURE_COMMIT"} <= set(variables)


def test_the_build_sees_what_the_dockerfile_copies() -> None:
    copied = re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, re.MULTILINE)
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for path in copied:
        assert any(path == known or path.startswith(f"{known}/") for known in allowed), path
        for device in ("cpu", "gpu"):
            assert (ROOT / path.replace("${DEVICE}", device)).exists(), path


def test_what_an_image_lacks_fails_its_composition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer without a package that the lock names, made of an empty folder."""
    (tmp_path / "locks" / "layers").mkdir(parents=True)
    (tmp_path / "locks" / "layers" / "base.txt").write_text("numpy==2.4.6\n")
    (tmp_path / "locks" / "registry-cpu.txt").write_text("-r layers/base.txt\n")
    (tmp_path / "layers" / "base").mkdir(parents=True)
    monkeypatch.setattr(check, "LOCKS", tmp_path / "locks")
    with pytest.raises(RuntimeError, match=r"installed and locked differ: \[\('numpy', '2.4.6'\)\]"):
        check.compose("registry", tmp_path / "layers", tmp_path / "made")


def test_hadolint_finds_nothing() -> None:
    result = subprocess.run(
        (str(Path(lock.sys.executable).with_name("hadolint")), "images/Dockerfile"), cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_requirements_of_the_layers_are_those_that_the_project_names() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {Requirement(text).name for texts in extras.values() for text in texts}
    layered = {Requirement(text).name for wanted in lock.LAYERS.values() for text in wanted}
    assert layered - named <= {"mlflow-skinny", "pandas"}  # mlflow brings both
