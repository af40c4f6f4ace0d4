"""Telling MLflow how training goes, while training goes on."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from lossmap.components.core.secrets import public_line

_logger = logging.getLogger(__name__)
_LONGEST_PAUSE = 60.0

Epoch = Mapping[str, float]


class EpochTracker(Protocol):
    """What is needed of a started RunTracker."""

    def log_epochs(self, epochs: Sequence[Epoch]) -> None:
        """Log the metrics of epochs, as far as they are not logged yet."""


class BackgroundTracker:
    """Sends epochs to MLflow from a thread of its own: training neither waits for MLflow nor fails with it.

    What could not be sent is tried again at a later epoch, after pauses of 1, 2, 4, … 60 seconds, and once
    more at the end.

    Args:
        open_tracker: makes the started tracker; called in the thread, because importing MLflow alone takes
            seconds, and again after a failure.
    """

    def __init__(self, open_tracker: Callable[[], EpochTracker]):
        self._open = open_tracker
        self._tracker: EpochTracker | None = None
        self._queue: queue.SimpleQueue[Epoch | None] = queue.SimpleQueue()
        self._pending: list[Epoch] = []
        self._given = self._sent = self._failures = 0
        self._next_try = 0.0
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def send(self, epoch: Epoch) -> None:
        """Hand over the metrics of an epoch; returns at once."""
        self._given += 1
        self._queue.put(dict(epoch))

    def close(self, timeout: float) -> int:
        """Wait at most `timeout` seconds for what is under way; returns how many epochs were not sent."""
        self._queue.put(None)
        self._thread.join(timeout)
        return self._given - self._sent

    def _work(self) -> None:
        self._try()  # the run is to be seen in MLflow as soon as it begins
        ended = False
        while not ended:
            waiting = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get())
            ended = None in waiting
            self._pending += [epoch for epoch in waiting if epoch is not None]
            if ended or time.monotonic() >= self._next_try:
                self._try()

    def _try(self) -> None:
        try:
            self._tracker = self._tracker or self._open()
            if self._pending:
                self._tracker.log_epochs(self._pending)
        except Exception as error:  # whatever it is, training goes on
            self._note_failure(error)
        else:
            self._sent += len(self._pending)
            self._pending, self._failures = [], 0

    def _note_failure(self, error: Exception) -> None:
        if self._failures == 0:  # one line for one outage
            _logger.warning(
                "%s; training goes on, and what is missing is sent later",
                public_line(str(error)) or type(error).__name__,
            )
        self._tracker = None
        self._next_try = time.monotonic() + min(2.0**self._failures, _LONGEST_PAUSE)
        self._failures += 1
