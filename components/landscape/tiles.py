"""Tiles: some points of a surface, evaluated together and kept as one immutable object."""

import zipfile
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lossmap.components.config.errors import StoreError
from lossmap.components.config.experiment import Frozen
from lossmap.components.landscape.grid import Point, Result, from_npz, points_digest, to_npz
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import links

Evaluate = Callable[[float, float], Result]


class Tile(Frozen):
    """Points of a surface; the digest is that of the points."""

    surface: str
    digest: str
    points: tuple[Point, ...]


class Survey(Frozen):
    """What a survey consists of: a surface for each pair of directions, and the tiles that were missing when it was planned.

    Attributes:
        surfaces: their addresses; the first is the one that is drawn.
        tiles: of all surfaces.
    """

    surfaces: tuple[str, ...]
    tiles: tuple[Tile, ...]


def save_survey(store: Store, run_id: str, survey: Survey) -> None:
    """Keep the plan of a run's survey."""
    store.write(layout.survey_plan(links(store, run_id).survey), survey.model_dump_json().encode())


def load_survey(store: Store, run_id: str) -> Survey:
    """The plan of a run's survey."""
    return Survey.model_validate_json(store.read(layout.survey_plan(links(store, run_id).survey)))


def cut(points: Sequence[Point], size: int) -> tuple[Tile, ...]:
    """Tiles of at most `size` points, in order."""
    parts = [tuple(points[start : start + size]) for start in range(0, len(points), size)]
    return tuple(Tile(digest=points_digest(part), points=part) for part in parts)


def evaluate_tile(store: Store, surface: str, tile: Tile, evaluate: Evaluate) -> None:
    """Evaluate a tile and write it."""
    results = [evaluate(x, y) for x, y in tile.points]
    fields = {name: np.array([getattr(result, name) for result in results]) for name in Result.__dataclass_fields__}
    store.write(layout.tile(surface, tile.digest), to_npz(points=np.array(tile.points), **fields))


def evaluated_points(store: Store, surface: str) -> dict[Point, Result]:
    """Every point of the surface that some tile holds. Damaged tiles are deleted: their points count as missing."""
    known: dict[Point, Result] = {}
    for key in store.keys(layout.tiles(surface)):
        try:
            known.update(_read(store, key))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            store.delete(key)
        except StoreError:
            continue  # somebody else deleted it since it was listed
    return known


def _read(store: Store, key: str) -> Iterable[tuple[Point, Result]]:
    arrays = from_npz(store.read(key))
    points = [(float(x), float(y)) for x, y in arrays["points"]]
    if key != layout.tile(key.split("/")[1], points_digest(points)):
        raise ValueError(f"{key} does not hold the points that its name says")
    columns = [arrays[name].tolist() for name in Result.__dataclass_fields__]
    return zip(points, (Result(*row) for row in zip(*columns, strict=True)), strict=True)
