"""The house's own rules: who imports whom, exact locks, a complete wheel, images without torch."""

import importlib.util
import inspect
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from magicapture import stages

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock", "images/requirements-gpu.lock")
TORCH = ("torch", "diffusers", "transformers", "peft", "accelerate")
SERVICES = ("mlflow", "kfp", "dvc")


def _pins(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "images" / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_import_rules_hold() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = subprocess.run((sys.executable, "-c", code, "--no-cache"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_pipeline_reaches_the_library_only_through_the_components() -> None:
    names = re.findall(r"^\s*(?:from|import) ([\w.]+)", (ROOT / "pipeline.py").read_text(), re.MULTILINE)
    assert "kfp" in names
    assert {name for name in names if name.startswith("magicapture")} <= {
        "magicapture.stages",
        "magicapture.config",
        "magicapture.artifacts",
        "magicapture.exits",
    }


@pytest.mark.parametrize("name", LOCKS)
def test_locks_are_exact_pins_of_one_version_each(name: str) -> None:
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(lines)
    for line in lines:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==\d[\w.]*", line), line
    assert len({line.split("==")[0] for line in lines}) == len(lines)


def test_locks_are_what_the_project_asks_for(lock: ModuleType) -> None:
    for name, text in lock.locks().items():
        assert (ROOT / name).read_text() == text, f"{name} is out of date: make lock"


def test_what_is_installed_is_what_is_locked() -> None:
    for name, pin in (_pins("requirements.lock") | _pins("requirements-dev.lock")).items():
        assert version(name).partition("+")[0] == pin, name
    for name in ("opencv-python", "onnxruntime-gpu"):  # each overwrites the module of a package that is locked
        with pytest.raises(PackageNotFoundError):
            version(name)


def test_gpu_lock_differs_by_the_runtime_alone(lock: ModuleType) -> None:
    cpu, gpu = _pins("requirements.lock"), _pins("images/requirements-gpu.lock")
    cuda = dict(line.split("==") for line in lock.CUDA + lock.TORCH_CUDA)
    assert gpu == {name: pin for name, pin in cpu.items() if name != "onnxruntime"} | {"onnxruntime-gpu": cpu["onnxruntime"]} | cuda
    assert (cpu["torch"], cpu["opencv-python-headless"]) == ("2.13.0", "4.14.0.94")


def test_lock_refuses_what_is_not_installed(lock: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no-such-package-here>=1 is not installed"):
        lock.closure(["no-such-package-here>=1"])


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("magicapture.cli", (*TORCH, *SERVICES, "numpy", "pydantic", "onnxruntime", "cv2")),
        ("magicapture.search", (*TORCH, *SERVICES, "onnxruntime", "cv2")),
        ("magicapture.stages", (*TORCH, *SERVICES, "onnxruntime", "cv2")),
        ("magicapture.references", (*TORCH, *SERVICES)),
        ("magicapture.data,magicapture.references.intake", (*TORCH, *SERVICES)),
        ("magicapture.postprocessing", (*TORCH, *SERVICES)),
        ("magicapture.faces.analysis,magicapture.faces.embed,magicapture.faces.parse", (*TORCH, *SERVICES)),
        ("magicapture.registry", (*TORCH, *SERVICES, "onnxruntime")),
        ("magicapture.training.inversion,magicapture.training.tuning", SERVICES),
        ("magicapture.generation", (*SERVICES, "insightface")),
        ("magicapture.evaluation", (*SERVICES, "diffusers", "peft")),
        ("magicapture.scoring.structure", (*SERVICES, "diffusers", "peft")),
        ("magicapture.world.render", (*TORCH, *SERVICES, "onnxruntime")),
    ],
)
def test_no_stage_imports_what_it_does_not_use(modules: str, absent: tuple[str, ...]) -> None:
    code = f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run((sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loaded = set(json.loads(result.stdout.splitlines()[-1]))
    assert set(modules.split(",")) <= loaded
    assert not loaded & set(absent)


def test_extras_document_what_each_room_imports() -> None:
    """Every third-party package that a room imports is among the project's dependencies or the room's extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    distributions = {"yaml": "pyyaml", "PIL": "pillow", "skimage": "scikit-image", "cv2": "opencv-python-headless"}
    local = {"magicapture", *sys.stdlib_module_names}
    for room in ("references", "training", "generation", "postprocessing", "evaluation", "registry", "world", "data"):
        asked = [*project["dependencies"], *project["optional-dependencies"][room]]
        known = {canonicalize_name(Requirement(text).name) for text in asked}
        for path in (ROOT / "magicapture" / room).rglob("*.py"):
            for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE):
                assert name in local or canonicalize_name(distributions.get(name, name)) in known, (
                    f"{path}: {name} is not in extra {room!r}"
                )


def test_the_wheel_carries_presets_packs_and_templates(tmp_path: Path) -> None:
    listed = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "magicapture", "pyproject.toml", "README.md", "LICENSE"),
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    source = tmp_path / "source"
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(ROOT / name)
    pip = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(tmp_path),
        ".",
    )
    result = subprocess.run(pip, cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("magicapture-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    missing = {name for name in names if name.startswith("magicapture/")} - packed
    assert not missing
    assert {"magicapture/presets/mini.yaml", "magicapture/packs/mini/pack.yaml", "magicapture/py.typed"} <= packed
    assert any(name.endswith("licenses/LICENSE") for name in packed)


def test_make_help_names_every_target() -> None:
    text = subprocess.run(("make", "help"), cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (targets,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(targets.split()) <= set(re.findall(r"^  make (\S+)", text, re.MULTILINE))


def test_stage_functions_have_the_designs_signatures() -> None:
    expected = {
        "preprocess": "photos looks out config data=",
        "invert": "prepared out config seed checkpoints",
        "tune": "prepared tokens out config seed checkpoints until_step=None",
        "generate": "adapter out config prompts=None seeds=None",
        "postprocess": "images out config only=None",
        "evaluate": "images prepared out config",
        "promote": "candidates out config run=None",
    }
    for name, text in expected.items():
        parameters = inspect.signature(getattr(stages, name)).parameters.values()
        assert " ".join(p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters) == text
