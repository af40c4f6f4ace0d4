"""Kueue, as far as it holds jobs and pods back: in which queue, at what place, and why.

Nothing here is needed where a cluster has no Kueue, and what an account may not see is left out.
"""

from typing import Any

from kubernetes import client

from lossmap.components.jobs.connection import Api, ApiError
from lossmap.components.jobs.deployment import QUEUE_LABEL
from lossmap.components.jobs.kind import Job

_GATE = "kueue.x-k8s.io/admission"
_VERSIONS = ("v1beta2", "v1beta1")  # of both its APIs; older ones have the second alone


def why_suspended(api: Api, namespace: str, name: str, job: Job) -> str:
    """Why a suspended job is suspended, in one line."""
    queue = job.labels.get(QUEUE_LABEL)
    if queue is None:
        return f"{name} is suspended by somebody, who has to resume it"
    return _why_queued(api, namespace, name, job.uid, queue)


def is_gated(pod: client.V1Pod) -> bool:
    """Whether a pod waits in a queue by itself, and not as part of a job."""
    return any(gate.name == _GATE for gate in pod.spec.scheduling_gates or ())


def why_gated(api: Api, pod: client.V1Pod) -> str:
    """Why such a pod waits, in one line."""
    queue = (pod.metadata.labels or {}).get(QUEUE_LABEL, "")
    return _why_queued(api, pod.metadata.namespace, f"pod {pod.metadata.name}", pod.metadata.uid, queue)


def _why_queued(api: Api, namespace: str, name: str, uid: str, queue: str) -> str:
    """With the words of the Workload of that uid, and its place among all that wait."""
    found = _workload(api, namespace, uid)
    if found and _conditions(found).get("QuotaReserved", {}).get("status") == "True":
        return f"{name} has room in {queue} of Kueue, and is about to start"
    place = found and _place(api, namespace, queue, found["metadata"]["name"])
    text = f"{name} is queued by Kueue in {queue}"
    text += f", at place {place}" if place else ""
    words = _words(found) if found else ""
    return f"{text}: {words}" if words else text


def _workload(api: Api, namespace: str, uid: str) -> dict[str, Any] | None:
    for version in _VERSIONS:
        try:
            workloads = api.custom.list_namespaced_custom_object(
                "kueue.x-k8s.io", version, namespace, "workloads"
            )["items"]
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            continue
        of_it = (each for each in workloads if uid in _owners(each))
        return next(of_it, None)
    return None


def _owners(workload: dict[str, Any]) -> set[str]:
    return {owner["uid"] for owner in workload["metadata"].get("ownerReferences", ())}


def _place(api: Api, namespace: str, queue: str, workload: str) -> int | None:
    """From 1 on, in the order in which the cluster queue behind the local one takes them."""
    for version in _VERSIONS:
        path = f"/apis/visibility.kueue.x-k8s.io/{version}/namespaces/{namespace}/localqueues/{queue}"
        try:
            pending = api.hasty.call_api(
                f"{path}/pendingworkloads",
                "GET",
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
            )
        except ApiError:  # not there, not permitted, or out of order for a moment: the place is a courtesy
            continue
        places = {each["metadata"]["name"]: each["positionInClusterQueue"] for each in pending["items"]}
        return places[workload] + 1 if workload in places else None
    return None


def _words(workload: dict[str, Any]) -> str:
    """Why it was evicted, as for a preemption, and why it is not admitted."""
    conditions = _conditions(workload)
    evicted, reserved = conditions.get("Evicted", {}), conditions.get("QuotaReserved", {})
    told = [
        " ".join(condition["message"].split()).rstrip(".")
        for condition, status in ((evicted, "True"), (reserved, "False"))
        if condition.get("status") == status
    ]
    return "; ".join(dict.fromkeys(told))


def _conditions(workload: dict[str, Any]) -> dict[str, Any]:
    return {each["type"]: each for each in workload.get("status", {}).get("conditions", ())}
