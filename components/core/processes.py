"""How processes begin, and end with those that started them."""

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

# By name, since nothing of it is imported here. The first one sets what torch reads while it is imported; the
# last one is what DistributedDataParallel imports when it is made. None may ask for GPUs: after that no
# forked process could use one.
PRELOADED = (
    "lossmap.components.training.main",
    "lossmap.components.training.launch",
    "lossmap.components.surveys.problems",
    "lossmap.components.surveys.pool",
    "lossmap.components.data.decode",
    "torch.distributed.launcher.api",
    "torch._dynamo",
)
# glibc's mallopt: how much may be free at the end of the heap, and from what size on a block is mapped anew
# each time. Both are bytes; old versions refuse more than the second value.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_THRESHOLDS = (1 << 30, 1 << 25)
# Where Python's own code of an import is, in a frame, and the seconds that an interrupt waits for one.
_IMPORTER, _LONGEST_IMPORT = "<frozen importlib._bootstrap>", 10.0
# macOS has fork, too, but its system libraries, which torch loads, do not survive it.
FORKS = sys.platform == "linux"
# The server listens in a folder of its own in the one for temporary files: /pymp-xxxxxxxx/listener-xxxxxxxx,
# of 108 bytes in all at most.
_LONGEST_TEMPORARY_FOLDER = 72


def process_context() -> "ForkServerContext | SpawnContext":
    """How this platform starts processes: forked from a server that has imported torch and ours once, spawned
    where that is not safe.

    The server ends with the last of the processes that may use it. Nothing of its environment but what
    libraries read while they are loaded matters: hand `os.environ` to `adopt_environment`.
    """
    if not _has_fork_server():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def start_fork_server() -> None:
    """Have the server import what it has to while this process does other things; without this it begins
    with the first process.
    """
    if not _has_fork_server():
        return
    process_context()
    with processes_starting():
        forkserver.ensure_running()


def process_pool(count: int, initializer: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Processes with this one's environment, each begun by `initializer(*arguments)`; submit to it under
    `processes_starting`.

    Ctrl-C is for this process, which ends them. They also end when it is gone.
    """
    return ProcessPoolExecutor(count, process_context(), _begin, (dict(os.environ), initializer, arguments))


def adopt_environment(environment: Mapping[str, str]) -> None:
    """Give this process the environment of the one that asked for it: the fork server's is as old as the
    server.
    """
    os.environ.clear()
    os.environ.update(environment)


@contextmanager
def processes_starting() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM back: a process that is cut off while it starts ends with a traceback of its
    own.

    The processes inherit that SIGINT is blocked, since a terminal sends Ctrl-C to all of them. They do not
    import the script that runs here, which may be standard input, or call lossmap outside of `if __name__ ==
    "__main__"`: nothing of it is needed there.
    """
    with _without_script(), _without_signals():
        yield


@contextmanager
def _without_script() -> Iterator[None]:
    """While this is open, multiprocessing finds no `__main__` that it could have a process import."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextmanager
def _without_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # no signal gets there
        yield
        return
    # multiprocessing's; where it starts inside the block, it lets SIGINT through again
    resource_tracker.ensure_running()
    held: list[int] = []
    try:
        with noted_signals() as held:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    finally:
        for number in held[:1]:
            signal.raise_signal(number)


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """While this is open, SIGINT and SIGTERM do nothing but add their numbers to the list that it gives.
    Other threads than the main one hear neither.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    handlers = {kind: signal.signal(kind, lambda number, _frame: noted.append(number)) for kind in kinds}
    try:
        yield noted
    finally:
        for kind, handler in handlers.items():
            signal.signal(kind, handler)


def interrupts() -> Callable[[int, FrameType | None], None]:
    """A handler of signals that raises KeyboardInterrupt: at once, or, where a module is being imported, when
    it has been, ten seconds later at most.

    An import that is cut off leaves its module half made; and one that torch's C++ asked for, as a network's
    first backward pass does, ends the process by abort.
    """
    since: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal since
        now = time.monotonic()
        since = now if since is None else since
        if now < since + _LONGEST_IMPORT and _imports(frame):
            again = threading.Timer(0.02, signal.pthread_kill, (threading.main_thread().ident, number))
            again.daemon = True
            again.start()
            return
        since = None
        raise KeyboardInterrupt

    return interrupt


def _imports(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != _IMPORTER:
        frame = frame.f_back
    return frame is not None


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, for what it allocates next. Only with glibc.

    Otherwise a network's outputs go back to the system after each forward pass, and the next one faults for
    each of their pages: ResNet-20 on batches of 128 images of 32x32 33,000 times a point, a quarter of the
    time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for option in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            any(mallopt(option, threshold) for threshold in _THRESHOLDS)


def stop_with_parent() -> None:
    """From now on this process is stopped as by SIGTERM once its standard input ends: the parent, which
    holds the other end of it, is gone.
    """
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _has_fork_server() -> bool:
    return FORKS and len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_TEMPORARY_FOLDER


def _begin(
    environment: Mapping[str, str], initializer: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    for kind in (signal.SIGINT, signal.SIGHUP):  # a terminal's, for the process that ends this one
        signal.signal(kind, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    adopt_environment(environment)
    initializer(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
