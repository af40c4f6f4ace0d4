"""Evaluates a run's tiles in this process: for a network that was handed over in Python, which no other process can make."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lossmap.components.landscape.evaluators import TileEvaluator
from lossmap.components.landscape.pool import Work
from lossmap.components.landscape.tiles import Tile
from lossmap.components.stores.objects import open_store


@contextmanager
def in_this_process(store_uri: str, run_id: str, _count: int) -> Iterator[Work]:
    """As pool.workers, without processes."""
    evaluator = TileEvaluator(open_store(store_uri), run_id)

    def work(tiles: Sequence[Tile]) -> Iterator[Tile]:
        for tile in tiles:
            evaluator.evaluate(tile)
            yield tile

    yield work
