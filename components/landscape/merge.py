"""From tiles to grids."""

from collections.abc import Callable, Mapping

import numpy as np

from lossmap.components.config.experiment import Landscape
from lossmap.components.config.progress import Progress, silent
from lossmap.components.landscape.grid import Grid, Point, Result, Surface, from_npz, to_npz
from lossmap.components.landscape.tiles import Evaluate, cut, evaluate_tile, evaluated_points, load_survey
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import load_experiment

_FIELDS = tuple(Result.__dataclass_fields__)


def grids(landscape: Landscape) -> dict[str, Grid]:
    """The grids of a survey by name: the plane, and the line where there is one."""
    plane = {"plane": Grid.of(landscape.plane.x, landscape.plane.y)}
    return plane | ({"line": Grid.of(landscape.line)} if landscape.line else {})


def missing_points(landscape: Landscape, known: Mapping[Point, object]) -> list[Point]:
    """Points of the grids that are not known, each once."""
    wanted = dict.fromkeys(point for grid in grids(landscape).values() for point in grid.points())
    return [point for point in wanted if point not in known]


def merge(store: Store, run_id: str, evaluator: Callable[[], Evaluate], progress: Progress = silent) -> dict[str, Surface]:
    """Assemble the grids from the tiles and write them.

    Args:
        store: where the run is kept.
        run_id: the run, with its survey planned.
        evaluator: makes the surface as a function; called only where a tile is missing or damaged, to evaluate its points here.
        progress: called while tiles are repaired.
    """
    landscape, surface = load_experiment(store, run_id).landscape, load_survey(store, run_id).surface
    known = evaluated_points(store, surface)
    tiles = cut(missing_points(landscape, known), landscape.tile_points)
    if tiles:
        evaluate = evaluator()
        for done, tile in enumerate(tiles, start=1):
            evaluate_tile(store, surface, tile, evaluate)
            progress(done, len(tiles), "repairing tiles")
        known = evaluated_points(store, surface)
    surfaces = {name: assemble(grid, known) for name, grid in grids(landscape).items()}
    for name, grid in grids(landscape).items():
        store.write(layout.grid(surface, grid.digest()), to_npz(**vars(surfaces[name])))
    return surfaces


def assemble(grid: Grid, known: Mapping[Point, Result]) -> Surface:
    """The values on a grid; points that are not known stay NaN and unevaluated."""
    missing = Result(*[float("nan")] * len(_FIELDS))
    results = [known.get(point, missing) for point in grid.points()]
    shape = (len(grid.y), len(grid.x))
    values = {name: np.array([getattr(result, name) for result in results]).reshape(shape) for name in _FIELDS}
    evaluated = np.array([point in known for point in grid.points()]).reshape(shape)
    return Surface(x=np.array(grid.x), y=np.array(grid.y), evaluated=evaluated, **values)


def load_surfaces(store: Store, run_id: str) -> dict[str, Surface]:
    """The merged grids of a run by name."""
    surface = load_survey(store, run_id).surface
    keys = {name: layout.grid(surface, grid.digest()) for name, grid in grids(load_experiment(store, run_id).landscape).items()}
    return {name: Surface(**from_npz(store.read(key))) for name, key in keys.items()}  # type: ignore[arg-type]
