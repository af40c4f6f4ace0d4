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

    cpu: Quantity = "500m"
    cpu_limit: Quantity | None = Field(
        None,
        description=(
            "how much of an idle node's CPU a pod may take; without it what it requests, a core at least"
        ),
    )
    memory: Quantity = "2Gi"

    @property
    def most_cpu(self) -> str:
        """The limit of a pod's CPU."""
        less_than_one = self.cpu.endswith("m") and float(self.cpu.removesuffix("m")) < 1000
        return self.cpu_limit or ("1" if less_than_one else self.cpu)


class Toleration(Frozen):
    """A taint of nodes that the pods tolerate."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


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

    profile: Literal["cpu", "gpu"] = Field("cpu", description="where the other fields' defaults come from")
    nodes: PositiveInt | None = Field(
        None,
        description=(
            "training pods, with the same number of processes each; without it one a process (cpu) or one"
            " (gpu)"
        ),
    )
    least_nodes: PositiveInt | None = Field(
        None,
        description=(
            "go on with as few training pods as this when others are lost (elastic); the bits then differ"
        ),
    )
    training: Resources = Field(Resources(), description="of each training pod")
    survey: Resources = Field(
        Resources(),
        description="of each survey pod; landscape.workers processes in it, one a core without that",
    )
    steps: Resources = Field(Resources(cpu="200m"), description="of every other step's pod")
    survey_pods: PositiveInt = Field(2, description="pods that evaluate tiles at the same time")
    gpu_resource: str = Field("nvidia.com/gpu", description="what the nodes call a GPU")
    shared_memory: Quantity = Field(
        "256Mi", description="size of /dev/shm in a training pod, out of its memory"
    )
    node_selector: dict[str, str] = Field({}, description="labels of the nodes for training and survey")
    tolerations: tuple[Toleration, ...] = Field((), description="of training and survey pods")
    queue: str | None = Field(None, description="Kueue's local queue for the training job")
    priority_class: str | None = Field(None, description="of the training pods")
    restarts: NonNegativeInt = Field(
        3, description="how often lost training pods are replaced before training fails"
    )
    start_minutes: PositiveFloat = Field(
        30.0,
        description="how long training pods may wait for nodes and images; time in a queue does not count",
    )
    hours: PositiveFloat = Field(24.0, description="after which a training job is stopped")

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
