"""Alerts fire for what they are for, after the time they say, and not otherwise; the guide explains each. promtool is Prometheus' own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from components.cluster import VOLUME
from tests.manifests.objects import Object, get

# How Kubeflow Pipelines calls the pods of a submitted run, of a schedule's run, and of a task that is tried again.
PODS = (
    "magicapture-x7k2p-system-container-impl-55",
    "nightly5tq2m-1-19233-system-container-impl-7",
    "nightly5tq2m-1-19233-retry-system-container-impl-8",
    "annaqq8zk-4-1-retry-system-container-impl-9",
    "magicapture-x7k2p-retry-system-container-impl-3",
)


def phase(pod: str, called: str, ours: bool = True) -> tuple[str, dict[str, str]]:
    """The series of a pod's phase, and the one that says it mounts the runs' volume (another one, where it is not ``ours``)."""
    claim = VOLUME if ours else "other"
    mounts = f'kube_pod_spec_volumes_persistentvolumeclaims_info{{namespace="kubeflow",pod="{pod}",persistentvolumeclaim="{claim}"}}'
    return f'kube_pod_status_phase{{namespace="kubeflow",pod="{pod}",phase="{called}"}}', {mounts: "1x200"}


def phases(pods: tuple[str, ...], called: str, values: str, ours: bool = True) -> dict[str, str]:
    made: dict[str, str] = {}
    for pod in pods:
        series, mounts = phase(pod, called, ours)
        made |= {series: values, **mounts}
    return made


STRANGERS = ("magicapture-y-system-container-impl-1", "other-9-system-container-impl-2", "other-9-system-container-impl-3")
# Alert -> (series that raise it, series that do not), each "metric{labels}: a value a minute", and minutes until it has to be there.
ALERTS: dict[str, tuple[dict[str, str], dict[str, str], int]] = {
    "MagicaptureServiceDown": (
        {
            'kube_deployment_status_replicas_available{namespace="magicapture",deployment="mlflow"}': "0x200",
            'kube_deployment_spec_replicas{namespace="magicapture",deployment="mlflow"}': "1x200",
            'kube_statefulset_status_replicas_ready{namespace="magicapture",statefulset="postgres"}': "0x200",
            'kube_statefulset_replicas{namespace="magicapture",statefulset="postgres"}': "1x200",
        },
        {
            'kube_deployment_status_replicas_available{namespace="magicapture",deployment="mlflow"}': "1 0 0 0 1x200",
            'kube_deployment_spec_replicas{namespace="magicapture",deployment="mlflow"}': "1x200",
            'kube_deployment_status_replicas_available{namespace="other",deployment="x"}': "0x200",
            'kube_deployment_spec_replicas{namespace="other",deployment="x"}': "1x200",
        },
        11,
    ),
    "MagicaptureVolumeFillingUp": (
        {
            'kubelet_volume_stats_available_bytes{persistentvolumeclaim="data-minio-0",namespace="magicapture"}': "14x200",
            'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="data-minio-0",namespace="magicapture"}': "100x200",
        },
        {
            'kubelet_volume_stats_available_bytes{persistentvolumeclaim="backups",namespace="magicapture"}': "16x200",
            'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="backups",namespace="magicapture"}': "100x200",
            'kubelet_volume_stats_available_bytes{persistentvolumeclaim="other",namespace="x"}': "1x200",
            'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="other",namespace="x"}': "100x200",
        },
        16,
    ),
    # Never succeeded since it was made 26 hours ago; succeeded an hour ago, though made long before.
    "MagicaptureBackupStale": (
        {'kube_cronjob_created{namespace="magicapture",cronjob="backup"}': "0x1700"},
        {
            'kube_cronjob_created{namespace="magicapture",cronjob="backup"}': "0x1700",
            'kube_cronjob_status_last_successful_time{namespace="magicapture",cronjob="backup"}': "90000x1700",
        },
        26 * 60 + 20,
    ),
    "MagicaptureRunWaits": (
        phases(PODS[1:2], "Pending", "1x200"),
        phases(PODS, "Pending", "1x40 0x200") | phases(STRANGERS, "Pending", "1x200", ours=False),
        46,
    ),
    "MagicapturePodsFail": (
        phases(PODS, "Failed", "0x30 1x200"),
        phases(PODS[:4], "Failed", "0x30 1x200") | phases(STRANGERS, "Failed", "0x30 1x200", ours=False),
        32,
    ),
    "MagicaptureOutOfMemory": (
        {
            f'kube_pod_container_status_terminated_reason{{pod="{PODS[2]}",namespace="kubeflow",reason="OOMKilled"}}': "1x200",
            **phase(PODS[2], "Failed")[1],
        },
        {
            f'kube_pod_container_status_terminated_reason{{pod="{PODS[2]}",namespace="kubeflow",reason="Completed"}}': "1x200",
            f'kube_pod_container_status_terminated_reason{{pod="{STRANGERS[0]}",namespace="kubeflow",reason="OOMKilled"}}': "1x200",
            **phase(PODS[2], "Failed")[1],
            **phase(STRANGERS[0], "Failed", ours=False)[1],
        },
        1,
    ),
    "MagicaptureGpuQuotaFull": (
        {
            'kube_resourcequota{resourcequota="magicapture-gpus",type="used",resource="requests.nvidia.com/gpu"}': "8x200",
            'kube_resourcequota{resourcequota="magicapture-gpus",type="hard",resource="requests.nvidia.com/gpu"}': "8x200",
        },
        {
            'kube_resourcequota{resourcequota="magicapture-gpus",type="used",resource="requests.nvidia.com/gpu"}': "7x200",
            'kube_resourcequota{resourcequota="magicapture-gpus",type="hard",resource="requests.nvidia.com/gpu"}': "8x200",
            'kube_resourcequota{resourcequota="magicapture-gpus",type="hard",resource="requests.nvidia.com/gpu.shared"}': "7x200",
        },
        121,
    ),
}


def rules(objects: list[Object]) -> list[Object]:
    return [rule for group in get(objects, "PrometheusRule", "magicapture")["spec"]["groups"] for rule in group["rules"]]


def firing(objects: list[Object], cases: dict[str, tuple[dict[str, str], int]], folder: Path) -> dict[str, set[str]]:
    """Case -> the alerts that are there at its minute, given its series: promtool says what it got instead of nothing."""
    if not shutil.which("promtool"):
        pytest.skip("no promtool: apt-get install prometheus")
    (folder / "rules.yaml").write_text(yaml.safe_dump(get(objects, "PrometheusRule", "magicapture")["spec"]))
    tests = [
        {
            "interval": "1m",
            "name": case,
            "input_series": [{"series": name, "values": _values(values)} for name, values in series.items()],
            "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": rule["alert"], "exp_alerts": []} for rule in rules(objects)],
        }
        for case, (series, minute) in cases.items()
    ]
    step = "1m" if max(minute for _, minute in cases.values()) < 200 else "5m"
    (folder / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": step, "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", "tests.yaml"], cwd=folder, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    found = {case: set(re.findall(rf"name: {case},\s+alertname: (\w+),", said)) for case in cases}
    assert (done.returncode == 0) == (not any(found.values())), said
    return found


def _values(text: str) -> str:
    """promtool's own notation: 0x200 is 0+0x200."""
    return re.sub(r"\b(\d+)x(\d+)", r"\1+0x\2", text)


def test_every_alert_is_tried(built: dict[str, list[Object]]) -> None:
    assert [rule["alert"] for rule in rules(built["external"])] == list(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert(alert: str, built: dict[str, list[Object]], tmp_path: Path) -> None:
    bad, good, minute = ALERTS[alert]
    waits = "for" in next(rule for rule in rules(built["external"]) if rule["alert"] == alert)
    early = max(minute - 5, 0) if waits else 0  # a moment of bad luck is no alert
    cases = {"bad": (bad, minute), "good": (good, minute), "early": (bad if waits else {}, early)}
    assert firing(built["external"], cases, tmp_path) == {"bad": {alert}, "good": set(), "early": set()}


def test_the_operator_is_told_which_rules_are_its(guide: str, built: dict[str, list[Object]]) -> None:
    assert "release" in get(built["external"], "PrometheusRule", "magicapture")["metadata"]["labels"]
    assert "`release:`" in guide and "manifests/components/alerts/alerts.yaml" in guide


def test_the_guide_explains_each(guide: str) -> None:
    for alert in ALERTS:
        assert re.search(rf"^\| `{alert}` \| .{{40,}} \|$", guide, re.MULTILINE), f"docs/operate.md has no row for {alert}"
