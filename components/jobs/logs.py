"""The log of a pod's container, line by line, each line once: across cuts of the connection and restarts
of the container.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import urllib3
from kubernetes import client

from lossmap.components.jobs.connection import Api, ApiError, absent_is_none

_PAUSE_SECONDS = 1.0
_SILENCE_SECONDS = 30.0  # after which a quiet connection is made anew: it may have died without a word
_OVERLAP = timedelta(seconds=2)  # standard output and standard error may overtake each other by as much


def follow(
    api: Api, pod: client.V1Pod, container: str, ended: threading.Event | None = None
) -> Iterator[str]:
    """Every line of a container, until its pod ends or is gone.

    Args:
        api: the cluster.
        pod: the pod; another of the same name is not followed.
        container: name of the container, which need not have started.
        ended: set by whoever is no longer interested, once there will be nothing new.

    Raises:
        ApiError: the log is refused.
    """
    ended = ended or threading.Event()
    lines, restarts = _Lines(api, pod, container), 0
    while True:
        last = ended.is_set()
        current = absent_is_none(
            lambda: api.core.read_namespaced_pod(pod.metadata.name, pod.metadata.namespace)
        )
        if current is None or current.metadata.uid != pod.metadata.uid:
            return
        status = _status(current, container)
        if status and status.restart_count > restarts:
            yield from lines.read(previous=True)
            lines, restarts = _Lines(api, pod, container), status.restart_count
        if status and (status.state.running or status.state.terminated):
            yield from lines.read(follow=not last)
        if last or current.status.phase in ("Succeeded", "Failed"):
            return
        ended.wait(_PAUSE_SECONDS)


def read(api: Api, pod: client.V1Pod, container: str) -> Iterator[str]:
    """The lines of a container until now."""
    return _Lines(api, pod, container).read()


class _Lines:
    """The lines of one start of a container; a second reading goes on where the first one ended."""

    def __init__(self, api: Api, pod: client.V1Pod, container: str):
        self._api, self._pod, self._container = api, pod, container
        # the lines of the last moments before the end, to be known again
        self._recent: deque[tuple[datetime, str]] = deque()

    def read(self, follow: bool = False, previous: bool = False) -> Iterator[str]:
        """Lines that were not read before; an end without a word is an end like another."""
        known, since = Counter(line for _, line in self._recent), self._since()
        for line in _lines(self._open(since, follow=follow, previous=previous)):
            words, _, text = line.partition(" ")
            stamp = _time(words)
            if known[line]:
                known[line] -= 1
            elif stamp and (since is None or stamp >= since):
                self._remember(stamp, line)
                yield text

    def _since(self) -> datetime | None:
        return self._recent[-1][0] - _OVERLAP if self._recent else None

    def _remember(self, stamp: datetime, line: str) -> None:
        self._recent.append((stamp, line))
        while self._recent[0][0] < stamp - _OVERLAP:
            self._recent.popleft()

    def _open(self, since: datetime | None, **flags: bool) -> "urllib3.BaseHTTPResponse | None":
        # read_namespaced_pod_log has no since_time
        query: list[tuple[str, Any]] = [
            ("container", self._container),
            ("timestamps", "true"),
            *((name, str(flag).lower()) for name, flag in flags.items()),
        ]
        if since:
            query.append(("sinceTime", since.isoformat()))
        meta = self._pod.metadata
        call = self._api.core.api_client.call_api
        try:
            answer, *_ = call(
                f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}/log",
                "GET",
                query_params=query,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=(_SILENCE_SECONDS, _SILENCE_SECONDS),
            )
        except ApiError as error:
            if error.status not in (400, 404, 500):  # not started yet, or gone
                raise
            return None
        return answer  # type: ignore[no-any-return]


def _lines(answer: "urllib3.BaseHTTPResponse | None") -> Iterator[str]:
    """Whole lines; what a cut left of the last one is dropped, and comes again."""
    if answer is None:
        return
    rest = b""
    try:
        for chunk in answer.stream(amt=None, decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from _texts(lines)
    except (urllib3.exceptions.HTTPError, OSError):
        return
    finally:
        answer.close()
    yield from _texts([rest] if rest else [])


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    return (line.decode(errors="replace").rstrip("\r") for line in lines)


def _time(words: str) -> datetime | None:
    try:
        return datetime.fromisoformat(words)
    except ValueError:  # of the kubelet, not of the container: "unable to retrieve container logs for …"
        return None


def _status(pod: client.V1Pod, container: str) -> client.V1ContainerStatus | None:
    return next((each for each in pod.status.container_statuses or () if each.name == container), None)
