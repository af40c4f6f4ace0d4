"""Tiles: some points of a part of a survey, evaluated together and kept as one immutable object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lossmap.components.core.errors import StoreError
from lossmap.components.core.frozen import Frozen
from lossmap.components.landscape.grid import Point, Result, from_npz, points_digest, to_npz
from lossmap.components.landscape.hessian.convexity import ConvexityResult
from lossmap.components.stores import layout
from lossmap.components.stores.documents import Damaged
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Kind, Part

Evaluate = Callable[[float, float], Any]  # to the kind's type of result


@dataclass(frozen=True)
class Document:
    """A result that is not a row of numbers: JSON."""

    text: str


RESULTS: Mapping[Kind, type] = {
    "loss": Result,
    "trajectory": Result,
    "convexity": ConvexityResult,
    "curvature": Document,
}


class Tile(Frozen):
    """Points of a part; the digest is that of the points."""

    part: Part
    digest: str
    points: tuple[Point, ...]

    @property
    def key(self) -> str:
        """Its place in the store."""
        return layout.tile(self.part.address, self.digest)


def cut(part: Part, points: Sequence[Point], size: int) -> tuple[Tile, ...]:
    """Tiles of at most `size` points, in order."""
    groups = [tuple(points[start : start + size]) for start in range(0, len(points), size)]
    return tuple(Tile(part=part, digest=points_digest(group), points=group) for group in groups)


def evaluate_tile(store: Store, tile: Tile, evaluate: Evaluate) -> None:
    """Evaluate a tile and write it."""
    results = [evaluate(x, y) for x, y in tile.points]
    columns = {
        field.name: np.array([getattr(result, field.name) for result in results])
        for field in fields(RESULTS[tile.part.kind])
    }
    store.write(tile.key, to_npz(points=np.array(tile.points), **columns))


def evaluated_points(run: Run, part: Part) -> dict[Point, Any]:
    """Every point of a part of the run's survey that some tile holds, with its result. Damaged tiles are
    deleted: their points count as missing.
    """
    known: dict[Point, Any] = {}
    for key in run.store.keys(layout.tiles(part.address)):
        try:
            known.update(_results(run, key, RESULTS[part.kind]))
        except Damaged:
            run.store.delete(key)
        except StoreError:
            continue  # somebody else deleted it since it was listed
    return known


def _results(run: Run, key: str, kind: type) -> Mapping[Point, Any]:
    if key not in run.tile_results:
        run.tile_results[key] = _read(run.store, key, kind)
    return run.tile_results[key]


def _read(store: Store, key: str, kind: type) -> dict[Point, Any]:
    content = store.read(key)
    try:
        return _parsed(content, key, kind)
    except Exception as error:  # of a damaged file it can be any
        raise Damaged(f"{key} is no tile, or not the one that its name says") from error


def _parsed(content: bytes, key: str, kind: type) -> dict[Point, Any]:
    arrays = from_npz(content)
    points = [(float(x), float(y)) for x, y in arrays["points"]]
    if key != layout.tile(key.split("/")[1], points_digest(points)):
        raise ValueError(f"{key} does not hold the points that its name says")
    columns = [arrays[field.name].tolist() for field in fields(kind)]
    rows = [
        [tuple(value) if isinstance(value, list) else value for value in row]
        for row in zip(*columns, strict=True)
    ]
    return dict(zip(points, (kind(*row) for row in rows), strict=True))
