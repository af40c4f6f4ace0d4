"""Evaluates a run's tiles: by several processes, or in this one."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event

from lossmap.components.core.errors import Interrupted, LossmapError
from lossmap.components.core.processes import processes_starting
from lossmap.components.stores.objects import open_store
from lossmap.components.surveys.problems import TileEvaluator
from lossmap.components.surveys.tiles import Tile

Work = Callable[[Sequence[Tile]], Iterator[Tile]]  # yields each tile when the store has it


@contextmanager
def workers(store_uri: str, run_id: str, count: int) -> Iterator[Work]:
    """Processes that evaluate tiles; each tile is written as soon as it is finished, so that nothing finished
    is lost when this is interrupted.

    Raises:
        LossmapError: a worker was killed.
    """
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    executor = ProcessPoolExecutor(count, context, _start, (store_uri, run_id, stopping))

    def work(tiles: Sequence[Tile]) -> Iterator[Tile]:
        with processes_starting():
            futures = {executor.submit(_evaluate, tile): tile for tile in tiles}
        for future in as_completed(futures):
            future.result()
            yield futures[future]

    try:
        yield work
    except BrokenProcessPool:
        raise LossmapError(
            f"a process evaluating the surface of {run_id} was killed, perhaps for want of memory; finished"
            f" tiles are kept: go on with --resume {run_id}, with fewer landscape.workers if memory is short"
        ) from None
    finally:
        stopping.set()
        executor.shutdown(cancel_futures=True)


# What a worker process keeps between tiles.
_worker: dict[str, TileEvaluator] = {}


def _start(store_uri: str, run_id: str, stopping: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then sets `stopping`
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker["this"] = TileEvaluator(open_store(store_uri), run_id, partial(_check, stopping))


def _check(stopping: Event) -> None:
    if stopping.is_set():
        raise Interrupted("the survey was asked to stop")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _evaluate(tile: Tile) -> None:
    _worker["this"].evaluate(tile)


@contextmanager
def in_this_process(store_uri: str, run_id: str, _count: int) -> Iterator[Work]:
    """As `workers`, without processes: for a network that was handed over in Python, which no other process
    can make.
    """
    evaluator = TileEvaluator(open_store(store_uri), run_id)

    def work(tiles: Sequence[Tile]) -> Iterator[Tile]:
        for tile in tiles:
            evaluator.evaluate(tile)
            yield tile

    yield work
