"""A training on a cluster, as data: what is asked for, by whom, and by which names it is found again.

Every kind of job (pytorchjob.py) is rendered from these two.
"""

import hashlib
import re
from dataclasses import dataclass

from kubernetes import client

from lossmap.components.config.cluster import Cluster
from lossmap.components.config.training import Training
from lossmap.components.jobs.deployment import PIPELINE_RUN_LABEL

RUN_LABEL = "lossmap/run"
TRAINING_ANNOTATION = "lossmap/training"
_LABELS = {
    "app.kubernetes.io/name": "lossmap",
    "app.kubernetes.io/part-of": "lossmap",
    "app.kubernetes.io/component": "training",
}
_LABEL_LENGTH = 63
# characters of the run in a job's name: with `train-`, a digest and `-worker-99` all names stay within DNS's
# 63
_READABLE = 33


@dataclass(frozen=True)
class Launcher:
    """The pod that asks for a training, and what the training's pods inherit from it.

    Attributes:
        owner: what the job is deleted with: the pod's Workflow or Job, or the pod itself.
        pipeline: id of the Kubeflow run, where there is one.
    """

    image: str
    pull_policy: str | None
    pull_secrets: tuple[str, ...]
    owner: client.V1OwnerReference
    pipeline: str | None

    @classmethod
    def of(cls, pod: client.V1Pod) -> "Launcher":
        """Read a pod's own description."""
        container = next(
            (each for each in pod.spec.containers if each.name == "main"), pod.spec.containers[0]
        )
        secrets = tuple(secret.name for secret in pod.spec.image_pull_secrets or ())
        return cls(
            container.image,
            container.image_pull_policy,
            secrets,
            _owner(pod),
            (pod.metadata.labels or {}).get(PIPELINE_RUN_LABEL),
        )


@dataclass(frozen=True)
class Request:
    """A training on a cluster.

    Attributes:
        address: of the training in the store.
        run: name of the run that asks for it.
        store: URI of the store.
        training: how many processes, and of how many threads.
        cluster: what the pods ask for.
        nodes: number of pods, a divisor of training.processes.
    """

    address: str
    run: str
    store: str
    training: Training
    cluster: Cluster
    nodes: int

    @property
    def processes_of_a_node(self) -> int:
        """Number of processes in each pod."""
        return self.training.processes // self.nodes

    @property
    def gpus_of_a_node(self) -> int:
        """Number of GPUs of each pod: one for each process, or none."""
        return self.processes_of_a_node if self.cluster.profile == "gpu" else 0


def name_of(request: Request) -> str:
    """The job's name: the same for the same run and training, a DNS-1035 label of at most 50 characters."""
    readable = re.sub("[^a-z0-9]+", "-", request.run.lower())[:_READABLE].strip("-")
    if not readable:
        return f"train-{_digest(request.address)}"
    return f"train-{readable}-{_digest(f'{request.run}/{request.address}')}"


def label_value(text: str) -> str:
    """A text as the value of a label, which has at most 63 characters: a longer one ends in a digest of
    it.
    """
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 9]}-{_digest(text)}"


def labels_of(request: Request, launcher: Launcher) -> dict[str, str]:
    """By which a job and its pods are found, and selected by network policies."""
    pipeline = {PIPELINE_RUN_LABEL: launcher.pipeline} if launcher.pipeline else {}
    return _LABELS | {RUN_LABEL: label_value(request.run)} | pipeline


def _owner(pod: client.V1Pod) -> client.V1OwnerReference:
    pod_itself = client.V1OwnerReference(
        api_version="v1", kind="Pod", name=pod.metadata.name, uid=pod.metadata.uid
    )
    owners = (each for each in pod.metadata.owner_references or () if each.controller)
    owner = next(owners, pod_itself)
    return client.V1OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.name,
        uid=owner.uid,
        block_owner_deletion=False,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
