"""Several processes that call one function, each as another rank."""

from collections.abc import Callable

import torch.multiprocessing

from lossmap.components.core.processes import process_context


def as_ranks(count: int, call: Callable[..., None], *arguments: object) -> None:
    """`call(rank, *arguments)` in each of `count` processes, forked where lossmap's own are."""
    kind = process_context().get_start_method()
    torch.multiprocessing.start_processes(call, arguments, count, start_method=kind)
