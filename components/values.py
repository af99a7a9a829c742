"""What is said of a cluster when the pipeline is compiled: images, accelerator, nodes, what each stage needs. One YAML file."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from components.images import REGISTRY, TAG
from magicapture.config import Config, ConfigError, Section
from magicapture.mappings import read_mapping

CHECKPOINTS = "/checkpoints"
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGT]i?)?$")]
# What NVIDIA's device plugin offers: whole cards, cards shared in time, and slices. The GPU images are CUDA's.
ACCELERATORS = r"nvidia\.com/(gpu|mig-\d+g\.\d+gb(\.me)?)(\.shared)?"
# The stages that run networks.
NETWORKS = ("preprocess", "inversion", "tuning", "generation", "postprocessing", "evaluation")


def processors(cpu: str) -> int:
    """Whole processors in Kubernetes' notation ("2", "500m", "1.5"), at least one."""
    return max(1, math.ceil(float(cpu.removesuffix("m")) / (1000 if cpu.endswith("m") else 1)))


class Needs(Section):
    """What a stage asks of its node; requests are limits, so that a pod is never evicted for what another one takes."""

    image: str = Field(description="Target of images/docker-bake.hcl.")
    cpu: Quantity = Field(description="Processors, in Kubernetes' notation: 2, 500m.")
    memory: Quantity = Field(description="Memory, in Kubernetes' notation: 4Gi.")
    hours: float = Field(gt=0, le=240, description="A pod that takes longer is stopped, and tried again (ours).")
    retries: int = Field(ge=0, le=20, description="Tries after the first, two minutes apart (ours).")
    gpu: bool = Field(False, description="Runs on the accelerator where there is one.")


class Change(Section):
    """What a cluster's values change of a stage's needs."""

    cpu: Quantity | None = Field(None, description="Processors.")
    memory: Quantity | None = Field(None, description="Memory.")
    hours: float | None = Field(None, gt=0, le=240, description="Time limit of one try.")
    retries: int | None = Field(None, ge=0, le=20, description="Tries after the first.")
    gpu: bool | None = Field(None, description="Whether it runs on the accelerator where there is one; there are images for it.")

    def over(self, needs: Needs) -> Needs:
        """The needs with what is said here in place of the default."""
        return needs.model_copy(update=self.model_dump(exclude_none=True))


# Training may be pre-empted again and again: it goes on from its checkpoints, so it is tried more often than the others.
NEEDS: dict[str, Needs] = {
    "resolve": Needs(image="registry", cpu="500m", memory="1Gi", hours=1, retries=2),
    "preprocess": Needs(image="preprocess", cpu="2", memory="4Gi", hours=1, retries=2),
    "inversion": Needs(image="training", cpu="2", memory="12Gi", hours=12, retries=6, gpu=True),
    "tuning": Needs(image="training", cpu="2", memory="12Gi", hours=12, retries=6, gpu=True),
    "generation": Needs(image="generation", cpu="2", memory="12Gi", hours=4, retries=6, gpu=True),
    "postprocessing": Needs(image="postprocessing", cpu="2", memory="6Gi", hours=2, retries=2),
    "evaluation": Needs(image="evaluation", cpu="2", memory="6Gi", hours=2, retries=2),
    "promotion": Needs(image="registry", cpu="500m", memory="2Gi", hours=1, retries=2),
    "close": Needs(image="registry", cpu="500m", memory="1Gi", hours=1, retries=0),
}


class Toleration(Section):
    """A taint that pods put up with, as Kubernetes writes it."""

    key: str | None = Field(None, description="Of the taint; none: every taint.")
    operator: Literal["Equal", "Exists"] = Field("Equal", description="Exists: whatever its value is.")
    value: str | None = Field(None, description="Of the taint, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(None, description="None: every effect.")


class Affinity(Section):
    """Nodes that pods want, or need, by label."""

    key: str = Field(min_length=1, description="Label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field("In", description="How it is compared.")
    values: tuple[str, ...] = Field((), description="With what.")
    weight: int | None = Field(None, ge=1, le=100, description="Preferred that much; none: required.")


class Nodes(Section):
    """Where pods may run."""

    node_selector: dict[str, str] = Field({}, description="Labels that a node must have.")
    tolerations: tuple[Toleration, ...] = Field((), description="Taints of those nodes, for example of spot machines.")
    affinity: tuple[Affinity, ...] = Field((), description="What cannot be said by one label.")


_TAINTED = (Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),)


class Cluster(Section):
    """The values of one cluster. Everything has a default; an empty file is a cluster without accelerators."""

    registry: str = Field(REGISTRY, pattern=r"^[A-Za-z0-9._:/-]+$", description="Where the images lie, host and path.")
    tag: str = Field(TAG, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", description="Of the images; those for a GPU have -gpu after it.")
    digests: dict[str, Digest] = Field({}, description="Bake target -> digest, training-gpu: sha256:...; where given, tags are not used.")
    gpu_type: str = Field("", description="Kubernetes resource of the GPU tasks, for example nvidia.com/gpu; empty: none.")
    gpu_count: int = Field(1, ge=1, le=16, description="How many of them a GPU task gets; training uses one.")
    shared_memory: Quantity = Field("2Gi", description="Size of /dev/shm of the GPU tasks; counts as their memory.")
    service_account: str = Field("", pattern=r"^[a-z0-9.-]*$", description="Of the pods; empty: the server's own default.")
    gpu_nodes: Nodes = Field(Nodes(tolerations=_TAINTED), description="Of the tasks that get an accelerator.")
    cpu_nodes: Nodes = Field(Nodes(), description="Of all other tasks.")
    stages: dict[str, Change] = Field({}, description="Stage -> what it needs instead of the default.")

    @model_validator(mode="after")
    def _possible(self) -> Cluster:
        if self.gpu_type and not re.fullmatch(ACCELERATORS, self.gpu_type):  # its tasks would wait for ever for a node that has it
            raise ValueError(
                f"gpu_type {self.gpu_type!r}: expected nvidia.com/gpu, nvidia.com/gpu.shared, a slice as nvidia.com/mig-1g.10gb, or nothing"
            )
        unknown = sorted(set(self.stages) - set(NEEDS))
        if unknown:
            raise ValueError(f"stages: {', '.join(unknown)} is none; there are {', '.join(NEEDS)}")
        bare = sorted(stage for stage, change in self.stages.items() if change.gpu and stage not in NETWORKS)
        if bare:
            raise ValueError(f"stages.{bare[0]}.gpu: {bare[0]} runs no network; on an accelerator can be {', '.join(NETWORKS)}")
        return self

    def needs(self, stage: str) -> Needs:
        """What a stage asks for here."""
        return self.stages[stage].over(NEEDS[stage]) if stage in self.stages else NEEDS[stage]

    def check(self, config: Config) -> None:
        """Raise ConfigError for a ``device: cuda`` that a stage without an accelerator could not obey."""
        bare = [stage for stage in NETWORKS if not (self.gpu_type and self.needs(stage).gpu)]
        if config.device == "cuda" and bare:
            raise ConfigError(
                f"device: cuda, but {', '.join(bare)} would have no accelerator: leave device: auto, by which a stage uses what it has, or "
                "give them one in the cluster's file (gpu_type, and of a stage `stages: {NAME: {gpu: true}}`)"
            )

    def label(self) -> str:
        """What tells the pipelines of one commit apart: the accelerator in words, and a hash of whatever else is not as by default."""
        rest = self.model_dump(mode="json", exclude_defaults=True, exclude={"gpu_type", "service_account"})  # the server is told the latter
        code = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:8] if rest else ""
        return "-".join(filter(None, [*re.findall(r"[a-z0-9]+", self.gpu_type), code]))

    def image(self, target: str, gpu: bool = False) -> str:
        """Full name of a bake target's image, by digest where there are digests. Raises ConfigError for one without."""
        built = f"{target}-gpu" if gpu else target
        if not self.digests:
            return f"{self.registry}/{target}:{self.tag}{'-gpu' if gpu else ''}"
        if built not in self.digests:
            raise ConfigError(
                f"digests: none for image {built!r}; given {', '.join(sorted(self.digests))}. Build and push it, or give no digests"
            )
        return f"{self.registry}/{target}@{self.digests[built]}"


def read_cluster(file: Path | None = None, digests: Path | None = None, **given: Any) -> Cluster:
    """The values of a YAML file, with what is ``given`` (and not empty) in their place. Raises ConfigError naming file and value.

    ``digests`` is a file of its own, YAML or JSON: bake target -> digest, or what ``docker buildx bake --metadata-file`` writes.
    """
    data = read_mapping(file) if file else {}
    if digests:
        entries = {
            name: entry.get("containerimage.digest") if isinstance(entry, dict) else entry for name, entry in read_mapping(digests).items()
        }
        data["digests"] = {name: digest for name, digest in entries.items() if digest is not None}
        if not data["digests"]:
            raise ConfigError(
                f"{digests}: no digest in it; expected target: sha256:..., or the metadata file of `docker buildx bake --push`"
            )
    data |= {name: value for name, value in given.items() if value not in ("", None)}
    try:
        return Cluster.model_validate(data)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"])
            known = f" (there are {', '.join(Cluster.model_fields)})" if problem["type"] == "extra_forbidden" and "." not in where else ""
            what = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{where} = {json.dumps(problem['input'], default=str)}: {what}{known}" if where else what)
        source = " and ".join(str(path) for path in (file, digests) if path) or "cluster"
        raise ConfigError(f"{source}: {'; '.join(problems)}") from None
