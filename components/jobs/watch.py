"""Waiting for a training job: what it waits for, what it loses, how it ends."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from kubernetes import client

from lossmap.components.core.errors import Interrupted, LossmapError, TrainingError, TrainingKilled
from lossmap.components.jobs import kueue, reasons
from lossmap.components.jobs.connection import Api
from lossmap.components.jobs.kind import Job, Kind
from lossmap.components.jobs.reasons import Cause
from lossmap.components.jobs.request import Request, name_of
from lossmap.components.jobs.transcript import Transcript

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class Pace:
    """How patient a launcher is; in seconds.

    Attributes:
        poll: between two looks at the cluster.
        quiet: what lasts less is nothing to tell, such as a pod that the scheduler has not looked at yet.
        hopeless: for which it waits for an image that does not exist; a registry may need a moment to show
            one that was just pushed.
        result: for which a job that succeeded may keep its result waiting, and one whose result is there may
            go on.
    """

    poll: float = 2.0
    quiet: float = 5.0
    hopeless: float = 60.0
    result: float = 30.0


@dataclass
class _Waiting:
    """A time in which a job has too few pods: its beginning, and since when each cause is known; on the
    launcher's clock.
    """

    begun: float = field(default_factory=time.monotonic)
    since: dict[str, float] = field(default_factory=dict)
    latest: Cause | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun


class Arrival:
    """Whether the store has had a result for some seconds. It is asked now and then.

    Args:
        is_there: whether the store has it.
        seconds: for how long.
    """

    def __init__(self, is_there: Callable[[], bool], seconds: float):
        self._is_there, self._seconds = is_there, seconds
        self._next, self._since = time.monotonic() + seconds / 2, math.inf

    def is_settled(self) -> bool:
        """Whether it is there, and has been for so long."""
        now = time.monotonic()
        if self._since == math.inf and now >= self._next:
            self._next = now + self._seconds / 2
            with contextlib.suppress(LossmapError):  # a store that is away for a moment ends no training
                self._since = now if self._is_there() else math.inf
        return now - self._since >= self._seconds


class Watch:
    """One job, from its creation to its end.

    Args:
        api: the cluster.
        kind: of the job.
        request: what the job carries out.
        transcript: follows its pods' logs.
        pace: how patient the launcher is.
        has_result: whether the store has what the job is for.
        signals: those by which the launcher was asked to stop.

    Attributes:
        losses: what ended pods and containers so far, oldest first.
    """

    def __init__(
        self,
        api: Api,
        kind: Kind,
        request: Request,
        transcript: Transcript,
        pace: Pace,
        has_result: Callable[[], bool],
        signals: Sequence[int],
    ):
        self._api, self._kind, self._request, self._name = api, kind, request, name_of(request)
        self._transcript, self._pace = transcript, pace
        self._result, self._signals = Arrival(has_result, pace.result), signals
        self._waiting, self._told, self._held = _Waiting(), set[str](), ""
        self._uid, self._pods, self._identities = "", list[client.V1Pod](), dict[str, tuple[str, str]]()
        self.losses: list[Cause] = []

    def until_it_ends(self) -> tuple[Literal["Succeeded", "Failed", "gone", "done"], str]:
        """Wait; returns how the job ended and the operator's words for it: done where it goes on although its
        result is there.

        Raises:
            TrainingError: it cannot start, or meets an error that another start would meet again.
            Interrupted: the launcher was asked to stop, and is to delete the job.
        """
        while True:
            job = self._kind.get(self._api, self._name, self._api.namespace)
            self._pods = self._api.core.list_namespaced_pod(
                self._api.namespace, label_selector=self._kind.pods_of(self._name)
            ).items
            self._transcript.follow(self._pods)
            self._note_losses()
            if job is None:
                return "gone", ""
            if job.ending or job.is_deleted:
                return job.ending or ("gone", "")
            if self._result.is_settled():
                return "done", ""
            self._uid = job.uid
            self._check_the_start(job)
            self._transcript.hear(self._pace.poll)
            if self._signals:
                raise Interrupted(f"training was asked to stop; {self._kind.name} {self._name} is deleted")
            if self._transcript.listener.reason:
                raise TrainingError(f"training failed: {self._transcript.listener.reason}")

    def _note_losses(self) -> None:
        memory = self._request.cluster.training.memory
        ended = [loss for pod in self._pods for loss in reasons.losses(pod, self._kind.container, memory)]
        for cause in [*self._replaced(), *ended]:
            if cause.key not in self._told:
                self.losses.append(cause)
                self._tell(cause)
        if sum(loss.hopeless for loss in self.losses) > 1:
            raise TrainingError(f"training failed: {self.losses[-1].text}")

    def _replaced(self) -> list[Cause]:
        """Of pods in whose place there are others now, of the same name or of another."""
        newest = {_place(each): each.metadata for each in sorted(self._pods, key=_creation)}
        causes = []
        for place, pod in newest.items():
            name, uid = self._identities.get(place, (pod.name, pod.uid))
            if uid != pod.uid:
                causes.append(Cause(f"{uid} lost", f"pod {name} was lost, and is made anew"))
            self._identities[place] = pod.name, pod.uid
        return causes

    def _check_the_start(self, job: Job) -> None:
        held = self._held_back(job)
        if held not in ("", self._held):
            self._transcript.say(held)
        self._held = held
        enough = self._request.cluster.least_nodes or self._request.nodes
        if held or sum(map(self._runs, self._pods)) >= enough:
            self._waiting = _Waiting()
        else:
            self._judge(self._causes())

    def _held_back(self, job: Job) -> str:
        """Why the job, or the first of its pods that is held back by itself, waits in a queue; empty where
        nothing does.
        """
        if job.is_suspended:
            return kueue.why_suspended(self._api, self._api.namespace, self._name, job)
        gated = next((pod for pod in self._pods if kueue.is_gated(pod)), None)
        return kueue.why_gated(self._api, gated) if gated else ""

    def _causes(self) -> list[Cause]:
        causes = [cause for pod in self._pods if (cause := reasons.cause_of(pod))]
        if causes or self._waiting.seconds < self._pace.quiet:
            return causes
        itself = (f"{self._kind.name} {self._name}", self._uid)
        causes = []
        for name, uid in (itself, *self._kind.related(self._api, self._name, self._api.namespace)):
            causes = causes or reasons.events_of(self._api, self._api.namespace, name, uid)
        for pod in self._pods:
            if not causes and not self._runs(pod):
                causes = reasons.events_of(
                    self._api, self._api.namespace, f"pod {pod.metadata.name}", pod.metadata.uid
                )
        return causes[:1] or self._nothing_known()

    def _nothing_known(self) -> list[Cause]:
        if self._pods or self._waiting.seconds < 5 * self._pace.quiet:
            return []
        return [
            Cause(
                "no pods",
                f"{self._kind.name} {self._name} has no pods yet; does its operator run? See: lossmap doctor"
                " --cluster",
            )
        ]

    def _judge(self, causes: list[Cause]) -> None:
        waiting, limit = self._waiting, self._request.cluster.start_minutes
        waiting.latest = causes[0] if causes else waiting.latest
        for cause in causes:
            self._tell(cause)
            if (
                cause.hopeless
                and waiting.seconds - waiting.since.setdefault(cause.key, waiting.seconds)
                >= self._pace.hopeless
            ):
                raise TrainingError(f"training cannot start: {cause.text}")
        if waiting.seconds >= limit * 60:
            why = f"{self._kind.name} {self._name} is not ready, for no reason that Kubernetes names"
            if waiting.latest:
                why = waiting.latest.text
            raise TrainingError(f"training did not start within cluster.start_minutes ({limit:g}): {why}")

    def _tell(self, cause: Cause) -> None:
        if cause.key not in self._told:
            self._told.add(cause.key)
            self._transcript.say(cause.text)

    def _runs(self, pod: client.V1Pod) -> bool:
        statuses = pod.status.container_statuses or ()
        training = [each for each in statuses if each.name == self._kind.container]
        return pod.status.phase == "Succeeded" or any(status.state.running for status in training)


def _place(pod: client.V1Pod) -> str:
    """What a pod and the one that replaces it have in common: its index in an indexed Job, else its name."""
    index: str = (pod.metadata.labels or {}).get(_INDEX_LABEL, pod.metadata.name)
    return index


def _creation(pod: client.V1Pod) -> datetime:
    created: datetime = pod.metadata.creation_timestamp
    return created


def failure(
    watch: Watch, transcript: Transcript, request: Request, state: str, message: str
) -> TrainingError | Interrupted:
    """Why a job ended (Succeeded or Failed) without a result, in one line, the likeliest reason first."""
    listener, spoken = transcript.listener, transcript.last_words()
    if listener.reason:
        return TrainingError(f"training failed: {listener.reason}")
    hopeless = [loss.text for loss in watch.losses if loss.hopeless]
    if hopeless:
        return TrainingError(f"training failed: {hopeless[-1]}")
    if listener.killed:
        return TrainingKilled(
            "a training process was killed, perhaps out of memory;"
            f" {reasons.more_memory(request.cluster.training.memory)}"
        )
    if "longer than specified deadline" in message:
        return TrainingError(
            f"training took longer than cluster.hours ({request.cluster.hours:g}); raise it and retry:"
            " training goes on from its checkpoint"
        )
    if state == "Succeeded" and listener.stopped:
        return Interrupted(listener.stopped)
    parts = [
        *(loss.text for loss in watch.losses[-2:]),
        listener.loss,
        listener.stopped,
        *(f"{who}: {last}" for who, last in sorted(spoken.items())),
        message,
    ]
    return TrainingError(
        f"training failed: {'; '.join(part for part in parts if part) or 'the job ended without a word'}"
    )
