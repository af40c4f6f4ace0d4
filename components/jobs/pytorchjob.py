"""The PyTorchJob of a training, as data: what is asked for decides every field, and nothing is looked up
here.

Workers alone with an elastic policy, because the init container that the operator adds to a Worker beside a
Master has no security context, and a namespace with restricted Pod Security refuses it. torchrun takes its
part in the job from the PET_* variables that the operator sets.
"""

import hashlib
import math
import re
from dataclasses import dataclass

from kubeflow.training import (
    KubeflowOrgV1ElasticPolicy,
    KubeflowOrgV1PyTorchJob,
    KubeflowOrgV1PyTorchJobSpec,
    KubeflowOrgV1RDZVConf,
    KubeflowOrgV1ReplicaSpec,
    KubeflowOrgV1RunPolicy,
)
from kubernetes import client

from lossmap.components.config.cluster import Cluster, Toleration
from lossmap.components.config.training import Training
from lossmap.components.jobs.deployment import (
    CONFIG_MAP,
    PIPELINE_RUN_LABEL,
    STORE_SECRET,
    TRAINING_ACCOUNT,
    USER,
)

CONTAINER = "pytorch"  # the name that the operator looks for
RUN_LABEL, JOB_LABEL = "lossmap/run", "training.kubeflow.org/job-name"
TRAINING_ANNOTATION = "lossmap/training"
RANK_PREFIX = "[rank ${rank}]: "
_LABELS = {
    "app.kubernetes.io/name": "lossmap",
    "app.kubernetes.io/part-of": "lossmap",
    "app.kubernetes.io/component": "training",
}
_LABEL_LENGTH = 63
# characters of the run in a job's name: with `train-`, a digest and `-worker-99` all names stay within DNS's
# 63
_READABLE = 33
_KEPT_SECONDS = 10  # a job that ends with nobody watching leaves nothing behind


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


def render(request: Request, launcher: Launcher) -> KubeflowOrgV1PyTorchJob:
    """The PyTorchJob that carries out the request for the launcher."""
    cluster, labels = request.cluster, _labels(request, launcher)
    queue = {"kueue.x-k8s.io/queue-name": cluster.queue} if cluster.queue else {}
    metadata = client.V1ObjectMeta(
        name=name_of(request),
        labels=labels | queue,
        annotations={TRAINING_ANNOTATION: request.address},
        owner_references=[launcher.owner],
    )
    pod = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=_pod(request, launcher))
    workers = KubeflowOrgV1ReplicaSpec(replicas=request.nodes, restart_policy="OnFailure", template=pod)
    spec = KubeflowOrgV1PyTorchJobSpec(
        nproc_per_node=str(request.training.processes // request.nodes),
        elastic_policy=_elastic_policy(request),
        run_policy=_run_policy(request),
        pytorch_replica_specs={"Worker": workers},
    )
    return KubeflowOrgV1PyTorchJob(
        api_version="kubeflow.org/v1", kind="PyTorchJob", metadata=metadata, spec=spec
    )


def _labels(request: Request, launcher: Launcher) -> dict[str, str]:
    pipeline = {PIPELINE_RUN_LABEL: launcher.pipeline} if launcher.pipeline else {}
    return _LABELS | {RUN_LABEL: label_value(request.run)} | pipeline


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


def _pod(request: Request, launcher: Launcher) -> client.V1PodSpec:
    cluster = request.cluster
    return client.V1PodSpec(
        service_account_name=TRAINING_ACCOUNT,
        automount_service_account_token=False,
        security_context=client.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=USER,
            run_as_group=USER,
            seccomp_profile=client.V1SeccompProfile(type="RuntimeDefault"),
        ),
        image_pull_secrets=[client.V1LocalObjectReference(name=name) for name in launcher.pull_secrets]
        or None,
        node_selector=cluster.node_selector or None,
        tolerations=[_toleration(each) for each in cluster.tolerations] or None,
        priority_class_name=cluster.priority_class,
        containers=[_container(request, launcher)],
        volumes=[
            client.V1Volume(name="tmp", empty_dir=client.V1EmptyDirVolumeSource()),
            client.V1Volume(
                name="shm",
                empty_dir=client.V1EmptyDirVolumeSource(medium="Memory", size_limit=cluster.shared_memory),
            ),
        ],
    )


def _container(request: Request, launcher: Launcher) -> client.V1Container:
    torchrun = [
        "python",
        "-m",
        "torch.distributed.run",
        "--tee",
        "3",
        "--log-line-prefix-template",
        RANK_PREFIX,
    ]
    environment = {
        "HOME": "/tmp",
        "LOSSMAP_LAUNCHER": "store",
        "LOSSMAP_STORE": request.store,
        "OMP_NUM_THREADS": str(request.training.threads),
        # torch 2.15: a rank 0 that outlives a round shares its store's address with nobody in the next one,
        # and pods made anew wait for it for ever.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    return client.V1Container(
        name=CONTAINER,
        image=launcher.image,
        image_pull_policy=launcher.pull_policy,
        command=[*torchrun, "-m", "lossmap.components.training.main", request.address],
        env=[client.V1EnvVar(name=name, value=value) for name, value in environment.items()],
        env_from=[
            client.V1EnvFromSource(config_map_ref=client.V1ConfigMapEnvSource(name=CONFIG_MAP)),
            client.V1EnvFromSource(secret_ref=client.V1SecretEnvSource(name=STORE_SECRET)),
        ],
        resources=_resources(request),
        security_context=client.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=client.V1Capabilities(drop=["ALL"]),
        ),
        volume_mounts=[
            client.V1VolumeMount(name="tmp", mount_path="/tmp"),
            client.V1VolumeMount(name="shm", mount_path="/dev/shm"),
        ],
    )


def _resources(request: Request) -> client.V1ResourceRequirements:
    cluster = request.cluster
    amounts = {"cpu": cluster.training.cpu, "memory": cluster.training.memory}
    if cluster.profile == "gpu":
        amounts[cluster.gpu_resource] = str(request.training.processes // request.nodes)
    return client.V1ResourceRequirements(
        requests=amounts, limits=amounts | {"cpu": cluster.training.most_cpu}
    )


def _toleration(toleration: Toleration) -> client.V1Toleration:
    return client.V1Toleration(**toleration.model_dump(exclude_none=True))


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
