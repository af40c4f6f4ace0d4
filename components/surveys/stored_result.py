"""Everything that a survey has found, read back from the store."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lossmap.components.core.errors import StoreError
from lossmap.components.landscape.adaptive.plane import interpolation_bound
from lossmap.components.landscape.grid import Grid, Point
from lossmap.components.landscape.hessian.curvature import CurvatureResult
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Part
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
    positions = run.survey.positions
    true = _results(run, part, [(float(each.epoch), float(each.trail)) for each in positions])
    plane = _results(run, run.survey.parts[0], [(each.x, each.y) for each in positions])
    return tuple(
        Snapshot(position, own.loss, drawn.loss)
        for position, own, drawn in zip(positions, true, plane, strict=True)
    )


def _convexity(run: Run) -> ConvexityMap | None:
    part, settings = run.survey.part("convexity"), run.experiment.landscape.convexity
    if not part or not settings:
        return None
    grid = Grid.of(settings.plane.x, settings.plane.y)
    rows = _results(run, part, grid.points())
    smallest, largest, below, above = (
        np.array([getattr(row, name) for row in rows]).reshape(len(grid.y), len(grid.x))
        for name in ("smallest", "largest", "smallest_residual", "largest_residual")
    )
    return ConvexityMap(np.array(grid.x), np.array(grid.y), smallest, largest, np.maximum(below, above))


def _curvature(run: Run) -> CurvatureResult | None:
    part = run.survey.part("curvature")
    if not part:
        return None
    return CurvatureResult.model_validate_json(_results(run, part, [(0.0, 0.0)])[0].text)


def _results(run: Run, part: Part, points: Sequence[Point]) -> list[Any]:
    """What was found at some points.

    Raises:
        StoreError: a tile is missing, or was damaged, since the survey was merged.
    """
    known = evaluated_points(run, part)
    missing = sum(point not in known for point in points)
    if missing:
        raise StoreError(
            f"{missing} of {len(points)} points of the {part.kind} of {run.name} are missing or damaged;"
            f" `lossmap run --resume {run.name}` evaluates them again"
        )
    return [known[point] for point in points]
