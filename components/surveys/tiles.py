"""Tiles: some points of a part of a survey, evaluated together and kept as one immutable object."""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from lossmap.components.core.errors import StoreError
from lossmap.components.core.frozen import Frozen
from lossmap.components.landscape.grid import Point, Result, from_npz, points_digest, to_npz
from lossmap.components.landscape.hessian.convexity import ConvexityResult
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import links

Evaluate = Callable[[float, float], Any]  # to the kind's type of result
TilesRead = dict[str, dict[Point, Any]]  # results by point, by the key of the tile
Kind = Literal["loss", "trajectory", "convexity", "curvature"]


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


class Part(Frozen):
    """A part of a survey: something that has a value at points.

    Attributes:
        kind: `loss` on the plane of a pair of directions at (x, y); `trajectory`, the loss of the snapshot
            after epoch x; `convexity`, the Hessian's extreme eigenvalues at (x, y) of the first plane;
            `curvature` at the trained network, (0, 0).
        address: SHA-256 of what decides its values.
        plane: address of the plane's directions.
        pair: number of the pair of directions.
    """

    kind: Kind
    address: str
    plane: str
    pair: int = 0


class Position(Frozen):
    """Where a snapshot of the trajectory lies with respect to the first plane.

    Attributes:
        epoch: after which it was taken.
        x: coordinate of its projection onto the plane.
        y: coordinate of its projection onto the plane.
        distance: Euclidean distance of its weights from the plane.
        length: Euclidean distance of its weights from the trained network.
    """

    epoch: int
    x: float
    y: float
    distance: float
    length: float


class Survey(Frozen):
    """What a survey consists of. What of it is still to be evaluated follows from what the store has.

    Attributes:
        parts: the first is the loss on the plane that is drawn.
        positions: of the snapshots; empty where the plane has nothing to do with them.
        explained: shares of the trajectory's squared length along the two directions of the plane.
    """

    parts: tuple[Part, ...]
    positions: tuple[Position, ...] = ()
    explained: tuple[float, ...] = ()

    @property
    def surfaces(self) -> tuple[str, ...]:
        """Addresses of the loss on each pair's plane, the one that is drawn first."""
        return tuple(part.address for part in self.parts if part.kind == "loss")

    def part(self, kind: Kind) -> Part | None:
        """The first part of a kind."""
        return next((part for part in self.parts if part.kind == kind), None)


class Tile(Frozen):
    """Points of a part; the digest is that of the points."""

    part: Part
    digest: str
    points: tuple[Point, ...]

    @property
    def key(self) -> str:
        """Its place in the store."""
        return layout.tile(self.part.address, self.digest)


def save_survey(store: Store, run_id: str, survey: Survey) -> None:
    """Keep the plan of a run's survey."""
    store.write(layout.survey_plan(links(store, run_id).survey), survey.model_dump_json().encode())


def load_survey(store: Store, run_id: str) -> Survey:
    """The plan of a run's survey."""
    return Survey.model_validate_json(store.read(layout.survey_plan(links(store, run_id).survey)))


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


def evaluated_points(store: Store, part: Part, read: TilesRead | None = None) -> dict[Point, Any]:
    """Every point of the part that some tile holds, with its result. Damaged tiles are deleted: their points
    count as missing.

    Args:
        store: where the tiles are.
        part: of a survey.
        read: what was read before, by tile, and gets what is read now: tiles never change, so that who asks
            again reads only the new ones.
    """
    tiles = TilesRead() if read is None else read
    known: dict[Point, Any] = {}
    for key in store.keys(layout.tiles(part.address)):
        try:
            if key not in tiles:
                tiles[key] = dict(_read(store, key, RESULTS[part.kind]))
            known.update(tiles[key])
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            store.delete(key)
        except StoreError:
            continue  # somebody else deleted it since it was listed
    return known


def _read(store: Store, key: str, kind: type) -> Iterator[tuple[Point, Any]]:
    arrays = from_npz(store.read(key))
    points = [(float(x), float(y)) for x, y in arrays["points"]]
    if key != layout.tile(key.split("/")[1], points_digest(points)):
        raise ValueError(f"{key} does not hold the points that its name says")
    columns = [arrays[field.name].tolist() for field in fields(kind)]
    rows = [
        [tuple(value) if isinstance(value, list) else value for value in row]
        for row in zip(*columns, strict=True)
    ]
    return zip(points, (kind(*row) for row in rows), strict=True)
