"""Waiting for a PyTorchJob: what it waits for, what it loses, how it ends."""

from dataclasses import dataclass, field
from typing import Literal

from kubeflow.training import KubeflowOrgV1PyTorchJob
from kubernetes import client

from lossmap.components.config.errors import Interrupted, TrainingError
from lossmap.components.jobs import reasons
from lossmap.components.jobs.connection import Api
from lossmap.components.jobs.pytorchjob import JOB_LABEL, Request
from lossmap.components.jobs.reasons import Cause
from lossmap.components.jobs.submission import ending
from lossmap.components.jobs.transcript import Transcript

_HOPELESS_SECONDS = 60.0  # a registry may need a moment to show an image that was just pushed
_QUIET_SECONDS = 5.0  # what lasts less is nothing to tell, such as a pod that the scheduler has not looked at yet


@dataclass(frozen=True)
class Pace:
    """How often the cluster is asked, and how long a finished job may keep its result waiting; in seconds."""

    poll: float = 2.0
    result: float = 30.0


@dataclass
class _Waiting:
    """How long a job has had too few pods, and since when each cause is known; in seconds on the launcher's clock."""

    seconds: float = 0.0
    since: dict[str, float] = field(default_factory=dict)
    latest: Cause | None = None


class Watch:
    """One job, from its creation to its end."""

    def __init__(self, api: Api, request: Request, name: str, transcript: Transcript):
        self._api, self._request, self._name, self._transcript = api, request, name, transcript
        self._waiting, self._told = _Waiting(), set[str]()
        self._uid, self._pods = "", list[client.V1Pod]()
        self.losses: list[str] = []

    def until_it_ends(self, pace: Pace) -> tuple[Literal["Succeeded", "Failed", "gone"], str]:
        """Wait; returns how the job ended and the operator's words for it.

        Raises:
            TrainingError: it cannot start, or a process met an error that another start would meet again.
        """
        while True:
            job = self._api.get_job(self._name, self._api.namespace)
            self._pods = self._api.core.list_namespaced_pod(self._api.namespace, label_selector=f"{JOB_LABEL}={self._name}").items
            self._transcript.follow(self._pods)
            self._note_losses()
            ended = ending(job) if job else ("gone", "")
            if job is None or ended or job.metadata.deletion_timestamp:
                return ended or ("gone", "")  # type: ignore[return-value]
            self._uid = job.metadata.uid
            self._check_the_start(job, pace.poll)
            self._transcript.hear(pace.poll)
            if self._transcript.listener.reason:
                raise TrainingError(f"training failed: {self._transcript.listener.reason}")

    def is_out_of_memory(self) -> bool:
        """Whether a pod ran out of memory, when last seen."""
        return any(reasons.is_out_of_memory(pod) for pod in self._pods)

    def _note_losses(self) -> None:
        for pod in self._pods:
            for cause in reasons.losses(pod, self._request.cluster.training.memory):
                if cause.key not in self._told:
                    self.losses.append(cause.text)
                    self._tell(cause)

    def _check_the_start(self, job: KubeflowOrgV1PyTorchJob, seconds: float) -> None:
        if job.spec.run_policy.suspend:
            self._tell(reasons.queued(self._api, self._api.namespace, self._name, self._uid, self._request.cluster.queue))
            self._waiting = _Waiting()
        elif sum(_runs(pod) for pod in self._pods) >= (self._request.cluster.least_nodes or self._request.nodes):
            self._waiting = _Waiting()
        else:
            self._waiting.seconds += seconds
            self._judge(self._causes())

    def _causes(self) -> list[Cause]:
        found = [cause for pod in self._pods if (cause := reasons.cause_of(pod))]
        if found or self._waiting.seconds < _QUIET_SECONDS:
            return found
        found = reasons.events_of(self._api, self._api.namespace, f"PyTorchJob {self._name}", self._uid)
        for pod in self._pods:
            if not found and not _runs(pod):
                found = reasons.events_of(self._api, self._api.namespace, f"pod {pod.metadata.name}", pod.metadata.uid)
        return found[:1] or self._nothing_known()

    def _nothing_known(self) -> list[Cause]:
        if self._pods or self._waiting.seconds < 5 * _QUIET_SECONDS:
            return []
        return [Cause("no pods", f"PyTorchJob {self._name} has no pods yet; does the training operator run? See: lossmap doctor --cluster")]

    def _judge(self, causes: list[Cause]) -> None:
        waiting, limit = self._waiting, self._request.cluster.start_minutes
        for cause in causes:
            self._tell(cause)
            waiting.latest = cause
            if cause.hopeless and waiting.seconds - waiting.since.setdefault(cause.key, waiting.seconds) >= _HOPELESS_SECONDS:
                raise TrainingError(f"training cannot start: {cause.text}")
        if waiting.seconds >= limit * 60:
            why = waiting.latest.text if waiting.latest else f"PyTorchJob {self._name} is not ready, for no reason that Kubernetes names"
            raise TrainingError(f"training did not start within cluster.start_minutes ({limit:g}): {why}")

    def _tell(self, cause: Cause) -> None:
        if cause.key not in self._told:
            self._told.add(cause.key)
            self._transcript.say(cause.text)


def _runs(pod: client.V1Pod) -> bool:
    statuses = pod.status.container_statuses or ()
    return pod.status.phase == "Succeeded" or any(status.state.running for status in statuses)


def failure(watch: Watch, transcript: Transcript, request: Request, words: str) -> TrainingError | Interrupted:
    """Why a job ended without a result, in one line, the likeliest reason first."""
    listener, spoken = transcript.listener, transcript.last_words()
    if listener.reason:
        return TrainingError(f"training failed: {listener.reason}")
    if watch.is_out_of_memory() or (listener.killed and not watch.losses):
        memory = request.cluster.training.memory
        return TrainingError(f"training ran out of memory (limit {memory}); raise cluster.training.memory, or lower training.batch_size")
    if "longer than specified deadline" in words:
        return TrainingError(f"training took longer than cluster.hours ({request.cluster.hours:g}); raise it and retry: training goes on from its checkpoint")
    if listener.stopped:
        return Interrupted(listener.stopped)
    parts = [*watch.losses[-2:], listener.loss, *(f"{who}: {last}" for who, last in sorted(spoken.items())), words]
    return TrainingError(f"training failed: {'; '.join(part for part in parts if part) or 'the job ended without a word'}")
