"""What makes the same computation give the same bits every time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def use_deterministic_algorithms() -> None:
    """Take only algorithms that give the same bits every time, and refuse what has none.

    As torch.use_deterministic_algorithms(True), which imports torch.compile for seconds. That also writes NaN
    into all new memory, to find kernels which read what nobody wrote: some percent of the time of a network
    of small convolutions, and left out here.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when a GPU is first used
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def torch_as_before() -> Iterator[None]:
    """Afterwards torch has the mode and the number of threads that it had."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        torch.set_deterministic_debug_mode(mode)
        torch.set_num_threads(threads)
