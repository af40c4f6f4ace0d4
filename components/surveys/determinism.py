"""What makes the same computation give the same bits every time, on any number of cores."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

from lossmap.components.core.determinism import use_deterministic_algorithms


def compute_deterministically() -> None:
    """One thread of torch, and only algorithms that give the same bits every time."""
    torch.set_num_threads(1)
    use_deterministic_algorithms()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """While this is open, NumPy's and SciPy's linear algebra uses one thread: the last bits of a sum depend
    on how many share it. torch's threads stay as they are set inside.
    """
    # threadpool_limits would, at its end, give OpenMP its threads back, too: torch's.
    with ThreadpoolController().select(user_api="blas").limit(limits=1):
        yield
