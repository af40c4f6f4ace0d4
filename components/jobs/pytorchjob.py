"""The PyTorchJob of a training: what is asked for decides every field of it, and nothing is looked up for
that.

Workers alone with an elastic policy, because the init container that the operator adds to a Worker beside a
Master has no security context, and a namespace with restricted Pod Security refuses it.
"""

import math

from kubeflow.training import (
    KubeflowOrgV1ElasticPolicy,
    KubeflowOrgV1PyTorchJob,
    KubeflowOrgV1PyTorchJobSpec,
    KubeflowOrgV1RDZVConf,
    KubeflowOrgV1ReplicaSpec,
    KubeflowOrgV1RunPolicy,
)
from kubernetes import client

from lossmap.components.jobs.connection import Api, absent_is_none
from lossmap.components.jobs.deployment import QUEUE_LABEL
from lossmap.components.jobs.kind import Ending, Job, Related
from lossmap.components.jobs.pod import template
from lossmap.components.jobs.request import TRAINING_ANNOTATION, Launcher, Request, labels_of, name_of

_CONTAINER = "pytorch"  # the name that the operator looks for
_JOB_LABEL = "training.kubeflow.org/job-name"
_KEPT_SECONDS = 10  # a job that ends with nobody watching leaves nothing behind


class PyTorchJobs:
    """The jobs of the training operator, version 1: a Kind."""

    name = "PyTorchJob"
    container = _CONTAINER
    expires = True

    def create(self, api: Api, request: Request, launcher: Launcher, namespace: str) -> None:
        """Create the job of a request; the error's status is 409 where there is one of that name."""
        api.create_job(render(request, launcher), namespace)

    def get(self, api: Api, name: str, namespace: str) -> Job | None:
        """A job, or None where there is none of that name."""
        job = api.get_job(name, namespace)
        if job is None:
            return None
        return Job(
            job.metadata.uid,
            job.metadata.labels or {},
            job.metadata.annotations or {},
            bool(job.spec.run_policy.suspend),
            job.metadata.deletion_timestamp is not None,
            _ending(job),
        )

    def delete(self, api: Api, name: str, namespace: str) -> None:
        """Ask for the end of a job and of what it has made."""
        api.delete_job(name, namespace)

    def names(self, api: Api, namespace: str, label_selector: str) -> list[str]:
        """The jobs that a label selector selects; none where there is no training operator."""
        kind = ("kubeflow.org", "v1", namespace, "pytorchjobs")
        jobs = absent_is_none(
            lambda: api.custom.list_namespaced_custom_object(*kind, label_selector=label_selector)
        )
        return [job["metadata"]["name"] for job in jobs["items"]] if jobs else []

    def pods_of(self, name: str) -> str:
        """The label selector of the pods of a job, and of their services."""
        return f"{_JOB_LABEL}={name}"

    def related(self, _api: Api, _name: str, _namespace: str) -> list[Related]:
        """Nothing: the operator makes the pods itself."""
        return []


def _ending(job: KubeflowOrgV1PyTorchJob) -> Ending | None:
    for condition in (job.status and job.status.conditions) or ():
        if condition.type in ("Succeeded", "Failed") and condition.status == "True":
            return condition.type, condition.message or ""
    return None


def render(request: Request, launcher: Launcher) -> KubeflowOrgV1PyTorchJob:
    """The PyTorchJob that carries out the request for the launcher."""
    queue = {QUEUE_LABEL: request.cluster.queue} if request.cluster.queue else {}
    metadata = client.V1ObjectMeta(
        name=name_of(request),
        labels=labels_of(request, launcher) | queue,
        annotations={TRAINING_ANNOTATION: request.address},
        owner_references=[launcher.owner],
    )
    workers = KubeflowOrgV1ReplicaSpec(
        replicas=request.nodes,
        restart_policy="OnFailure",
        template=template(request, launcher, _CONTAINER),
    )
    spec = KubeflowOrgV1PyTorchJobSpec(
        nproc_per_node=str(request.processes_of_a_node),
        elastic_policy=_elastic_policy(request),
        run_policy=_run_policy(request),
        pytorch_replica_specs={"Worker": workers},
    )
    return KubeflowOrgV1PyTorchJob(
        api_version="kubeflow.org/v1", kind="PyTorchJob", metadata=metadata, spec=spec
    )


def _elastic_policy(request: Request) -> KubeflowOrgV1ElasticPolicy:
    # Pods start minutes apart where images are large; torchrun's own patience is 60 s for the first pod and
    # 600 s for the others.
    patience = str(math.ceil(request.cluster.start_minutes * 60))
    return KubeflowOrgV1ElasticPolicy(
        min_replicas=request.cluster.least_nodes or request.nodes,
        max_replicas=request.nodes,
        max_restarts=request.cluster.restarts,
        rdzv_backend="c10d",
        rdzv_conf=[
            KubeflowOrgV1RDZVConf(key=key, value=patience) for key in ("join_timeout", "read_timeout")
        ],
    )


def _run_policy(request: Request) -> KubeflowOrgV1RunPolicy:
    # The operator counts restarts of containers, of all pods together, and fails at the limit: the loss of
    # one pod restarts every other.
    return KubeflowOrgV1RunPolicy(
        clean_pod_policy="Running",
        active_deadline_seconds=math.ceil(request.cluster.hours * 3600),
        backoff_limit=request.cluster.restarts * request.nodes + 1,
        ttl_seconds_after_finished=_KEPT_SECONDS,
    )
