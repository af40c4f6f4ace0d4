"""What a run asks of a Kubernetes cluster."""

import copy
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lossmap.components.config.pod import LabelKey, LabelValue, ObjectName, Pod, Toleration
from lossmap.components.config.quantities import Cpu, Memory, millicores
from lossmap.components.core.frozen import Frozen


class Resources(Frozen):
    """What one pod requests of its node, and is limited to."""

    cpu: Cpu = Field("500m", description="CPU that a pod requests: 500m is half a core")
    cpu_limit: Cpu | None = Field(
        None,
        description="CPU that a pod may take on an idle node; without it what it requests, one core at least",
    )
    memory: Memory = Field("2Gi", description="memory that a pod requests and is limited to")

    @model_validator(mode="after")
    def _no_more_than_the_limit(self) -> Self:
        if self.cpu_limit and millicores(self.cpu_limit) < millicores(self.cpu):
            raise ValueError(f"cpu_limit is {self.cpu_limit}, expected at least cpu ({self.cpu})")
        return self

    @property
    def most_cpu(self) -> str:
        """The limit of a pod's CPU."""
        return self.cpu_limit or ("1" if millicores(self.cpu) < 1000 else self.cpu)


_GPU_PROFILE: dict[str, Any] = {
    "training": {"cpu": "8", "memory": "32Gi"},
    "survey": {"cpu": "4", "memory": "16Gi"},
    "shared_memory": "8Gi",
    "tolerations": ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
}


class Cluster(Frozen):
    """What a run asks of a Kubernetes cluster. On a laptop it means nothing, and no number depends on it.

    The profile gpu gives every training process one GPU, and every pod that surveys one where
    landscape.device is cuda.
    """

    profile: Literal["cpu", "gpu"] = Field(
        "cpu",
        description=(
            "which defaults the other fields of the cluster take: without GPUs, or with one GPU for "
            "each training process"
        ),
    )
    trainer: Literal["auto", "pytorchjob", "trainjob"] = Field(
        "auto",
        description=(
            "what trains: a PyTorchJob of the training operator, or a TrainJob of Kubeflow Trainer 2.2 or "
            "later; auto: what the cluster has, a PyTorchJob where it has both"
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
    gpu_resource: LabelKey = Field(
        "nvidia.com/gpu",
        description="name by which the nodes offer GPUs, with profile gpu",
    )
    gpu_node_selector: dict[LabelKey, LabelValue] = Field(
        {},
        description="labels that a node needs, beside node_selector, for pods that have a GPU",
    )
    shared_memory: Memory = Field(
        "256Mi",
        description="size of /dev/shm in a training pod, which counts as its memory",
    )
    ephemeral_storage: Memory | None = Field(
        None,
        description=(
            "space on its node's disk that a training pod requests and is limited to; Kubeflow Pipelines "
            "cannot ask for it for the other pods"
        ),
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        {},
        description="labels that a node needs for any pod of the run",
    )
    tolerations: tuple[Toleration, ...] = Field(
        (),
        description="taints of nodes that every pod of the run tolerates",
    )
    pod: Pod = Field(Pod(), description="what every pod of the run is")
    queue: ObjectName | None = Field(
        None,
        description="Kueue's local queue in which the training job waits; without it the job starts at once",
    )
    queued_pods: Literal["training", "survey", "all"] = Field(
        "training",
        description=(
            "what waits in the queue: training, whose pods are admitted together; survey: also each pod that "
            "surveys; all: also each pod of the other steps, of which the training step's keeps its share "
            "while the training waits. Kubeflow Pipelines 2.0.5 labels no pods: only the training waits there"
        ),
    )
    priority_class: ObjectName | None = Field(
        None,
        description=(
            "priority class of the training pods; without it the cluster's default, which the other pods "
            "always have: Kubeflow Pipelines cannot give one to them"
        ),
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
    def _queued_in_a_queue(self) -> Self:
        if self.queued_pods != "training" and not self.queue:
            raise ValueError(f"queued_pods is {self.queued_pods!r} and there is no queue, expected a queue")
        return self

    @model_validator(mode="after")
    def _least_is_not_most(self) -> Self:
        if self.least_nodes and self.least_nodes > (self.nodes or 0):
            raise ValueError(f"least_nodes is {self.least_nodes}, expected at most nodes ({self.nodes})")
        return self


def profile_defaults(profile: Any) -> dict[str, Any]:
    """The fields that a profile fills in where nothing else is asked for."""
    return copy.deepcopy(_GPU_PROFILE) if profile == "gpu" else {}
