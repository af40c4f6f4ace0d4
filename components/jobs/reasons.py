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
    if condition := _unscheduled(pod):
        yield _scheduling(pod, condition)
    for status in [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]:
        waiting = status.state.waiting if status.state else None
        if waiting and waiting.reason in _IMAGE:
            yield _image(status.image, waiting)
        elif waiting and waiting.message and waiting.reason != "CrashLoopBackOff":
            yield Cause(
                f"{waiting.reason} {waiting.message}", f"pod {name} cannot start: {_line(waiting.message)}"
            )


def _unscheduled(pod: client.V1Pod) -> client.V1PodCondition | None:
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False" and condition.message:
            return condition
    return None


def _scheduling(pod: client.V1Pod, condition: client.V1PodCondition) -> Cause:
    name = pod.metadata.name
    if condition.reason == "SchedulingGated":
        gates = ", ".join(gate.name for gate in pod.spec.scheduling_gates or ())
        return Cause(f"gated {gates}", f"pod {name} is held back by {gates}, which has to let it go")
    message = _line(re.sub(r"\.? (no new claims|preemption:).*", "", condition.message, flags=re.DOTALL))
    return Cause(
        f"unschedulable {message}",
        f"no node for pod {name}: {message}; wait for one, or ask for less in cluster.training",
    )


def _image(image: str, waiting: client.V1ContainerStateWaiting) -> Cause:
    message = _line(waiting.message or waiting.reason)
    hopeless = any(sign in f"{waiting.reason} {message}".lower() for sign in _SETTLED)
    return Cause(
        f"image {image}",
        f"image {image} cannot be pulled: {message}; check its name, its registry and imagePullSecrets",
        hopeless,
    )


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "#", text)


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
