"""Evaluates a run's tiles by several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event

from lossmap.components.config.errors import Interrupted, LossmapError
from lossmap.components.config.progress import Progress, silent
from lossmap.components.landscape.grid import Result
from lossmap.components.landscape.survey import evaluator
from lossmap.components.landscape.tiles import Evaluate, Tile, evaluate_tile
from lossmap.components.stores.objects import Store, open_store

# What a worker process keeps between tiles.
_worker: dict[str, tuple[Store, Evaluate]] = {}


def evaluate_tiles(store_uri: str, run_id: str, surface: str, tiles: Sequence[Tile], workers: int, progress: Progress = silent) -> None:
    """Evaluate the tiles; each is written as soon as it is finished, so that nothing finished is lost when this is interrupted.

    Raises:
        LossmapError: a worker was killed.
    """
    if not tiles:
        return
    total, done = sum(len(tile.points) for tile in tiles), 0
    progress(0, total, "")
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    executor = ProcessPoolExecutor(min(workers, len(tiles)), context, _start, (store_uri, run_id, stopping))
    try:
        for future in as_completed([executor.submit(_evaluate, surface, tile) for tile in tiles]):
            done += future.result()
            progress(done, total, "")
    except BrokenProcessPool:
        raise LossmapError(
            f"a process evaluating the surface of {run_id} was killed, perhaps for want of memory; "
            f"finished tiles are kept: go on with --resume {run_id}, with fewer landscape.workers if memory is short"
        ) from None
    finally:
        stopping.set()
        executor.shutdown(cancel_futures=True)


def _start(store_uri: str, run_id: str, stopping: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then sets `stopping`
    threading.Thread(target=_end_with_parent, daemon=True).start()
    store = open_store(store_uri)
    evaluate = evaluator(store, run_id)

    def evaluate_unless_stopping(x: float, y: float) -> Result:
        if stopping.is_set():
            raise Interrupted("the survey was asked to stop")
        return evaluate(x, y)

    _worker["state"] = store, evaluate_unless_stopping


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _evaluate(surface: str, tile: Tile) -> int:
    store, evaluate = _worker["state"]
    evaluate_tile(store, surface, tile, evaluate)
    return len(tile.points)
