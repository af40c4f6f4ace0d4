"""What a survey can find. Nothing here needs torch, so that pictures and pages do not."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lossmap.components.landscape.grid import Surface

if TYPE_CHECKING:
    from lossmap.components.landscape.adaptive.plane import Bound
    from lossmap.components.landscape.hessian.curvature import CurvatureResult
    from lossmap.components.stores.survey_plan import Position, Trail


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
class Snapshot:
    """A snapshot of the trajectory, as the plane shows it and as it is.

    Attributes:
        position: where it lies with respect to the plane.
        loss: of the snapshot.
        plane_loss: at its projection onto the plane: what a contour plot pretends its loss to be.
    """

    position: "Position"
    loss: float
    plane_loss: float


@dataclass(frozen=True)
class SurveyResult:
    """A survey's results.

    Attributes:
        planes: the loss on every pair's plane, the one that is drawn first.
        lines: the loss along every pair's first direction; empty where there is none.
        trajectory: the snapshots of all trails, in order; empty where the plane has nothing to do with them.
        trails: the paths that they are of.
        explained: shares of the trails' squared length along the two directions of a plane that is made of
            them; the plane's share where it is not.
        convexity: extreme eigenvalues on the plane.
        curvature: at the trained network.
        bound: of an adaptive plane's interpolation.
        notes: what one has to know about the weights that move, in sentences.
    """

    planes: tuple[Surface, ...]
    lines: tuple[Surface, ...] = ()
    trajectory: tuple[Snapshot, ...] = ()
    trails: tuple["Trail", ...] = ()
    explained: tuple[float, ...] = ()
    convexity: ConvexityMap | None = None
    curvature: "CurvatureResult | None" = None
    bound: "Bound | None" = None
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> list[tuple["Trail", tuple[Snapshot, ...]]]:
        """Every trail with its snapshots."""
        return [
            (trail, tuple(each for each in self.trajectory if each.position.trail == number))
            for number, trail in enumerate(self.trails)
        ]
