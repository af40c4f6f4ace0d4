"""Evaluates a run's tiles: by several processes, or in this one."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Event

from lossmap.components.core.errors import Interrupted, LossmapError
from lossmap.components.core.processes import (
    keep_freed_memory,
    process_context,
    process_pool,
    processes_starting,
)
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.problems import TileEvaluator
from lossmap.components.surveys.tiles import Tile

# Yields each tile when the store has it. Tiles that are under way when somebody stops to listen go on, and
# the next call may ask for them.
Work = Callable[[Sequence[Tile]], Iterator[Tile]]


@contextmanager
def workers(run: Run, count: int) -> Iterator[Work]:
    """Processes that evaluate tiles; each tile is written as soon as it is finished, so that nothing finished
    is lost when this is interrupted.

    Raises:
        LossmapError: a worker was killed.
    """
    stopping = process_context().Event()  # set when this process is interrupted
    executor = process_pool(count, _start, run, stopping)

    running: dict[Future[None], Tile] = {}

    def work(tiles: Sequence[Tile]) -> Iterator[Tile]:
        asked, begun = {tile.key for tile in tiles}, {tile.key for tile in running.values()}
        waiting = deque(tile for tile in tiles if tile.key not in begun)
        while waiting or running:
            with processes_starting():
                # No more than there are workers, so that the next call's tiles come before what waits now.
                while waiting and len(running) < count:
                    tile = waiting.popleft()
                    running[executor.submit(_evaluate, tile)] = tile
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                tile = running.pop(future)
                future.result()
                if tile.key in asked:
                    yield tile

    try:
        yield work
    except BrokenProcessPool:
        raise LossmapError(
            f"a process evaluating the surface of {run.name} was killed, perhaps out of memory; finished"
            f" tiles are kept: go on with --resume {run.name}, with fewer landscape.workers if memory is"
            " short"
        ) from None
    finally:
        stopping.set()
        executor.shutdown(cancel_futures=True)


# What a worker process keeps between tiles.
_worker: dict[str, TileEvaluator] = {}


def _start(run: Run, stopping: Event) -> None:
    keep_freed_memory()
    _worker["this"] = TileEvaluator(run, partial(_check, stopping))


def _check(stopping: Event) -> None:
    if stopping.is_set():
        raise Interrupted("the survey was asked to stop")


def _evaluate(tile: Tile) -> None:
    _worker["this"].evaluate(tile)


@contextmanager
def in_this_process(run: Run, _count: int) -> Iterator[Work]:
    """As `workers`, without processes: for a network that was handed over in Python, which no other process
    can make.
    """
    evaluator = TileEvaluator(run)

    def work(tiles: Sequence[Tile]) -> Iterator[Tile]:
        for tile in tiles:
            evaluator.evaluate(tile)
            yield tile

    yield work
