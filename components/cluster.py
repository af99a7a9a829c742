"""What a task asks of a cluster: processors, memory, accelerator, retries, volumes, environment. No effect on a local run."""

from __future__ import annotations

import re

from kfp import dsl, kubernetes

from components.images import image
from magicapture.config import ConfigError

# Component -> (cpu, memory, runs on the accelerator when there is one)
NEEDS: dict[str, tuple[str, str, bool]] = {
    "resolve": ("500m", "1Gi", False),
    "preprocess": ("2", "4Gi", False),
    "inversion": ("2", "12Gi", True),
    "tuning": ("2", "12Gi", True),
    "generation": ("2", "12Gi", True),
    "postprocessing": ("2", "6Gi", False),
    "evaluation": ("2", "6Gi", False),
    "promotion": ("500m", "2Gi", False),
    "close": ("500m", "1Gi", False),
}
IMAGES = {"inversion": "training", "tuning": "training", "generation": "generation"}
CHECKPOINTS = "/checkpoints"
VOLUME = "magicapture-checkpoints"  # manifests/base/checkpoints.yaml
SETTINGS = "magicapture-settings"  # manifests/base/settings.yaml
SETTING_NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY")
RETRIES = 2
# What NVIDIA's device plugin offers: whole cards, cards shared in time, and slices. The GPU images are CUDA's.
ACCELERATORS = r"nvidia\.com/(gpu|mig-\d+g\.\d+gb(\.me)?)(\.shared)?"


def check_accelerator(accelerator: str) -> None:
    """Refuse a resource that no node would have: its tasks would wait for ever. Raises ConfigError."""
    if accelerator and not re.fullmatch(ACCELERATORS, accelerator):
        raise ConfigError(
            f"accelerator {accelerator!r}: expected nvidia.com/gpu, nvidia.com/gpu.shared, a slice as nvidia.com/mig-1g.10gb, or nothing"
        )


def place(task: dsl.PipelineTask, accelerator: str | None, display: str, *, cached: bool = True) -> dsl.PipelineTask:
    """Give a task its display name, resources, retries, volumes and environment; returns it.

    ``accelerator`` is a Kubernetes resource name such as "nvidia.com/gpu", "" for none, and None for a local run, where
    a failure is shown at once instead of being tried again.
    """
    task.set_caching_options(cached).set_env_variable("PYTHONUNBUFFERED", "1")
    if accelerator is None:
        return task
    name = task.name.partition("-")[0]
    cpu, memory, accelerated = NEEDS[name]
    task.set_display_name(display).set_cpu_request(cpu).set_memory_request(memory).set_memory_limit(memory)
    if name != "close":  # an exit task takes no retry policy of its own
        task.set_retry(RETRIES, backoff_duration="30s", backoff_factor=2)
    kubernetes.use_config_map_as_env(task, SETTINGS, {name: name for name in SETTING_NAMES})
    kubernetes.mount_pvc(task, VOLUME, CHECKPOINTS)
    if accelerated:
        # torch's data loading and NCCL want more shared memory than a container's 64 MiB
        kubernetes.empty_dir_mount(task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit="2Gi")
        if accelerator:
            task.set_accelerator_type(accelerator).set_accelerator_limit(1)
            task.set_container_image(image(IMAGES[name], gpu=True))
    return task
