"""Evaluates a run's tiles in this process: for a network that was handed over in Python, which no other process can make."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lossmap.components.landscape.evaluators import evaluator
from lossmap.components.landscape.pool import Work
from lossmap.components.landscape.tiles import Evaluate, Part, Tile, evaluate_tile
from lossmap.components.stores.objects import open_store


@contextmanager
def in_this_process(store_uri: str, run_id: str, _count: int) -> Iterator[Work]:
    """As pool.workers, without processes."""
    store = open_store(store_uri)

    def work(tiles: Sequence[Tile]) -> Iterator[Tile]:
        evaluators: dict[Part, Evaluate] = {}
        for tile in tiles:
            if tile.part not in evaluators:
                evaluators = {tile.part: evaluator(store, run_id, tile.part)}
            evaluate_tile(store, tile, evaluators[tile.part])
            yield tile

    yield work
