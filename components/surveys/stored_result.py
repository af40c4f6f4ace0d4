"""Everything that a survey has found, read back from the store."""

import numpy as np

from lossmap.components.config.landscape import Landscape
from lossmap.components.landscape.adaptive import plane as adaptive
from lossmap.components.landscape.grid import Grid
from lossmap.components.landscape.hessian.curvature import CurvatureResult
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import load_experiment
from lossmap.components.surveys.merge import load_pairs
from lossmap.components.surveys.result import ConvexityMap, Found, Passed
from lossmap.components.surveys.tiles import Survey, evaluated_points, load_survey


def load_found(store: Store, run_id: str) -> Found:
    """The results of a run whose survey is merged."""
    landscape, survey, pairs = (
        load_experiment(store, run_id).landscape,
        load_survey(store, run_id),
        load_pairs(store, run_id),
    )
    return Found(
        planes=tuple(grids["plane"] for grids in pairs),
        lines=tuple(grids["line"] for grids in pairs if "line" in grids),
        trajectory=_trajectory(store, survey),
        explained=survey.explained,
        convexity=_convexity(store, survey, landscape),
        curvature=_curvature(store, survey),
        bound=(
            adaptive.bound(pairs[0]["plane"], landscape.adaptive, landscape.seed)
            if landscape.adaptive
            else None
        ),
    )


def _trajectory(store: Store, survey: Survey) -> tuple[Passed, ...]:
    part = survey.part("trajectory")
    if not part:
        return ()
    true, plane = evaluated_points(store, part), evaluated_points(store, survey.parts[0])
    return tuple(
        Passed(position, true[float(position.epoch), 0.0].loss, plane[position.x, position.y].loss)
        for position in survey.positions
    )


def _convexity(store: Store, survey: Survey, landscape: Landscape) -> ConvexityMap | None:
    part, settings = survey.part("convexity"), landscape.convexity
    if not part or not settings:
        return None
    known, grid = evaluated_points(store, part), Grid.of(settings.plane.x, settings.plane.y)
    rows = [known[point] for point in grid.points()]
    smallest, largest, below, above = (
        np.array([getattr(row, name) for row in rows]).reshape(len(grid.y), len(grid.x))
        for name in ("smallest", "largest", "smallest_residual", "largest_residual")
    )
    return ConvexityMap(np.array(grid.x), np.array(grid.y), smallest, largest, np.maximum(below, above))


def _curvature(store: Store, survey: Survey) -> CurvatureResult | None:
    part = survey.part("curvature")
    return CurvatureResult.model_validate_json(evaluated_points(store, part)[0.0, 0.0].text) if part else None
