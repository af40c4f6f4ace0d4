"""Everything that a survey has found, read back from the store."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossmap.components.config.experiment import Landscape
from lossmap.components.landscape import adaptive
from lossmap.components.landscape.adaptive import Bound
from lossmap.components.landscape.curvature import CurvatureResult
from lossmap.components.landscape.grid import Grid, Surface
from lossmap.components.landscape.merge import load_pairs
from lossmap.components.landscape.tiles import Position, Survey, evaluated_points, load_survey
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import load_experiment


@dataclass(frozen=True)
class ConvexityMap:
    """The Hessian's extreme eigenvalues on a grid. Arrays have one row for each y and one column for each x.

    Attributes:
        x: (X,) coordinates along the first direction.
        y: (Y,) coordinates along the second.
        smallest: (Y, X) least eigenvalue.
        largest: (Y, X) greatest eigenvalue.
        residual: (Y, X) the larger of the two |H v - lambda v|: so far off an eigenvalue may be.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    smallest: NDArray[np.float64]
    largest: NDArray[np.float64]
    residual: NDArray[np.float64]

    @property
    def convex(self) -> NDArray[np.bool_]:
        """(Y, X) True where no eigenvalue is negative by more than its residual."""
        return self.smallest >= -self.residual


@dataclass(frozen=True)
class Passed:
    """A snapshot of the trajectory, as the plane shows it and as it is.

    Attributes:
        position: where it lies with respect to the plane.
        loss: of the snapshot.
        plane_loss: at its projection onto the plane: what a contour plot pretends its loss to be.
    """

    position: Position
    loss: float
    plane_loss: float


@dataclass(frozen=True)
class Found:
    """A survey's results.

    Attributes:
        planes: the loss on every pair's plane, the one that is drawn first.
        lines: the loss along every pair's first direction; empty where there is none.
        trajectory: the snapshots, in order; empty where the plane has nothing to do with them.
        explained: shares of the trajectory's squared length along the two directions.
        convexity: extreme eigenvalues on the plane.
        curvature: at the trained network.
        bound: of an adaptive plane's interpolation.
    """

    planes: tuple[Surface, ...]
    lines: tuple[Surface, ...] = ()
    trajectory: tuple[Passed, ...] = ()
    explained: tuple[float, ...] = ()
    convexity: ConvexityMap | None = None
    curvature: CurvatureResult | None = None
    bound: Bound | None = None


def load_found(store: Store, run_id: str) -> Found:
    """The results of a run whose survey is merged."""
    landscape, survey, pairs = load_experiment(store, run_id).landscape, load_survey(store, run_id), load_pairs(store, run_id)
    return Found(
        planes=tuple(grids["plane"] for grids in pairs),
        lines=tuple(grids["line"] for grids in pairs if "line" in grids),
        trajectory=_trajectory(store, survey),
        explained=survey.explained,
        convexity=_convexity(store, survey, landscape),
        curvature=_curvature(store, survey),
        bound=adaptive.bound(pairs[0]["plane"], landscape.adaptive, landscape.seed) if landscape.adaptive else None,
    )


def _trajectory(store: Store, survey: Survey) -> tuple[Passed, ...]:
    part = survey.part("trajectory")
    if not part:
        return ()
    true, plane = evaluated_points(store, part), evaluated_points(store, survey.parts[0])
    return tuple(Passed(position, true[float(position.epoch), 0.0].loss, plane[position.x, position.y].loss) for position in survey.positions)


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
