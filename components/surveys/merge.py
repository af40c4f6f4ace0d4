"""From tiles to grids."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lossmap.components.config.landscape import Landscape
from lossmap.components.landscape.adaptive import plane as adaptive
from lossmap.components.landscape.grid import Grid, Point, Result, Surface, from_npz, to_npz
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import load_experiment
from lossmap.components.surveys.pending import grids
from lossmap.components.surveys.tiles import Part, Survey, evaluated_points, load_survey


def merge(store: Store, run_id: str) -> list[dict[str, Surface]]:
    """Assemble the grids of every pair of directions from its tiles and write them; returns them pair by
    pair.

    A point that no tile holds stays a hole, unless the plane is adaptive and complete: there it is
    interpolated.
    """
    landscape = load_experiment(store, run_id).landscape
    merged = []
    for part in _planes(load_survey(store, run_id)):
        known = evaluated_points(store, part)
        merged.append(
            {name: _assembled(name, grid, landscape, known) for name, grid in grids(landscape).items()}
        )
        for name, surface in merged[-1].items():
            store.write(_key(part, name, landscape), to_npz(**vars(surface)))
    return merged


def _assembled(name: str, grid: Grid, landscape: Landscape, known: Mapping[Point, Result]) -> Surface:
    surface = assemble(grid, known)
    if name == "plane" and landscape.adaptive:
        return adaptive.interpolate(surface, landscape.adaptive, landscape.seed)
    return surface


def assemble(grid: Grid, known: Mapping[Point, Any]) -> Surface:
    """The values on a grid; points that are not known stay NaN and unevaluated."""
    groups = len(next(iter(known.values())).group_losses) if known else 0
    missing = Result(float("nan"), float("nan"), float("nan"), (float("nan"),) * groups)
    rows = [vars(known.get(point, missing)) for point in grid.points()]
    shape = (len(grid.y), len(grid.x))
    values = {
        name: np.array([row[name] for row in rows], dtype=np.float64).reshape(*shape, -1) for name in rows[0]
    }
    evaluated = np.array([point in known for point in grid.points()]).reshape(shape)
    return Surface(
        x=np.array(grid.x),
        y=np.array(grid.y),
        loss=values["loss"][..., 0],
        error=values["error"][..., 0],
        loss_standard_error=values["loss_standard_error"][..., 0],
        group_losses=values["group_losses"].reshape(*shape, groups),
        evaluated=evaluated,
        interpolated=np.zeros(shape, dtype=bool),
    )


def load_surfaces(store: Store, run_id: str) -> dict[str, Surface]:
    """The merged grids of a run's first pair of directions, which are drawn, by name."""
    return load_pairs(store, run_id)[0]


def load_pairs(store: Store, run_id: str) -> list[dict[str, Surface]]:
    """The merged grids of every pair of directions by name."""
    landscape = load_experiment(store, run_id).landscape
    return [
        {name: Surface(**from_npz(store.read(_key(part, name, landscape)))) for name in grids(landscape)}  # type: ignore[arg-type]
        for part in _planes(load_survey(store, run_id))
    ]


def _planes(survey: Survey) -> list[Part]:
    return [part for part in survey.parts if part.kind == "loss"]


def _key(part: Part, name: str, landscape: Landscape) -> str:
    settings = landscape.adaptive.model_dump_json() if name == "plane" and landscape.adaptive else ""
    return layout.grid(part.address, grids(landscape)[name].digest(settings))
