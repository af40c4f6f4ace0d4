"""The TrainJob of a training, for Kubeflow Trainer 2.2 or later: what is asked for decides every field of it.

What a TrainJob cannot say of its pods stands in the TrainingRuntime `lossmap` of the namespace
(k8s/trainer): where their variables come from, that they get no token, and how often they are replaced.
The rest is patched into it.
"""

import math
from typing import Any

from kubernetes import client

from lossmap.components.config.cluster import Cluster
from lossmap.components.core.errors import ClusterError, ExperimentError
from lossmap.components.jobs import rendezvous
from lossmap.components.jobs.connection import Api, ApiError, absent_is_none
from lossmap.components.jobs.deployment import QUEUE_LABEL
from lossmap.components.jobs.kind import Ending, Job, Related
from lossmap.components.jobs.pod import template
from lossmap.components.jobs.request import TRAINING_ANNOTATION, Launcher, Request, labels_of, name_of

TRAINER_API = ("trainer.kubeflow.org", "v1alpha1")
_PLURAL = "trainjobs"
_TORCHRUN = "torch.distributed.run"
_CONTAINER = "node"  # of the runtime, and the name of its pods' job
RUNTIME = "lossmap"
_MANAGER = "lossmap.example/launcher"  # of the patches: a domain and a path
_JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
_STATES = {"Complete": "Succeeded", "Failed": "Failed"}
_PATCHED = (
    "serviceAccountName",
    "securityContext",
    "imagePullSecrets",
    "nodeSelector",
    "tolerations",
    "volumes",
)


class TrainJobs:
    """The jobs of Kubeflow Trainer, version 2: a Kind."""

    name = "TrainJob"
    container = _CONTAINER
    expires = False

    def create(self, api: Api, request: Request, launcher: Launcher, namespace: str) -> None:
        """Create the job of a request; the error's status is 409 where there is one of that name."""
        try:
            api.custom.create_namespaced_custom_object(
                *TRAINER_API, namespace, _PLURAL, render(request, launcher), field_validation="Strict"
            )
        except ApiError as error:
            raise _refusal(error, namespace) from None

    def get(self, api: Api, name: str, namespace: str) -> Job | None:
        """A job, or None where there is none of that name."""
        job = _read(api, *TRAINER_API, namespace, _PLURAL, name)
        if job is None:
            return None
        metadata = job["metadata"]
        return Job(
            metadata["uid"],
            metadata.get("labels", {}),
            metadata.get("annotations", {}),
            bool(job["spec"].get("suspend")),
            "deletionTimestamp" in metadata,
            _ending(job),
        )

    def delete(self, api: Api, name: str, namespace: str) -> None:
        """Ask for the end of a job and of what it has made."""
        # Trainer 2.3 makes the JobSet of a job that is there and has not ended anew, even of one that is
        # there only until its JobSet is gone.
        job = self.get(api, name, namespace)
        policy = "Foreground" if job and job.ending else "Background"
        place, body = (namespace, _PLURAL, name), client.V1DeleteOptions(propagation_policy=policy)
        absent_is_none(lambda: api.custom.delete_namespaced_custom_object(*TRAINER_API, *place, body=body))

    def names(self, api: Api, namespace: str, label_selector: str) -> list[str]:
        """The jobs that a label selector selects; none where there is no Trainer."""
        jobs = absent_is_none(
            lambda: api.custom.list_namespaced_custom_object(
                *TRAINER_API, namespace, _PLURAL, label_selector=label_selector
            )
        )
        return [job["metadata"]["name"] for job in jobs["items"]] if jobs else []

    def pods_of(self, name: str) -> str:
        """The label selector of the pods of a job."""
        return f"{_JOB_LABEL}={name}"

    def related(self, api: Api, name: str, namespace: str) -> list[Related]:
        """The JobSet and the Job that a TrainJob makes: what goes wrong with its pods is said of these."""
        kinds = (("jobset.x-k8s.io", "v1alpha2", "jobsets", name), ("batch", "v1", "jobs", f"{name}-node-0"))
        found = []
        for group, version, plural, of in kinds:
            each = _permitted(api, group, version, namespace, plural, of)
            if each:
                found.append((f"{each['kind']} {of}", each["metadata"]["uid"]))
        return found


def _read(api: Api, *place: str) -> Any:
    return absent_is_none(lambda: api.custom.get_namespaced_custom_object(*place))


def _permitted(api: Api, *place: str) -> Any:
    """None also of what this account may not read."""
    try:
        return _read(api, *place)
    except ApiError as error:
        if error.status != 403:
            raise
        return None


def _refusal(error: ApiError, namespace: str) -> ClusterError:
    text = str(error)
    if "unknown field" in text:
        return ClusterError(
            f"this cluster's Kubeflow Trainer is older than 2.2, which lossmap's jobs need ({text}); update"
            " it, or install the training operator, for cluster.trainer=pytorchjob"
        )
    if "untime" in text and "not found" in text:
        return ClusterError(
            f"the namespace {namespace} has no TrainingRuntime {RUNTIME}; apply it: kubectl apply -k"
            " k8s/trainer (see k8s/README.md)"
        )
    return error


def _ending(job: dict[str, Any]) -> Ending | None:
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in _STATES and condition["status"] == "True":
            state: Any = _STATES[condition["type"]]
            return state, _message(condition)
    return None


def _message(condition: dict[str, str]) -> str:
    """The operator's words; those for a deadline are the other operator's."""
    if condition.get("reason") == "DeadlineExceeded":
        return "longer than specified deadline"
    return condition.get("message", "")


def render(request: Request, launcher: Launcher) -> dict[str, Any]:
    """The TrainJob that carries out the request for the launcher.

    Raises:
        ExperimentError: it asks for what only a runtime can say.
    """
    check_trainjob(request.cluster)
    pods = _as_json(template(request, launcher, _CONTAINER))
    (container,) = pods["spec"]["containers"]
    queue = {QUEUE_LABEL: request.cluster.queue} if request.cluster.queue else {}
    owner = _as_json(launcher.owner)
    return {
        "apiVersion": "/".join(TRAINER_API),
        "kind": "TrainJob",
        "metadata": {
            "name": name_of(request),
            "labels": labels_of(request, launcher) | queue,
            "annotations": {TRAINING_ANNOTATION: request.address},
            "ownerReferences": [owner],
        },
        "spec": {
            "runtimeRef": {"kind": "TrainingRuntime", "name": RUNTIME},
            "trainer": {
                "image": container["image"],
                "command": _command(request, container["command"]),
                "env": container["env"],
                "numNodes": request.nodes,
                "numProcPerNode": request.processes_of_a_node,
                "resourcesPerNode": container["resources"],
            },
            "activeDeadlineSeconds": math.ceil(request.cluster.hours * 3600),
            "runtimePatches": [{"manager": _MANAGER, "trainingRuntimeSpec": _patch(pods, container)}],
        },
    }


def check_trainjob(cluster: Cluster) -> None:
    """Refuse what only a runtime, or another kind of job, can say.

    Raises:
        ExperimentError: with the field.
    """
    asked = (
        ("priority_class", cluster.priority_class, "priorityClassName"),
        ("pod.runtime_class", cluster.pod.runtime_class, "runtimeClassName"),
    )
    for name, value, field in asked:
        if value:
            raise ExperimentError(
                f"cluster.{name} is {value}, which a TrainJob cannot ask for; set {field} in"
                f" the TrainingRuntime {RUNTIME} (k8s/trainer), or cluster.trainer=pytorchjob"
            )
    if cluster.least_nodes:
        raise ExperimentError(
            f"cluster.least_nodes is {cluster.least_nodes}, and a TrainJob always has all its nodes;"
            " leave it out, or set cluster.trainer=pytorchjob"
        )


def _command(request: Request, command: list[str]) -> list[str]:
    """The same torchrun, by a module that knows which pod the others meet at."""
    place = command.index(_TORCHRUN)
    patience = math.ceil(request.cluster.start_minutes * 60)
    restarts = f"--max-restarts={request.cluster.restarts}"
    return [*command[:place], rendezvous.__name__, str(patience), restarts, *command[place + 1 :]]


def _patch(pods: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
    """Of the runtime's pods, what is asked for in a request."""
    specification = {name: pods["spec"][name] for name in _PATCHED if name in pods["spec"]}
    own = {
        "name": _CONTAINER,
        "securityContext": container["securityContext"],
        "volumeMounts": container["volumeMounts"],
    }
    template = {"metadata": pods["metadata"], "spec": specification | {"containers": [own]}}
    job = {"name": _CONTAINER, "template": {"spec": {"template": template}}}
    return {"template": {"spec": {"replicatedJobs": [job]}}}


def _as_json(model: Any) -> Any:
    return client.ApiClient().sanitize_for_serialization(model)
