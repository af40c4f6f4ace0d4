"""Whoever starts a training waits for it; a training that nobody waits for any longer stops.

On one machine the launcher is a process. On a cluster it is a step's pod, which Kubernetes kills without a
word when the pipeline run is terminated: it therefore changes an object in the store every few seconds, and
rank 0 looks whether it still does.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from lossmap.components.core.errors import Interrupted, StoreError
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store

_BEAT_SECONDS = 5.0
# Of looking in vain; while the store is out of reach nothing is known, and nothing counts.
SILENCE_SECONDS = 25.0
_logger = logging.getLogger(__name__)


class Abandoned(Interrupted):
    """Nobody waits for the training any longer."""


class Launcher(Protocol):
    """Whoever waits for the training."""

    def gone(self) -> bool:
        """Whether it is known to be gone."""


class NoLauncher:
    """A person who started torchrun by hand."""

    def gone(self) -> bool:
        """Never: a person may look again tomorrow."""
        return False


class ProcessLauncher:
    """A process of this machine."""

    def __init__(self, process: int):
        self._process = process

    def gone(self) -> bool:
        """Whether there is no such process."""
        try:
            os.kill(self._process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class StoreLauncher:
    """A pod that changes an object in the store as long as it waits."""

    def __init__(
        self, store: Store, training: str, beat: float = _BEAT_SECONDS, silence: float = SILENCE_SECONDS
    ):
        self._key, self._store, self._beat, self._silence = layout.launcher(training), store, beat, silence
        self._last: bytes | None = None
        self._silent = 0.0
        threading.Thread(target=self._look, name="launcher", daemon=True).start()

    def gone(self) -> bool:
        """Whether the object was there unchanged each time for longer than `silence` seconds."""
        return self._silent > self._silence

    def _look(self) -> None:
        while not self.gone():
            started = time.monotonic()
            found = self._read()
            time.sleep(self._beat)
            if found is not None:
                self._silent = self._silent + time.monotonic() - started if found == self._last else 0.0
                self._last = found

    def _read(self) -> bytes | None:
        try:
            return self._store.read(self._key)
        except StoreError:
            return None


@contextmanager
def beating(store: Store, training: str, beat: float = _BEAT_SECONDS) -> Iterator[None]:
    """Tell the processes of a training that somebody waits for them, as long as the block is running."""
    ended = threading.Event()
    thread = threading.Thread(
        target=_beat, args=(lambda: _write(store, training), ended, beat), name="heartbeat", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat(write: Callable[[], None], ended: threading.Event, seconds: float) -> None:
    write()
    while not ended.wait(seconds):
        write()


def _write(store: Store, training: str) -> None:
    try:
        store.write(layout.launcher(training), f"{os.getpid()} {time.time()}".encode())
    except (
        StoreError
    ) as error:  # the next beat may come through, and a training that cannot look does not stop
        _logger.warning("%s; the training goes on", error)
