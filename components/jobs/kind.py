"""What a launcher asks of a kind of training job, and what it sees of a job; pytorchjob.py and trainjob.py
are the kinds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from lossmap.components.jobs.connection import Api
from lossmap.components.jobs.deployment import PIPELINE_RUN_LABEL
from lossmap.components.jobs.request import RUN_LABEL, TRAINING_ANNOTATION, Launcher, Request, label_value

Ending = tuple[Literal["Succeeded", "Failed"], str]
Related = tuple[str, str]  # an object's kind and name, and its uid


@dataclass(frozen=True)
class Job:
    """A job as the cluster has it.

    Attributes:
        uid: Kubernetes' id of it.
        labels: of the job.
        annotations: of the job.
        is_suspended: whether it waits in a queue, or for somebody.
        is_deleted: whether it is about to go.
        ending: how it ended, and the operator's words for it; None while it has not.
    """

    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    is_suspended: bool
    is_deleted: bool
    ending: Ending | None

    @property
    def identity(self) -> dict[str, str | None]:
        """Whose it is."""
        return {
            RUN_LABEL: self.labels.get(RUN_LABEL),
            TRAINING_ANNOTATION: self.annotations.get(TRAINING_ANNOTATION),
        }

    @property
    def pipeline(self) -> str | None:
        """Id of the Kubeflow run that it belongs to."""
        return self.labels.get(PIPELINE_RUN_LABEL)


def identity_of(request: Request) -> dict[str, str | None]:
    """That of a job that carries out a request."""
    return {RUN_LABEL: label_value(request.run), TRAINING_ANNOTATION: request.address}


def made_by(api: Api, kind: "Kind", name: str, namespace: str) -> Iterator[str]:
    """What there is of what a job has made, as `pod x`: its pods, and what stands between it and them."""
    for made, _ in kind.related(api, name, namespace):
        yield made
    for pod in api.core.list_namespaced_pod(namespace, label_selector=kind.pods_of(name)).items:
        yield f"pod {pod.metadata.name}"


class Kind(Protocol):
    """A kind of training job. Its errors are ApiErrors.

    Attributes:
        name: as Kubernetes calls it.
        container: name of the container that trains.
        expires: whether a job that has ended is gone soon, with its pods.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def container(self) -> str: ...  # noqa: D102

    @property
    def expires(self) -> bool: ...  # noqa: D102

    def create(self, api: Api, request: Request, launcher: Launcher, namespace: str) -> None:
        """Create the job of a request; the error's status is 409 where there is one of that name."""

    def get(self, api: Api, name: str, namespace: str) -> Job | None:
        """A job, or None where there is none of that name."""

    def delete(self, api: Api, name: str, namespace: str) -> None:
        """Ask for the end of a job and of what it has made, which may outlive it for a moment."""

    def names(self, api: Api, namespace: str, label_selector: str) -> list[str]:
        """The jobs that a label selector selects; none where the cluster does not know the kind."""

    def pods_of(self, name: str) -> str:
        """The label selector of the pods of a job."""

    def related(self, api: Api, name: str, namespace: str) -> list[Related]:
        """What a job has made besides its pods, and what goes wrong with them is said of."""
