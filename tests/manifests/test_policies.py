"""Every overlay obeys every policy, and every policy fails on a manifest that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from magicapture.registry.lease import Lease
from magicapture.registry.lock import choose
from tests.manifests.conftest import BY_HAND, OVERLAYS
from tests.manifests.objects import Object, get, namespace, template
from tests.manifests.policies import POLICIES

Break = Callable[[list[Object]], None]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("overlay", [*OVERLAYS, *BY_HAND])
def test_overlays_obey(overlay: str, policy: str, built: dict[str, list[Object]], secrets: dict[str, set[str]]) -> None:
    objects = built["local"] + built[overlay] if overlay in BY_HAND else built[overlay]
    assert POLICIES[policy](objects, secrets) == []


def pod(objects: list[Object], kind: str = "Deployment", name: str = "mlflow") -> Object:
    made = template(get(objects, kind, name))
    assert made is not None
    spec: Object = made["spec"]
    return spec


def one(objects: list[Object], kind: str = "Deployment", name: str = "mlflow") -> Object:
    container: Object = pod(objects, kind, name)["containers"][0]
    return container


def put(thing: Object, path: str, value: object) -> None:
    *way, last = path.split("/")
    for step in way:
        thing = thing.setdefault(step, {})
    if value is None:
        del thing[last]
    else:
        thing[last] = value


def add(kind: str, **fields: object) -> Break:
    return lambda objects: objects.append({"apiVersion": "v1", "kind": kind, "metadata": {"name": "new"}, **fields})


def drop(kind: str, name: str) -> Break:
    return lambda objects: objects.remove(get(objects, kind, name))


JOB, SET, CRON = ("Job", "minio-buckets"), ("StatefulSet", "postgres"), ("CronJob", "backup")
ROLE = ("Role", "magicapture-stages")
# Policy, what is broken, how.
BROKEN: list[tuple[str, str, Break]] = [
    ("never_root", "user 0", lambda o: put(pod(o), "securityContext/runAsUser", 0)),
    ("never_root", "user unsaid", lambda o: put(pod(o, *JOB), "securityContext/runAsUser", None)),
    ("never_root", "root allowed", lambda o: put(pod(o, *SET), "securityContext/runAsNonRoot", False)),
    ("never_root", "container overrides", lambda o: put(one(o, *CRON), "securityContext/runAsUser", 0)),
    ("never_root", "root's group", lambda o: put(pod(o), "securityContext/runAsGroup", 0)),
    ("no_privilege", "escalation", lambda o: put(one(o), "securityContext/allowPrivilegeEscalation", True)),
    ("no_privilege", "escalation unsaid", lambda o: put(one(o), "securityContext/allowPrivilegeEscalation", None)),
    ("no_privilege", "privileged", lambda o: put(one(o, *SET), "securityContext/privileged", True)),
    ("no_privilege", "capability added", lambda o: put(one(o), "securityContext/capabilities/add", ["NET_ADMIN"])),
    ("no_privilege", "capabilities kept", lambda o: put(one(o, *JOB), "securityContext/capabilities", {})),
    ("no_privilege", "no seccomp", lambda o: put(pod(o), "securityContext/seccompProfile", None)),
    ("no_privilege", "host network", lambda o: put(pod(o), "hostNetwork", True)),
    ("no_privilege", "host path", lambda o: pod(o)["volumes"].append({"name": "node", "hostPath": {"path": "/"}})),
    ("read_only_root", "writable", lambda o: put(one(o, *CRON), "securityContext/readOnlyRootFilesystem", None)),
    ("read_only_root", "endless volume", lambda o: put(pod(o)["volumes"][0], "emptyDir", {})),
    ("pinned_images", "latest", lambda o: put(one(o), "image", "ghcr.io/mlflow/mlflow:latest")),
    ("pinned_images", "no tag", lambda o: put(one(o), "image", "ghcr.io/mlflow/mlflow")),
    ("pinned_images", "a tag of no version", lambda o: put(one(o), "image", "ghcr.io/mlflow/mlflow:stable")),
    ("pinned_images", "no registry", lambda o: put(one(o, *SET), "image", "postgres:17.7")),
    ("limits", "no memory limit", lambda o: put(one(o), "resources/limits/memory", None)),
    ("limits", "no requests", lambda o: put(one(o, *CRON), "resources/requests", {})),
    ("within_quota", "too many replicas", lambda o: put(get(o, "Deployment", "mlflow"), "spec/replicas", 40)),
    (
        "within_quota",
        "too large a volume",
        lambda o: put(get(o, "PersistentVolumeClaim", "backups"), "spec/resources/requests/storage", "9Ti"),
    ),
    ("within_quota", "too small a quota", lambda o: put(get(o, "ResourceQuota", "services"), "spec/hard/limits.memory", "1Gi")),
    ("probes", "no readiness", lambda o: put(one(o), "readinessProbe", None)),
    ("probes", "no liveness", lambda o: put(one(o, *SET), "livenessProbe", None)),
    ("probes", "another port", lambda o: put(one(o), "startupProbe/httpGet/port", "metrics")),
    ("references", "secret undocumented", lambda o: put(one(o, *SET)["env"][2], "valueFrom/secretKeyRef/name", "unheard-of")),
    ("references", "key undocumented", lambda o: put(one(o, *SET)["env"][2], "valueFrom/secretKeyRef/key", "UNHEARD_OF")),
    ("references", "config map gone", drop("ConfigMap", "mlflow")),
    ("references", "claim gone", drop("PersistentVolumeClaim", "backups")),
    ("references", "account gone", drop("ServiceAccount", "magicapture-services")),
    ("references", "bound account gone", drop("ServiceAccount", "magicapture-stages")),
    ("references", "role gone", drop(*ROLE)),
    ("references", "priority class gone", drop("PriorityClass", "magicapture-services")),
    ("references", "volume gone", lambda o: put(pod(o), "volumes", [])),
    ("secrets_by_reference", "a secret", add("Secret", stringData={"PGPASSWORD": "1234"})),
    ("secrets_by_reference", "in a variable", lambda o: one(o)["env"].append({"name": "PGPASSWORD", "value": "1234"})),
    ("least_rights", "cluster role", add("ClusterRole", rules=[])),
    ("least_rights", "wildcard", lambda o: get(o, *ROLE)["rules"].append({"apiGroups": [""], "resources": ["*"], "verbs": ["get"]})),
    (
        "least_rights",
        "all secrets",
        lambda o: get(o, *ROLE)["rules"].append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
    ),
    ("least_rights", "exec", lambda o: get(o, *ROLE)["rules"].append({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]})),
    (
        "least_rights",
        "leases of controllers",
        lambda o: get(o, *ROLE)["rules"].append(
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
        ),
    ),
    (
        "least_rights",
        "useless token",
        lambda o: put(get(o, "ServiceAccount", "magicapture-services"), "automountServiceAccountToken", True),
    ),
    ("wired", "port renamed", lambda o: put(one(o)["ports"][0], "name", "web")),
    ("wired", "service selects nobody", lambda o: put(get(o, "Service", "minio"), "spec/selector", {"app": "x"})),
    ("wired", "service gone", drop("Service", "postgres")),
    ("wired", "selector of others", lambda o: put(get(o, "Deployment", "mlflow"), "spec/selector/matchLabels", {"app": "x"})),
]


@pytest.mark.parametrize(("policy", "what", "do"), BROKEN, ids=[f"{policy}: {what}" for policy, what, _ in BROKEN])
def test_policies_fail_on_what_breaks_them(
    policy: str, what: str, do: Break, built: dict[str, list[Object]], secrets: dict[str, set[str]]
) -> None:
    objects = copy.deepcopy(built["gpu"])
    do(objects)
    assert POLICIES[policy](objects, secrets) != []


def test_locks_are_where_the_runs_are_told(built: dict[str, list[Object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Leases of the setting are in the namespace in which the runs' account has its right to them."""
    objects = built["local"]
    setting = get(objects, "ConfigMap", "magicapture-settings")["data"]["MAGICAPTURE_LOCK"]
    account, binding = get(objects, "ServiceAccount", "magicapture-stages"), get(objects, "RoleBinding", "magicapture-locks")
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], namespace(account))
    assert get(objects, "Role", binding["roleRef"]["name"])["rules"][0]["resources"] == ["leases"]
    (tmp_path / "namespace").write_text("kubeflow")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("MAGICAPTURE_LOCK", setting)
    monkeypatch.setattr(Lease.in_pod.__func__, "__defaults__", (tmp_path,))
    found = choose("m", "http://mlflow:5000")
    assert isinstance(found, Lease) and found.namespace == namespace(binding) and get(objects, "Namespace", found.namespace)
    assert f"/namespaces/{found.namespace}/leases" in found.collection
    monkeypatch.setenv("MAGICAPTURE_LOCK", "lease")
    assert (found := choose("m", "http://mlflow:5000")) and isinstance(found, Lease) and found.namespace == "kubeflow"


def test_every_policy_was_broken() -> None:
    assert {policy for policy, _, _ in BROKEN} == set(POLICIES)
