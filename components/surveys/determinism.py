"""What makes the same computation give the same bits every time, on any number of cores."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


def compute_deterministically() -> None:
    """One thread of torch, and only algorithms that give the same bits every time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it matrix products on a GPU do not
    torch.set_num_threads(1)
    # as use_deterministic_algorithms(True), which imports torch.compile for seconds
    torch.set_deterministic_debug_mode("error")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """While this is open, NumPy's and SciPy's linear algebra uses one thread: the last bits of a sum depend
    on how many share it.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield
