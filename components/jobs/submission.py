"""One PyTorchJob for one request, however often it is asked for; and its end."""

import time
from collections.abc import Callable

from kubeflow.training import KubeflowOrgV1PyTorchJob

from lossmap.components.core.errors import ClusterError
from lossmap.components.jobs.connection import Api, ApiError
from lossmap.components.jobs.deployment import PIPELINE_RUN_LABEL
from lossmap.components.jobs.request import RUN_LABEL, TRAINING_ANNOTATION

_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0


def submit(api: Api, job: KubeflowOrgV1PyTorchJob, namespace: str, say: Callable[[str], None]) -> None:
    """Create the job, or adopt the one that an earlier start of the same step created.

    One of the same name that has ended, or is being deleted, makes room first; so does one of an earlier
    pipeline run that somebody terminated, once it notices that nobody waits for it any longer.

    Raises:
        ClusterError: a job of that name belongs to somebody else, or does not make room.
    """
    name, end = job.metadata.name, time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        if _create(api, job, namespace):
            say(f"created PyTorchJob {namespace}/{name}")
            return
        existing = api.get_job(name, namespace)
        if existing and not existing.metadata.deletion_timestamp:
            _refuse_a_stranger(existing, job)
            if ending(existing):
                api.delete_job(name, namespace)
            elif _pipeline_run(existing) == _pipeline_run(job):
                say(f"going on with PyTorchJob {namespace}/{name}, which is there already")
                return
        time.sleep(_PAUSE_SECONDS)
    raise ClusterError(
        f"PyTorchJob {namespace}/{name} has made no room for more than {_PATIENCE_SECONDS:.0f} s: another"
        f" pipeline run of the same name goes on, or it cannot be deleted; see: kubectl -n {namespace}"
        f" describe pytorchjob {name}"
    )


def ending(job: KubeflowOrgV1PyTorchJob) -> tuple[str, str] | None:
    """How a job ended, Succeeded or Failed, and the operator's words for it; None while it has not."""
    for condition in (job.status and job.status.conditions) or ():
        if condition.type in ("Succeeded", "Failed") and condition.status == "True":
            return condition.type, condition.message or ""
    return None


def delete(
    api: Api, name: str, namespace: str, seconds: float, pause: Callable[[float], None] = time.sleep
) -> bool:
    """Delete a job with its pods and services; whether it was gone within some seconds.

    Args:
        api: the cluster.
        name: of the job.
        namespace: of the job.
        seconds: for which its end is waited for.
        pause: lets some seconds pass.
    """
    end = time.monotonic() + seconds
    api.delete_job(name, namespace)
    while api.get_job(name, namespace):
        if time.monotonic() > end:
            return False
        pause(_PAUSE_SECONDS)
    return True


def _create(api: Api, job: KubeflowOrgV1PyTorchJob, namespace: str) -> bool:
    try:
        api.create_job(job, namespace)
    except ApiError as error:
        if error.status != 409:
            raise
        return False
    return True


def _refuse_a_stranger(existing: KubeflowOrgV1PyTorchJob, requested: KubeflowOrgV1PyTorchJob) -> None:
    if _identity(existing) != _identity(requested):
        owner, requester = _identity_text(existing), _identity_text(requested)
        raise ClusterError(
            f"PyTorchJob {existing.metadata.name} is there for somebody else ({owner}, expected {requester});"
            " delete it or choose another run name"
        )


def _identity_text(job: KubeflowOrgV1PyTorchJob) -> str:
    return "; ".join(f"{key}: {value}" for key, value in _identity(job).items())


def _identity(job: KubeflowOrgV1PyTorchJob) -> dict[str, str | None]:
    labels, annotations = job.metadata.labels or {}, job.metadata.annotations or {}
    return {RUN_LABEL: labels.get(RUN_LABEL), TRAINING_ANNOTATION: annotations.get(TRAINING_ANNOTATION)}


def _pipeline_run(job: KubeflowOrgV1PyTorchJob) -> str | None:
    label: str | None = (job.metadata.labels or {}).get(PIPELINE_RUN_LABEL)
    return label
