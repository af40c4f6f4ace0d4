"""The PyTorchJob of a training, as data: what is asked for decides every field, and nothing is looked up
here.

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

from lossmap.components.jobs.pod import template
from lossmap.components.jobs.request import TRAINING_ANNOTATION, Launcher, Request, labels_of, name_of

CONTAINER = "pytorch"  # the name that the operator looks for
JOB_LABEL = "training.kubeflow.org/job-name"
_KEPT_SECONDS = 10  # a job that ends with nobody watching leaves nothing behind


def render(request: Request, launcher: Launcher) -> KubeflowOrgV1PyTorchJob:
    """The PyTorchJob that carries out the request for the launcher."""
    queue = {"kueue.x-k8s.io/queue-name": request.cluster.queue} if request.cluster.queue else {}
    metadata = client.V1ObjectMeta(
        name=name_of(request),
        labels=labels_of(request, launcher) | queue,
        annotations={TRAINING_ANNOTATION: request.address},
        owner_references=[launcher.owner],
    )
    workers = KubeflowOrgV1ReplicaSpec(
        replicas=request.nodes,
        restart_policy="OnFailure",
        template=template(request, launcher, CONTAINER),
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
