"""What a task asks of a cluster: image, processors, memory, accelerator, retries, nodes, volumes, environment. No effect on a local run."""

from __future__ import annotations

from kfp import dsl, kubernetes

from components.values import CHECKPOINTS, Cluster, processors

VOLUME = "magicapture-checkpoints"  # manifests/base/runs/checkpoints.yaml
SETTINGS = "magicapture-settings"  # manifests/base/runs/settings.yaml
SETTING_NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY")
# Where the servers are for people (links) and for the closing task (why a run failed), and what locks a model while one is promoted; a
# task does without what the map does not hold.
OPTIONAL_NAMES = ("KFP_UI", "KFP_ENDPOINT", "MLFLOW_UI", "MAGICAPTURE_LOCK")
PAUSE = 120  # seconds between two tries; as long every time, so that no try comes after days
# Secret -> its keys, which are the variables' names. None is needed where nothing asks for it: a missing one stops no pod.
SECRETS: dict[str, tuple[str, ...]] = {
    "magicapture-s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"),
    "magicapture-git": ("GIT_USERNAME", "GIT_PASSWORD", "GIT_HOST"),
    "magicapture-mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    "magicapture-notify": ("MAGICAPTURE_WEBHOOK",),
}
# Who is trusted with which: the data's stores where data is read, MLflow's where it is talked to (its artifacts go through the server),
# the webhook at the end.
TRUSTED: dict[str, tuple[str, ...]] = {
    "resolve": ("magicapture-s3", "magicapture-git", "magicapture-mlflow"),
    "preprocess": ("magicapture-s3", "magicapture-git"),
    "promotion": ("magicapture-mlflow",),
    "close": ("magicapture-mlflow", "magicapture-notify"),
}


def place(task: dsl.PipelineTask, cluster: Cluster | None, display: str, *, cached: bool = True) -> dsl.PipelineTask:
    """Give a task its display name, image, resources, retries, nodes, volumes and environment; returns it.

    ``cluster`` is None for a local run, where a failure is shown at once instead of being tried again.
    """
    task.set_caching_options(cached).set_env_variable("PYTHONUNBUFFERED", "1")
    if cluster is None:
        return task
    name = task.name.partition("-")[0]
    needs = cluster.needs(name)
    accelerated = needs.gpu and bool(cluster.gpu_type)
    task.set_display_name(display).set_container_image(cluster.image(needs.image, gpu=accelerated))
    # torch and onnxruntime count the node's processors, not the pod's share: their threads would wait for one another.
    task.set_env_variable("OMP_NUM_THREADS", str(processors(needs.cpu)))
    task.set_cpu_request(needs.cpu).set_cpu_limit(needs.cpu).set_memory_request(needs.memory).set_memory_limit(needs.memory)
    kubernetes.set_timeout(task, round(needs.hours * 3600))
    if name != "close":  # an exit task takes no retry policy of its own
        # Argo reads the greatest "backoff" as the time within which all tries have to be over, counted from the first one's start.
        longest = round((needs.retries + 1) * (needs.hours * 3600 + PAUSE))
        task.set_retry(needs.retries, backoff_duration=f"{PAUSE}s", backoff_factor=1, backoff_max_duration=f"{longest}s")
    if accelerated:
        task.set_accelerator_type(cluster.gpu_type).set_accelerator_limit(cluster.gpu_count)
    if needs.gpu:
        # torch's data loading and NCCL want more shared memory than a container's 64 MiB
        kubernetes.empty_dir_mount(
            task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=cluster.shared_memory
        )
    nodes = cluster.gpu_nodes if accelerated else cluster.cpu_nodes
    for label, value in sorted(nodes.node_selector.items()):
        kubernetes.add_node_selector(task, label, value)
    for toleration in nodes.tolerations:
        kubernetes.add_toleration(task, toleration.key, toleration.operator, toleration.value, toleration.effect)
    for term in nodes.affinity:
        expression = {"key": term.key, "operator": term.operator, "values": list(term.values)}
        kubernetes.add_node_affinity(task, match_expressions=[expression], weight=term.weight)
    kubernetes.mount_pvc(task, VOLUME, CHECKPOINTS)
    kubernetes.use_config_map_as_env(task, SETTINGS, {key: key for key in SETTING_NAMES})
    if name in TRUSTED:
        kubernetes.use_config_map_as_env(task, SETTINGS, {key: key for key in OPTIONAL_NAMES}, optional=True)
    for secret in TRUSTED.get(name, ()):
        kubernetes.use_secret_as_env(task, secret, {key: key for key in SECRETS[secret]}, optional=True)
    return task
