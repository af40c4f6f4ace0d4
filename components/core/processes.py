"""How processes begin, and end with those that started them."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def processes_starting() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM back: a process that is cut off while it starts ends with a traceback of its
    own.

    The processes inherit that SIGINT is blocked, since a terminal sends Ctrl-C to all of them.
    """
    if threading.current_thread() is not threading.main_thread():  # no signal gets there
        yield
        return
    held: list[int] = []
    handlers = {
        kind: signal.signal(kind, lambda number, _frame: held.append(number))
        for kind in (signal.SIGINT, signal.SIGTERM)
    }
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
        for number in held[:1]:
            signal.raise_signal(number)


def stop_with_parent() -> None:
    """From now on this process is stopped as by SIGTERM once its standard input ends: the parent, which
    holds the other end of it, is gone.
    """
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
