"""Everything that a survey has found, read back from the store."""

import numpy as np

from lossmap.components.landscape.adaptive.plane import interpolation_bound
from lossmap.components.landscape.grid import Grid
from lossmap.components.landscape.hessian.curvature import CurvatureResult
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.merge import load_pairs
from lossmap.components.surveys.result import ConvexityMap, Snapshot, SurveyResult
from lossmap.components.surveys.tiles import evaluated_points


def load_result(run: Run) -> SurveyResult:
    """The results of a run whose survey is merged."""
    landscape, pairs = run.experiment.landscape, load_pairs(run)
    bound = None
    if landscape.adaptive:
        bound = interpolation_bound(pairs[0]["plane"], landscape.adaptive, landscape.seed)
    return SurveyResult(
        planes=tuple(grids["plane"] for grids in pairs),
        lines=tuple(grids["line"] for grids in pairs if "line" in grids),
        trajectory=_trajectory(run),
        trails=run.survey.trails,
        explained=run.survey.explained,
        convexity=_convexity(run),
        curvature=_curvature(run),
        bound=bound,
        notes=run.survey.notes,
    )


def _trajectory(run: Run) -> tuple[Snapshot, ...]:
    part = run.survey.part("trajectory")
    if not part:
        return ()
    true, plane = evaluated_points(run, part), evaluated_points(run, run.survey.parts[0])
    return tuple(
        Snapshot(
            position,
            true[float(position.epoch), float(position.trail)].loss,
            plane[position.x, position.y].loss,
        )
        for position in run.survey.positions
    )


def _convexity(run: Run) -> ConvexityMap | None:
    part, settings = run.survey.part("convexity"), run.experiment.landscape.convexity
    if not part or not settings:
        return None
    known, grid = evaluated_points(run, part), Grid.of(settings.plane.x, settings.plane.y)
    rows = [known[point] for point in grid.points()]
    smallest, largest, below, above = (
        np.array([getattr(row, name) for row in rows]).reshape(len(grid.y), len(grid.x))
        for name in ("smallest", "largest", "smallest_residual", "largest_residual")
    )
    return ConvexityMap(np.array(grid.x), np.array(grid.y), smallest, largest, np.maximum(below, above))


def _curvature(run: Run) -> CurvatureResult | None:
    part = run.survey.part("curvature")
    if not part:
        return None
    return CurvatureResult.model_validate_json(evaluated_points(run, part)[0.0, 0.0].text)
