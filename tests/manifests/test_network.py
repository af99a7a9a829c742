"""Who may talk to whom: everything that has to, and nothing else that was thought of."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import yaml

from tests.manifests.conftest import MANIFESTS
from tests.manifests.kubectl import build
from tests.manifests.network import Pod, allows
from tests.manifests.objects import Object, get, namespace, of, pods


def ours(name: str) -> Pod:
    return Pod("magicapture", {"app.kubernetes.io/name": name})


RUN = Pod("kubeflow", {"pipeline/runid": "1", "workflows.argoproj.io/workflow": "magicapture-x"})
KFP = Pod("kubeflow", {"app": "ml-pipeline"})
STRANGER = Pod("elsewhere", {"pipeline/runid": "1"})
DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
INGRESS = Pod("ingress", {"app": "nginx"}, opens="mlflow")
OUTSIDE, NODE_RIGHTS = Pod("", {}, "93.184.216.34"), Pod("", {}, "169.254.169.254")
# The same by IPv6: a server, the metadata servers of AWS and of Google's cloud, and a neighbour on the link.
OUTSIDE6, AWS6, GOOGLE6, LINK6 = (Pod("", {}, address) for address in ("2606:2800:21f:cb07::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1"))
MLFLOW, POSTGRES, MINIO, BUCKETS, BACKUP = (ours(name) for name in ("mlflow", "postgres", "minio", "minio-buckets", "backup"))

NEEDED = [
    (RUN, MLFLOW, 5000), (RUN, MINIO, 9000), (RUN, KFP, 8887), (RUN, DNS, 53), (RUN, OUTSIDE, 443), (RUN, OUTSIDE, 6443),
    (RUN, OUTSIDE, 8443), (RUN, OUTSIDE6, 443), (RUN, OUTSIDE6, 6443), (RUN, OUTSIDE6, 8443),
    (MLFLOW, POSTGRES, 5432), (MLFLOW, MINIO, 9000), (MLFLOW, DNS, 53), (BACKUP, POSTGRES, 5432), (BUCKETS, MINIO, 9000),
    (BUCKETS, DNS, 53), (BACKUP, DNS, 53), (INGRESS, MLFLOW, 5000),
]  # fmt: skip
REFUSED = [
    (RUN, POSTGRES, 5432), (RUN, MLFLOW, 22), (RUN, NODE_RIGHTS, 443), (RUN, OUTSIDE, 25), (RUN, Pod("elsewhere", {}), 8080),
    (KFP, MLFLOW, 5000), (KFP, POSTGRES, 5432), (STRANGER, MLFLOW, 5000), (STRANGER, MINIO, 9000), (STRANGER, RUN, 8080),
    (INGRESS, MINIO, 9000), (INGRESS, POSTGRES, 5432), (MLFLOW, OUTSIDE, 443), (MINIO, OUTSIDE, 443), (POSTGRES, OUTSIDE, 443),
    (POSTGRES, MLFLOW, 5000), (MINIO, POSTGRES, 5432), (BACKUP, MINIO, 9000), (BACKUP, OUTSIDE, 443), (BUCKETS, POSTGRES, 5432),
    (ours("new"), MLFLOW, 5000), (ours("new"), OUTSIDE, 443), (OUTSIDE, MLFLOW, 5000), (RUN, OUTSIDE6, 25), (MLFLOW, OUTSIDE6, 443),
    (RUN, AWS6, 443), (RUN, GOOGLE6, 443), (RUN, LINK6, 443),
]  # fmt: skip


def said(case: tuple[Pod, Pod, int]) -> str:
    one, two = ("/".join([pod.namespace or pod.address, *list(pod.labels.values())[:1]]) for pod in case[:2])
    return f"{one} to {two}:{case[2]}"


@pytest.mark.parametrize("overlay", ["local", "gpu"])
@pytest.mark.parametrize("case", NEEDED, ids=map(said, NEEDED))
def test_what_is_needed_goes_through(overlay: str, case: tuple[Pod, Pod, int], built: dict[str, list[Object]]) -> None:
    assert allows(built[overlay], *case)


@pytest.mark.parametrize("overlay", ["local", "gpu"])
@pytest.mark.parametrize("case", REFUSED, ids=map(said, REFUSED))
def test_nothing_else_does(overlay: str, case: tuple[Pod, Pod, int], built: dict[str, list[Object]]) -> None:
    assert not allows(built[overlay], *case)


@pytest.mark.parametrize("case", REFUSED, ids=map(said, REFUSED))
def test_it_is_the_policies_that_refuse(case: tuple[Pod, Pod, int], built: dict[str, list[Object]]) -> None:
    assert allows([thing for thing in built["local"] if thing["kind"] != "NetworkPolicy"], *case)


def test_external_endpoints_are_reached_and_no_more_than_those(built: dict[str, list[Object]]) -> None:
    objects = built["external"]
    reached = [(RUN, MLFLOW, 5000)]
    for outside in (OUTSIDE, OUTSIDE6):
        reached += [(MLFLOW, outside, 443), (MLFLOW, outside, 5432), (BACKUP, outside, 5432), (RUN, outside, 443)]
    assert [case for case in reached if not allows(objects, *case)] == []
    refused = [(MLFLOW, OUTSIDE, 80), (BACKUP, OUTSIDE, 443), (RUN, OUTSIDE, 5432), (MLFLOW, OUTSIDE6, 80), (BACKUP, OUTSIDE6, 443)]
    for rights in (NODE_RIGHTS, AWS6, GOOGLE6, LINK6):
        refused += [(MLFLOW, rights, 443), (MLFLOW, rights, 5432), (BACKUP, rights, 5432), (RUN, rights, 443)]
    assert [case for case in refused if allows(objects, *case)] == []


def test_without_the_default_a_new_pod_would_be_open(built: dict[str, list[Object]]) -> None:
    objects = copy.deepcopy(built["local"])
    objects.remove(get(objects, "NetworkPolicy", "default-deny"))
    objects.remove(get(objects, "NetworkPolicy", "dns"))
    assert allows(objects, ours("new"), OUTSIDE, 443)


@pytest.mark.parametrize("overlay", ["local", "gpu", "external"])
def test_every_workload_has_a_policy_of_its_own(overlay: str, built: dict[str, list[Object]]) -> None:
    named = [policy["spec"]["podSelector"].get("matchLabels") for policy in of(built[overlay], "NetworkPolicy")]
    for thing, labels, _ in pods(built[overlay]):
        own = {"app.kubernetes.io/name": labels["app.kubernetes.io/name"]}
        assert own in named and namespace(thing) == "magicapture", thing["metadata"]["name"]


def test_the_pod_by_hand_reaches_what_a_run_does(built: dict[str, list[Object]]) -> None:
    """And it is where runs are."""
    (made,) = built["volume"]
    pod = Pod(namespace(made), made["metadata"]["labels"])
    assert pod.namespace == namespace(get(built["local"], "ServiceAccount", "magicapture-stages"))
    assert allows(built["local"], pod, MLFLOW, 5000) and allows(built["local"], pod, OUTSIDE, 443)
    assert not allows(built["local"], pod, POSTGRES, 5432)


@pytest.mark.parametrize("overlay", ["local", "gpu"])
def test_one_line_says_where_runs_are(overlay: str, tmp_path: Path) -> None:
    """On a Kubeflow of many users: with another namespace in base/runs/kustomization.yaml, everything follows."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    line = tmp_path / "manifests" / "base" / "runs" / "kustomization.yaml"
    line.write_text(line.read_text().replace("namespace: kubeflow", "namespace: team-a"))
    objects = list(yaml.safe_load_all(build(tmp_path / "manifests" / "overlays" / overlay)))
    moved = Pod("team-a", RUN.labels)
    assert [target for source, target, port in NEEDED if source is RUN and not allows(objects, moved, target, port)] == []
    assert not allows(objects, RUN, MLFLOW, 5000)
    homes = {namespace(thing) for thing in objects} - {"", "nvidia-device-plugin"}
    assert homes == {"magicapture", "magicapture-locks", "team-a"}
    assert get(objects, "RoleBinding", "magicapture-locks")["subjects"][0]["namespace"] == "team-a"
