"""Evaluates a run's tiles by several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from lossmap.components.config.errors import LossmapError
from lossmap.components.config.progress import Progress, silent
from lossmap.components.landscape.surface import Evaluator
from lossmap.components.landscape.survey import evaluator
from lossmap.components.landscape.tiles import Tile, evaluate_tile
from lossmap.components.stores.objects import Store, open_store

# What a worker process keeps between tiles.
_worker: dict[str, tuple[Store, Evaluator]] = {}


def evaluate_tiles(store_uri: str, run_id: str, surface: str, tiles: Sequence[Tile], workers: int, progress: Progress = silent) -> None:
    """Evaluate the tiles; each is written as soon as it is finished, so that nothing finished is lost when this is interrupted.

    Raises:
        LossmapError: a worker was killed.
    """
    if not tiles:
        return
    total, done = sum(len(tile.points) for tile in tiles), 0
    progress(0, total, "")
    executor = ProcessPoolExecutor(min(workers, len(tiles)), multiprocessing.get_context("spawn"), _start, (store_uri, run_id))
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
        executor.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(store_uri: str, run_id: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets running tiles finish
    threading.Thread(target=_end_with_parent, daemon=True).start()
    store = open_store(store_uri)
    _worker["state"] = store, evaluator(store, run_id)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _evaluate(surface: str, tile: Tile) -> int:
    store, evaluate = _worker["state"]
    evaluate_tile(store, surface, tile, evaluate)
    return len(tile.points)
