"""The pipeline as Kubernetes objects, for a Kubeflow Pipelines that keeps its pipelines in Kubernetes ("native mode")."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from kfp.compiler import Compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions
from kfp.dsl.base_component import BaseComponent

from magicapture.config import ConfigError


def write_resources(pipeline: BaseComponent, version: str, namespace: str, out: Path) -> None:
    """Write a Pipeline and a PipelineVersion called after ``version`` (a git commit) as YAML for `kubectl apply`; same input, same file.

    Raises ConfigError for a namespace that Kubernetes would not take.
    """
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", namespace):
        raise ConfigError(f"namespace {namespace!r}: expected at most 63 small letters, digits and inner dashes, as in kubeflow")
    options = KubernetesManifestOptions(
        pipeline_version_name=f"{pipeline.name}-{version}",
        pipeline_version_display_name=version,
        namespace=namespace,
        include_pipeline_manifest=True,
    )
    with tempfile.TemporaryDirectory(dir=out.absolute().parent) as folder:
        aside = Path(folder, "resources.yaml")
        Compiler().compile(pipeline, str(aside), kubernetes_manifest_format=True, kubernetes_manifest_options=options)
        os.replace(aside, out)
