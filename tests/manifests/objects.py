"""Reading Kubernetes objects: pods in workloads, what they refer to, what selects what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
SERVERS = ("Deployment", "StatefulSet")


def name(thing: Object) -> str:
    return f"{thing['kind']} {thing['metadata']['name']}"


def namespace(thing: Object) -> str:
    return str(thing["metadata"].get("namespace", ""))


def of(objects: list[Object], *kinds: str) -> list[Object]:
    return [thing for thing in objects if thing["kind"] in kinds]


def get(objects: list[Object], kind: str, called: str) -> Object:
    """The object of that kind and name. Raises KeyError."""
    for thing in of(objects, kind):
        if thing["metadata"]["name"] == called:
            return thing
    raise KeyError(f"{kind} {called}")


def template(thing: Object) -> Object | None:
    """The pod template of a workload, else None."""
    within: Object = thing["spec"]["jobTemplate"] if thing["kind"] == "CronJob" else thing
    if thing["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
        made: Object = within["spec"]["template"]
        return made
    return thing if thing["kind"] == "Pod" else None


def pods(objects: list[Object]) -> Iterator[tuple[Object, Object, Object]]:
    """(workload, its pod's labels, its pod's spec)."""
    for thing in objects:
        pod = template(thing)
        if pod is not None:
            yield thing, pod.get("metadata", {}).get("labels", {}), pod["spec"]


def containers(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """(where, the pod's spec, the container), those that prepare a pod too."""
    for thing, _, spec in pods(objects):
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            yield f"{name(thing)}, container {container['name']}", spec, container


def matches(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; {} takes all, None nothing."""
    if selector is None or any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for term in selector.get("matchExpressions", []):
        has, operator = term["key"] in labels, term["operator"]
        inside = labels.get(term["key"]) in term.get("values", [])
        if not {"Exists": has, "DoesNotExist": not has, "In": inside, "NotIn": not inside}[operator]:
            return False
    return True
