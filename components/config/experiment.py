"""One frozen object describes a run: its data, its model, its training, and the survey of its loss
surface.
"""

import hashlib
from typing import Any, Self

import yaml
from pydantic import Field, model_validator

from lossmap.components.config.cluster import Cluster
from lossmap.components.config.data import TASKS, Data
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Imported, Model, MultiModel, ResNet
from lossmap.components.config.pictures import Pictures
from lossmap.components.config.training import Augmentation, Training
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.frozen import Frozen, Name, canonical_json


class Experiment(Frozen):
    """A complete description of a run. The same experiment gives the same numbers."""

    name: Name = Field("experiment", description="name of the experiment, from which its runs are named")
    study: Name = Field("lossmap", description="MLflow experiment in which the run is compared with others")
    data: Data = Field(Data(), description="source of the samples, and how many of them are used")
    model: Model = Field(ResNet(), description="the network")
    training: Training | None = Field(
        Training(),
        description="how the network is trained; null exactly where the model is imported",
    )
    landscape: Landscape = Field(Landscape(), description="what is surveyed of the loss")
    pictures: Pictures = Field(Pictures(), description="how the report draws the loss")
    cluster: Cluster = Field(
        Cluster(),
        description="what a run asks of a Kubernetes cluster, where it runs on one",
    )

    @model_validator(mode="before")
    @classmethod
    def _an_imported_network_is_not_trained(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "training" in values:
            return values
        model = values.get("model")
        architecture = (
            model.get("architecture") if isinstance(model, dict) else getattr(model, "architecture", None)
        )
        return {**values, "training": None} if architecture == "imported" else values

    @model_validator(mode="after")
    def _only_other_networks_are_trained(self) -> Self:
        if isinstance(self.model, Imported) and self.training:
            raise ValueError(
                "model.architecture is imported and training has settings, expected training: null, since an"
                " imported network is not trained"
            )
        if not isinstance(self.model, Imported) and not self.training:
            raise ValueError(
                f"training is null and model.architecture is {self.model.architecture}, expected settings:"
                " only imported networks are not trained"
            )
        if not isinstance(self.model, Imported) and self.data.holds_tensors:
            raise ValueError(
                f"data.source is {self.data.source!r}, a file of tensors, and model.architecture is"
                f" {self.model.architecture}, expected images: only imported networks take tensors"
            )
        if (
            isinstance(self.model, Imported)
            and self.landscape.directions == "trajectory"
            and not (self.model.trajectories or self.landscape.paths)
        ):
            raise ValueError(
                "landscape.directions is trajectory and model.architecture is imported, expected checkpoints"
                " of its training, from which the path is made; give them by --checkpoints FILE FILE …"
                " (model.trajectories)"
            )
        return self

    @model_validator(mode="after")
    def _tasks_and_network_go_together(self) -> Self:
        takes_tasks, task = isinstance(self.model, MultiModel), self.landscape.task
        if takes_tasks != (self.data.source == TASKS):
            raise ValueError(
                f"data.source is {self.data.source!r} and model.architecture is {self.model.architecture}, "
                "expected data.source tasks with model.architecture multimodel, and neither without the other"
            )
        if task is not None and not (takes_tasks and task in self.data.tasks):
            known = ", ".join(self.data.tasks) if takes_tasks else "none: only data.source tasks has several"
            raise ValueError(f"landscape.task is {task!r}, expected one of data.tasks ({known})")
        if (
            takes_tasks
            and self.training
            and (self.training.augmentation != Augmentation() or self.training.label_smoothing)
        ):
            raise ValueError(
                "data.source is tasks and training has augmentation or label_smoothing, expected neither: not"
                " all tasks are images, nor have the same classes"
            )
        return self

    @model_validator(mode="after")
    def _processes_fit_the_nodes(self) -> Self:
        if not self.training:
            return self
        nodes, processes, batch = self.cluster.nodes or 1, self.training.processes, self.training.batch_size
        if processes % nodes:
            raise ValueError(
                f"cluster.nodes is {nodes}, expected a divisor of training.processes ({processes})"
            )
        for fewer in range(self.cluster.least_nodes or nodes, nodes):
            if batch % (processes // nodes * fewer):
                raise ValueError(
                    f"training.batch_size is {batch}, expected a multiple of the {processes // nodes * fewer}"
                    f" processes on {fewer} nodes"
                )
        return self

    @property
    def nodes(self) -> int:
        """Number of training pods on a cluster; 0 where nothing is trained."""
        if not self.training:
            return 0
        return self.cluster.nodes or (1 if self.cluster.profile == "gpu" else self.training.processes)

    @property
    def surveys_on_gpus(self) -> bool:
        """Whether the pods of a cluster that evaluate the loss have a GPU each."""
        return self.cluster.profile == "gpu" and self.landscape.device == "cuda"

    @property
    def plans_on_gpus(self) -> bool:
        """Whether the pod of a cluster that makes the directions has a GPU."""
        return self.surveys_on_gpus and self.landscape.follows_the_loss

    @property
    def loss(self) -> str:
        """Name of the loss that is surveyed."""
        return self.model.loss if isinstance(self.model, Imported) else "cross-entropy"

    @property
    def in_process(self) -> bool:
        """Whether the network was handed over in Python, so that no other process can make it."""
        return isinstance(self.model, Imported) and self.model.in_process

    @property
    def training_settings(self) -> Training:
        """How the network is trained.

        Raises:
            ExperimentError: it is imported.
        """
        if not self.training:
            raise ExperimentError(f"the network of {self.name} is imported, expected one that lossmap trains")
        return self.training

    def canonical_json(self) -> str:
        """The experiment as JSON with sorted keys and no white space: equal experiments, equal text."""
        return canonical_json(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def to_yaml(self) -> str:
        """The experiment as YAML, fields in their own order."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
