"""Evaluates a run's tiles by several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from typing import Any

from lossmap.components.config.errors import Interrupted, LossmapError
from lossmap.components.landscape.evaluators import evaluator
from lossmap.components.landscape.tiles import Evaluate, Tile, evaluate_tile
from lossmap.components.stores.objects import open_store

Work = Callable[[Sequence[Tile]], Iterator[Tile]]  # yields each tile when the store has it


@contextmanager
def workers(store_uri: str, run_id: str, count: int) -> Iterator[Work]:
    """Processes that evaluate tiles; each tile is written as soon as it is finished, so that nothing finished is lost when this is interrupted.

    Raises:
        LossmapError: a worker was killed.
    """
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    executor = ProcessPoolExecutor(count, context, _start, (store_uri, run_id, stopping))

    def work(tiles: Sequence[Tile]) -> Iterator[Tile]:
        futures = {executor.submit(_evaluate, tile): tile for tile in tiles}
        for future in as_completed(futures):
            future.result()
            yield futures[future]

    try:
        yield work
    except BrokenProcessPool:
        raise LossmapError(
            f"a process evaluating the surface of {run_id} was killed, perhaps for want of memory; "
            f"finished tiles are kept: go on with --resume {run_id}, with fewer landscape.workers if memory is short"
        ) from None
    finally:
        stopping.set()
        executor.shutdown(cancel_futures=True)


class _Worker:
    """What a worker process keeps between tiles: the evaluator of the part that it is at."""

    def __init__(self, store_uri: str, run_id: str, stopping: Event):
        self.store, self._run, self._stopping = open_store(store_uri), run_id, stopping
        self._part: Any = None
        self._evaluate: Evaluate = self.evaluate

    def evaluate_tile(self, tile: Tile) -> None:
        """Evaluate a tile, unless somebody else has done it."""
        if self.store.exists(tile.key):
            return
        if tile.part != self._part:
            self._part, self._evaluate = tile.part, evaluator(self.store, self._run, tile.part)
        evaluate_tile(self.store, tile, self.evaluate)

    def evaluate(self, x: float, y: float) -> Any:
        """Evaluate a point, unless the survey was asked to stop."""
        if self._stopping.is_set():
            raise Interrupted("the survey was asked to stop")
        return self._evaluate(x, y)


_worker: dict[str, _Worker] = {}


def _start(store_uri: str, run_id: str, stopping: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then sets `stopping`
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker["this"] = _Worker(store_uri, run_id, stopping)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _evaluate(tile: Tile) -> None:
    _worker["this"].evaluate_tile(tile)
