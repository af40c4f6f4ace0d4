"""A training's pods, as data: the same for every kind of job. torchrun takes its part in the job from the
PET_* variables that the job's operator sets.
"""

from kubernetes import client

from lossmap.components.config.pod import Files, Toleration, Variables
from lossmap.components.jobs.deployment import (
    CONFIG_MAP,
    FILES,
    FILES_PATH,
    STORE_SECRET,
    TRAINING_ACCOUNT,
)
from lossmap.components.jobs.request import Launcher, Request, labels_of

RANK_PREFIX = "[rank ${rank}]: "


def template(request: Request, launcher: Launcher, container: str) -> client.V1PodTemplateSpec:
    """The pods of a training.

    Args:
        request: what they carry out.
        launcher: from which they have the image.
        container: name of the container in which a process of torchrun is started.
    """
    pod = request.cluster.pod
    metadata = client.V1ObjectMeta(
        labels=pod.labels | labels_of(request, launcher), annotations=dict(pod.annotations)
    )
    return client.V1PodTemplateSpec(metadata=metadata, spec=_specification(request, launcher, container))


def _specification(request: Request, launcher: Launcher, container: str) -> client.V1PodSpec:
    cluster, pod = request.cluster, request.cluster.pod
    secrets = dict.fromkeys((*launcher.pull_secrets, *pod.image_pull_secrets))
    nodes = cluster.node_selector | (cluster.gpu_node_selector if request.gpus_of_a_node else {})
    return client.V1PodSpec(
        service_account_name=TRAINING_ACCOUNT,
        automount_service_account_token=False,
        security_context=client.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=pod.user,
            run_as_group=pod.group,
            seccomp_profile=client.V1SeccompProfile(type="RuntimeDefault"),
        ),
        image_pull_secrets=[client.V1LocalObjectReference(name=name) for name in secrets] or None,
        node_selector=nodes or None,
        tolerations=[_toleration(each) for each in cluster.tolerations] or None,
        priority_class_name=cluster.priority_class,
        runtime_class_name=pod.runtime_class,
        containers=[_container(request, launcher, container)],
        volumes=[
            client.V1Volume(name="tmp", empty_dir=client.V1EmptyDirVolumeSource()),
            client.V1Volume(
                name="shm",
                empty_dir=client.V1EmptyDirVolumeSource(medium="Memory", size_limit=cluster.shared_memory),
            ),
            *(_volume(index, files) for index, files in enumerate(_files(request))),
        ],
    )


def _container(request: Request, launcher: Launcher, name: str) -> client.V1Container:
    torchrun = [
        "python",
        "-m",
        "torch.distributed.run",
        "--tee",
        "3",
        "--log-line-prefix-template",
        RANK_PREFIX,
    ]
    keys = client.V1SecretEnvSource(name=STORE_SECRET, optional=True)
    return client.V1Container(
        name=name,
        image=launcher.image,
        image_pull_policy=launcher.pull_policy,
        command=[*torchrun, "-m", "lossmap.components.training.main", request.address],
        env=_environment(request),
        env_from=[
            client.V1EnvFromSource(config_map_ref=client.V1ConfigMapEnvSource(name=CONFIG_MAP)),
            client.V1EnvFromSource(secret_ref=keys),
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
            *(
                client.V1VolumeMount(name=_volume_name(index), mount_path=files.path, read_only=True)
                for index, files in enumerate(_files(request))
            ),
        ],
    )


def _environment(request: Request) -> list[client.V1EnvVar]:
    pod = request.cluster.pod
    values = {
        **pod.variables,
        "HOME": "/tmp",
        "LOSSMAP_LAUNCHER": "store",
        "LOSSMAP_STORE": request.store,
        "OMP_NUM_THREADS": str(request.training.threads),
        # torch 2.15: a rank 0 that outlives a round shares its store's address with nobody in the next one,
        # and pods made anew wait for it for ever.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    if request.gpus_of_a_node:
        values["LOSSMAP_GPUS"] = str(request.gpus_of_a_node)
    sources = [
        client.V1EnvVar(name=name, value_from=_source(variables, key))
        for variables in pod.environment
        for name, key in variables.keys.items()
    ]
    return [*(client.V1EnvVar(name=name, value=value) for name, value in values.items()), *sources]


def _source(variables: Variables, key: str) -> client.V1EnvVarSource:
    selected = {"name": variables.name, "key": key, "optional": variables.optional or None}
    if variables.config_map:
        return client.V1EnvVarSource(config_map_key_ref=client.V1ConfigMapKeySelector(**selected))
    return client.V1EnvVarSource(secret_key_ref=client.V1SecretKeySelector(**selected))


def _files(request: Request) -> tuple[Files, ...]:
    return (Files(config_map=FILES, path=FILES_PATH, optional=True), *request.cluster.pod.files)


def _volume(index: int, files: Files) -> client.V1Volume:
    name, optional = _volume_name(index), files.optional or None
    if files.config_map:
        source = client.V1ConfigMapVolumeSource(name=files.config_map, optional=optional)
        return client.V1Volume(name=name, config_map=source)
    return client.V1Volume(
        name=name, secret=client.V1SecretVolumeSource(secret_name=files.secret, optional=optional)
    )


def _volume_name(index: int) -> str:
    return f"files-{index}"


def _resources(request: Request) -> client.V1ResourceRequirements:
    cluster = request.cluster
    amounts = {"cpu": cluster.training.cpu, "memory": cluster.training.memory}
    if cluster.ephemeral_storage:
        amounts["ephemeral-storage"] = cluster.ephemeral_storage
    if request.gpus_of_a_node:
        amounts[cluster.gpu_resource] = str(request.gpus_of_a_node)
    return client.V1ResourceRequirements(
        requests=amounts, limits=amounts | {"cpu": cluster.training.most_cpu}
    )


def _toleration(toleration: Toleration) -> client.V1Toleration:
    return client.V1Toleration(**toleration.model_dump(exclude_none=True))
