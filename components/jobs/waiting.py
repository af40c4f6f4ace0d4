"""Why nothing goes on: of pods that do not start, and of training jobs that wait in a queue."""

from collections.abc import Iterator

from kubernetes import client

from lossmap.components.jobs import kueue
from lossmap.components.jobs.cluster import pods
from lossmap.components.jobs.connection import Api, ApiError
from lossmap.components.jobs.kind import Kind
from lossmap.components.jobs.kinds import KINDS
from lossmap.components.jobs.reasons import cause_of


def waiting_pods(api: Api, namespace: str, label_selector: str) -> list[str]:
    """Why pods that a label selector selects do not start, one line each."""
    pending = (pod for pod in pods(namespace, label_selector, api) if pod.status.phase == "Pending")
    return list(dict.fromkeys(reason for pod in pending if (reason := why_waiting(api, pod))))


def waiting_jobs(api: Api, namespace: str, label_selector: str) -> list[str]:
    """Why training jobs that a label selector selects are suspended, one line each; nothing of those that
    this account may not read.
    """
    return [line for kind in KINDS.values() for line in _suspended(api, kind, namespace, label_selector)]


def why_waiting(api: Api, pod: client.V1Pod) -> str | None:
    """Why a pod does not run, in one line; None where there is nothing to tell."""
    if kueue.is_gated(pod):
        return kueue.why_gated(api, pod)
    cause = cause_of(pod)
    return cause.text if cause else None


def _suspended(api: Api, kind: Kind, namespace: str, label_selector: str) -> Iterator[str]:
    try:
        jobs = {name: kind.get(api, name, namespace) for name in kind.names(api, namespace, label_selector)}
    except ApiError as error:
        if error.status != 403:
            raise
        return
    for name, job in jobs.items():
        if job and job.is_suspended and not job.ending:
            yield kueue.why_suspended(api, namespace, name, job)
