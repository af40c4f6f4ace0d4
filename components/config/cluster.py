"""What a run asks of a Kubernetes cluster."""

import copy
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lossmap.components.core.frozen import Frozen

Quantity = Annotated[
    str,
    Field(
        pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$",
        coerce_numbers_to_str=True,  # YAML reads 2 as a number
        description="a Kubernetes quantity, such as 500m, 2 or 2Gi",
    ),
]


class Resources(Frozen):
    """What one pod requests of its node, and is limited to."""

    cpu: Quantity = Field("500m", description="CPU that a pod requests: 500m is half a core")
    cpu_limit: Quantity | None = Field(
        None,
        description="CPU that a pod may take on an idle node; without it what it requests, one core at least",
    )
    memory: Quantity = Field("2Gi", description="memory that a pod requests and is limited to")

    @property
    def most_cpu(self) -> str:
        """The limit of a pod's CPU."""
        less_than_one = self.cpu.endswith("m") and float(self.cpu.removesuffix("m")) < 1000
        return self.cpu_limit or ("1" if less_than_one else self.cpu)


class Toleration(Frozen):
    """A taint of nodes that the pods tolerate."""

    key: str | None = Field(None, description="the taint's key; without it every taint is tolerated")
    operator: Literal["Exists", "Equal"] = Field(
        "Exists",
        description="Exists tolerates any value of the key, Equal the one given",
    )
    value: str | None = Field(None, description="the taint's value, with operator Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None,
        description="the taint's effect; without it every effect is tolerated",
    )


_GPU_PROFILE: dict[str, Any] = {
    "training": {"cpu": "8", "memory": "32Gi"},
    "survey": {"cpu": "4", "memory": "16Gi"},
    "shared_memory": "8Gi",
    "tolerations": ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
}


class Cluster(Frozen):
    """What a run asks of a Kubernetes cluster. On a laptop it means nothing, and no number depends on it.

    The profile gpu gives every training process one GPU, and every survey pod one where landscape.device is
    cuda.
    """

    profile: Literal["cpu", "gpu"] = Field(
        "cpu",
        description=(
            "which defaults the other fields of the cluster take: without GPUs, or with one GPU for "
            "each training process"
        ),
    )
    nodes: PositiveInt | None = Field(
        None,
        description=(
            "number of training pods, each with the same number of processes; without it one pod for "
            "each process (profile cpu) or one pod (profile gpu)"
        ),
    )
    least_nodes: PositiveInt | None = Field(
        None,
        description=(
            "number of training pods with which training goes on when others are lost (elastic; the "
            "result then differs in its bits); without it training waits for all of them"
        ),
    )
    training: Resources = Field(Resources(), description="resources of each training pod")
    survey: Resources = Field(
        Resources(),
        description=(
            "resources of each survey pod, in which landscape.workers processes evaluate, one for "
            "each core without that"
        ),
    )
    steps: Resources = Field(Resources(cpu="200m"), description="resources of the pods of all other steps")
    survey_pods: PositiveInt = Field(2, description="number of pods that evaluate tiles at the same time")
    gpu_resource: str = Field(
        "nvidia.com/gpu",
        description="name by which the nodes offer GPUs, with profile gpu",
    )
    shared_memory: Quantity = Field(
        "256Mi",
        description="size of /dev/shm in a training pod, which counts as its memory",
    )
    node_selector: dict[str, str] = Field(
        {},
        description="labels that a node needs for training and survey pods",
    )
    tolerations: tuple[Toleration, ...] = Field(
        (),
        description="taints of nodes that training and survey pods tolerate",
    )
    queue: str | None = Field(
        None,
        description="Kueue's local queue in which the training job waits; without it the job starts at once",
    )
    priority_class: str | None = Field(
        None,
        description="priority class of the training pods; without it the cluster's default",
    )
    restarts: NonNegativeInt = Field(
        3,
        description="how often lost training pods are replaced before training fails",
    )
    start_minutes: PositiveFloat = Field(
        30.0,
        description="minutes that training pods may wait for nodes and images, not counting time in a queue",
    )
    hours: PositiveFloat = Field(24.0, description="hours after which a training job is stopped")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_profile(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {**profile_defaults(values.get("profile")), **values}

    @model_validator(mode="after")
    def _least_is_not_most(self) -> Self:
        if self.least_nodes and self.least_nodes > (self.nodes or 0):
            raise ValueError(f"least_nodes is {self.least_nodes}, expected at most nodes ({self.nodes})")
        return self


def profile_defaults(profile: Any) -> dict[str, Any]:
    """The fields that a profile fills in where nothing else is asked for."""
    return copy.deepcopy(_GPU_PROFILE) if profile == "gpu" else {}
