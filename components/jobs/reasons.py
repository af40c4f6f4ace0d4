"""Why pods do not run, in one line each: read from what Kubernetes says of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubernetes import client

from lossmap.components.jobs.connection import Api, ApiError

_IMAGE = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
)
_SETTLED = (
    "not found",
    "manifest unknown",
    "name unknown",
    "does not exist",
    "denied",
    "unauthorized",
    "invalid reference",
    "invalidimagename",
    "couldn't parse",
)
_OUT_OF_MEMORY = "OOMKilled"


@dataclass(frozen=True)
class Cause:
    """Why a pod or a job does not run.

    Attributes:
        key: the same for the same cause, also of other pods and while Kubernetes words it differently.
        hopeless: whether waiting does not help, such as for an image that does not exist.
    """

    key: str
    text: str
    hopeless: bool = False


def why_waiting(pod: client.V1Pod) -> str | None:
    """Why a pod does not run, in one line; None where there is nothing to tell."""
    cause = cause_of(pod)
    return cause.text if cause else None


def cause_of(pod: client.V1Pod) -> Cause | None:
    """Why a pod does not run, as far as the pod itself says it."""
    return next(_causes(pod), None)


def events_of(api: Api, namespace: str, name: str, uid: str) -> list[Cause]:
    """What went wrong with an object according to its events, newest first; nothing where events may not
    be read.
    """
    try:
        events = api.core.list_namespaced_event(
            namespace, field_selector=f"involvedObject.uid={uid},type=Warning"
        ).items
    except ApiError as error:
        if error.status != 403:
            raise
        return []
    texts = dict.fromkeys(f"{name}: {_line(event.message)}" for event in reversed(events))
    return [Cause(_without_numbers(text), text) for text in texts]


def suspension(api: Api, namespace: str, name: str, uid: str, queue: str | None) -> Cause:
    """Why a suspended job is suspended, with the words of its Kueue workload where they may be read."""
    if queue is None:
        return Cause("suspended", f"{name} is suspended; set spec.runPolicy.suspend to false to start it")
    message = _workload(api, namespace, uid)
    return Cause(
        f"queued {message}", f"{name} is queued by Kueue in {queue}" + (f": {message}" if message else "")
    )


def losses(pod: client.V1Pod, container: str, memory: str) -> Iterator[Cause]:
    """What ended a pod or its training, newest last; to run out of memory is hopeless the second time.

    Args:
        pod: a pod of a training.
        container: name of the one that trains; others are a platform's.
        memory: its limit, as the experiment asked for it.
    """
    name = pod.metadata.name
    if pod.status.reason:  # Evicted, Preempting, NodeLost, Shutdown …
        yield Cause(
            f"{pod.metadata.uid} {pod.status.reason}",
            f"pod {name}: {pod.status.reason} {_line(pod.status.message or '')}".rstrip(),
        )
    for status in [each for each in pod.status.container_statuses or () if each.name == container]:
        for state in (status.last_state.terminated if status.last_state else None, status.state.terminated):
            if state and state.exit_code:
                yield Cause(
                    f"{pod.metadata.uid} {state.finished_at}",
                    f"pod {name} {_ending(state, memory)}",
                    state.reason == _OUT_OF_MEMORY,
                )


def more_memory(limit: str) -> str:
    """What to do about a pod that ran out of memory."""
    return f"its limit is {limit}: raise cluster.training.memory, or lower training.batch_size"


def _ending(state: client.V1ContainerStateTerminated, memory: str) -> str:
    if state.reason == _OUT_OF_MEMORY:
        return f"ran out of memory; {more_memory(memory)}"
    return f"ended with exit code {state.exit_code}"


def _causes(pod: client.V1Pod) -> Iterator[Cause]:
    name = pod.metadata.name
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False" and condition.message:
            message = _line(
                re.sub(r"\.? (no new claims|preemption:).*", "", condition.message, flags=re.DOTALL)
            )
            yield Cause(
                f"unschedulable {message}",
                f"no node for pod {name}: {message}; wait for one, or ask for less in cluster.training",
            )
    for status in [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]:
        waiting = status.state.waiting if status.state else None
        if waiting and waiting.reason in _IMAGE:
            yield _image(status.image, waiting)
        elif waiting and waiting.message and waiting.reason != "CrashLoopBackOff":
            yield Cause(
                f"{waiting.reason} {waiting.message}", f"pod {name} cannot start: {_line(waiting.message)}"
            )


def _image(image: str, waiting: client.V1ContainerStateWaiting) -> Cause:
    message = _line(waiting.message or waiting.reason)
    hopeless = any(sign in f"{waiting.reason} {message}".lower() for sign in _SETTLED)
    return Cause(
        f"image {image}",
        f"image {image} cannot be pulled: {message}; check its name, its registry and imagePullSecrets",
        hopeless,
    )


def _workload(api: Api, namespace: str, uid: str) -> str:
    try:
        workloads = api.custom.list_namespaced_custom_object(
            "kueue.x-k8s.io", "v1beta1", namespace, "workloads"
        )["items"]
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return ""
    for workload in workloads:
        owners = {owner["uid"] for owner in workload["metadata"].get("ownerReferences", ())}
        conditions = workload.get("status", {}).get("conditions", ()) if uid in owners else ()
        for condition in conditions:
            if condition["type"] == "QuotaReserved" and condition["status"] == "False":
                return _line(condition["message"])
    return ""


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "#", text)


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
