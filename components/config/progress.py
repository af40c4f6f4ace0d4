"""How a long step says how far it is."""

import sys
import time
from collections.abc import Callable

Progress = Callable[[int, int, str], None]  # done, total, detail


def silent(done: int, total: int, detail: str = "") -> None:
    """Say nothing."""


class Printed:
    """Progress as plain lines for logs: one every `every` seconds and one at the end, with the time left."""

    def __init__(self, stage: str, every: float = 10.0):
        self._stage, self._every = stage, every
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """Print a line where one is due."""
        now = time.monotonic()
        if done < total and now - self._last < self._every:
            return
        self._last = now
        left = (now - self._start) / done * (total - done) if done else float("nan")
        print(f"{self._stage}: {done}/{total} {detail} ({left:.0f} s left)", file=sys.stderr, flush=True)
