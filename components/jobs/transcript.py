"""What the pods of a training say, by rank: to the step's log, to the listeners, and kept in part for an
error's message.
"""

import json
import queue
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from kubernetes import client

from lossmap.components.jobs import logs
from lossmap.components.jobs.connection import Api, ApiError
from lossmap.components.training.listen import Listener

Say = Callable[[str], None]  # takes one line

_RANK = re.compile(r"\[rank (\d+)\]: ?(.*)", re.DOTALL)
_COUNTED = ('{"event": "progress"', '{"event": "epoch"')  # the listeners' business, many lines a second
_KEPT = 30
_DRAIN_SECONDS = 10.0


class Transcript:
    """Follows the pods' logs, each in a thread of its own; listeners are called by the thread that calls
    `hear`.

    Args:
        api: the cluster.
        container: name of the pods' container that trains.
        listener: what the processes' events come to.
        say: gets every line but progress.
    """

    def __init__(self, api: Api, container: str, listener: Listener, say: Say):
        self._api, self._container, self.say, self.listener = api, container, say, listener
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self._threads: dict[str, threading.Thread] = {}
        self._ended = threading.Event()
        self._last: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._ranks_alone = False

    def hear_ranks_alone(self) -> None:
        """From now on pass over what torchrun itself says, which of its end by a signal is a traceback."""
        self._ranks_alone = True

    def follow(self, pods: list[client.V1Pod]) -> None:
        """Begin to follow those of the pods that are not followed yet."""
        for pod in pods:
            if pod.metadata.uid not in self._threads:
                thread = threading.Thread(
                    target=self._read, args=(pod,), name=f"log of {pod.metadata.name}", daemon=True
                )
                self._threads[pod.metadata.uid] = thread
                thread.start()

    def hear(self, seconds: float) -> None:
        """Pass on what comes within some seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                self._hear(*self._lines.get(timeout=left))
            except queue.Empty:
                return

    def close(self) -> None:
        """Pass on the rest of the logs of pods that have ended."""
        self._ended.set()
        end = time.monotonic() + _DRAIN_SECONDS
        while any(thread.is_alive() for thread in self._threads.values()) and time.monotonic() < end:
            self.hear(0.2)
        while not self._lines.empty():
            self._hear(*self._lines.get())

    def last_words(self, count: int = 3) -> dict[str, str]:
        """The last lines of everybody who said something that is no event, joined to one; by `rank N` or
        name of pod.
        """
        return {speaker: " | ".join(list(lines)[-count:]) for speaker, lines in self._last.items()}

    def _read(self, pod: client.V1Pod) -> None:
        try:
            for line in logs.follow(self._api, pod, self._container, self._ended):
                self._lines.put((pod.metadata.name, line))
        except ApiError as error:
            self._lines.put((pod.metadata.name, f"the log cannot be read: {error}"))

    def _hear(self, pod: str, line: str) -> None:
        ranked = _RANK.fullmatch(line)
        if self._ranks_alone and not ranked:
            return
        speaker, text = (f"rank {ranked[1]}", ranked[2]) if ranked else (pod, line)
        self.listener.hear(text)
        if not text.startswith(_COUNTED):
            self.say(f"{speaker}: {text}")
        if text.strip() and not _is_event(text):
            self._last[speaker].append(" ".join(text.split()))


def _is_event(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
