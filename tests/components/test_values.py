"""A cluster's values: read, refused, and what they make of images and needs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from components.values import NEEDS, Change, Cluster, processors, read_cluster
from magicapture.config import ConfigError, load_config

DIGEST = "sha256:" + "0a" * 32


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_an_empty_file_is_a_cluster_without_accelerators(tmp_path: Path) -> None:
    assert read_cluster(write(tmp_path / "c.yaml", "")) == read_cluster() == Cluster()
    assert Cluster().image("training") == "magicapture/training:0.1.0"
    assert Cluster(registry="r.org:5000/m", tag="7").image("training", gpu=True) == "r.org:5000/m/training:7-gpu"


def test_what_is_given_wins_over_the_file_unless_it_is_empty(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", "{tag: a, gpu_count: 2, stages: {tuning: {memory: 48Gi}}}")
    values = read_cluster(file, tag="b", registry="", gpu_count=None)
    assert (values.tag, values.registry, values.gpu_count) == ("b", "magicapture", 2)
    needs = values.stages["tuning"].over(NEEDS["tuning"])
    assert (needs.memory, needs.cpu, needs.gpu) == ("48Gi", NEEDS["tuning"].cpu, True)


def test_a_stage_can_be_put_on_the_accelerator() -> None:
    cuda = load_config("mini", ["device=cuda"])
    for values, bare in (
        (Cluster(), "preprocess, inversion, tuning, generation, postprocessing, evaluation"),
        (Cluster(gpu_type="nvidia.com/gpu"), "preprocess, postprocessing, evaluation"),
        (Cluster(gpu_type="nvidia.com/gpu", stages={"preprocess": Change(gpu=True)}), "postprocessing, evaluation"),
    ):
        with pytest.raises(ConfigError, match=f"device: cuda, but {bare} would have no accelerator"):
            values.check(cuda)
        values.check(load_config("mini"))
    others = dict.fromkeys(("preprocess", "postprocessing", "evaluation"), Change(gpu=True))
    Cluster(gpu_type="nvidia.com/gpu", stages=others).check(cuda)


@pytest.mark.parametrize(("cpu", "count"), [("2", 2), ("500m", 1), ("1500m", 2), ("2.5", 3), ("0", 1)])
def test_a_share_of_processors_is_whole_threads(cpu: str, count: int) -> None:
    assert processors(cpu) == count


def test_digests_come_plain_or_as_bake_writes_them(tmp_path: Path) -> None:
    bake = {"training": {"containerimage.digest": DIGEST, "image.name": "r/training:1"}, "buildx.build.warnings": {}}
    for text in (json.dumps(bake), f"training: {DIGEST}"):
        assert read_cluster(None, write(tmp_path / "d", text)).image("training") == f"magicapture/training@{DIGEST}"
    with pytest.raises(ConfigError, match="no digest in it"):
        read_cluster(None, write(tmp_path / "d", "{}"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "expected a mapping"),
        ("{a: [}", "c.yaml"),
        ("{gpu_types: x}", 'gpu_types = "x": Extra inputs are not permitted (there are registry, tag'),
        ("{gpu_type: amd.com/gpu}", "gpu_type 'amd.com/gpu': expected nvidia.com/gpu"),
        ("{digests: {training: latest}}", 'digests.training = "latest"'),
        ("{stages: {tune: {cpu: '1'}}}", "stages: tune is none; there are resolve, preprocess"),
        ("{stages: {tuning: {memory: lots}}}", 'stages.tuning.memory = "lots"'),
        ("{stages: {close: {gpu: true}}}", "stages.close.gpu: close runs no network"),
        ("{stages: {tuning: {hours: 0}}}", "stages.tuning.hours = 0"),
        ("{gpu_nodes: {tolerations: [{operator: Maybe}]}}", "gpu_nodes.tolerations.0.operator"),
        ("{cpu_nodes: {affinity: [{key: zone, weight: 101}]}}", "cpu_nodes.affinity.0.weight = 101"),
        ("{shared_memory: 2 gigabytes}", "shared_memory"),
    ],
)
def test_bad_values_are_refused_by_name(text: str, said: str, tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        read_cluster(file)
    assert str(file) in str(caught.value)


def test_a_version_is_told_apart_by_what_is_compiled_into_it() -> None:
    assert Cluster().label() == Cluster(service_account="s").label() == ""
    assert Cluster(gpu_type="nvidia.com/gpu").label() == "nvidia-com-gpu"
    labels = {Cluster(tag=tag).label() for tag in ("a", "b")}
    assert len(labels) == 2 and all(re.fullmatch(r"[0-9a-f]{8}", label) for label in labels)
