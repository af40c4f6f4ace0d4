"""How a long step says how far it is."""

import sys
import time
from collections.abc import Callable

_MINUTE, _HOUR = 60, 3600


class AtMost(int):
    """A total that may turn out to be less."""


def duration(seconds: float) -> str:
    """A length of time for people: seconds up to 100, minutes up to 100, else hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"


def counted(done: int, total: int) -> str:
    """How far it is: 3/7, or 3 of at most 7."""
    return f"{done:,} of at most {total:,}" if isinstance(total, AtMost) else f"{done}/{total}"


def left(seconds: float, total: int) -> str:
    """How long it will take."""
    return f"at most {duration(seconds)} left" if isinstance(total, AtMost) else f"{duration(seconds)} left"


Progress = Callable[[int, int, str], None]  # done, total, detail


def silent(done: int, total: int, detail: str = "") -> None:
    """Say nothing."""


class Printed:
    """Progress as plain lines for logs: one every `every` seconds and one at the end, with the time left.

    Both count from the first call in which anything is done, so that what came before, such as starting
    processes, is not taken for slowness.
    """

    def __init__(self, stage: str, every: float = 10.0):
        self._stage, self._every = stage, every
        self._begun: float | None = None
        self._first: tuple[float, int] | None = None
        self._printed = 0.0

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """Print a line where one is due."""
        now = time.monotonic()
        self._begun = now if self._begun is None else self._begun
        if self._first is None:
            self._printed = now
        start, before = self._first or (now, done)
        self._first = (start, before) if done else None
        if done < total and (done == before or now - self._printed < self._every):
            return
        self._printed = now
        remaining = (now - start) / (done - before) * (total - done) if done > before else 0.0
        parts = (
            f"{self._stage}: {counted(done, total)}",
            detail,
            f"({left(remaining, total)})" if done < total else f"({duration(now - self._begun)})",
        )
        print(*(part for part in parts if part), file=sys.stderr, flush=True)
