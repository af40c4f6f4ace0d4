"""Values between the evaluated points of a grid.

The interpolant is that of cubic radial basis functions with a linear polynomial, s(p) = Σ c_i |p - p_i|³ + a
+ b·p, p in steps of the grid (Duchon 1977). It was chosen by measurement on planes of trained networks,
quadratics, softmax regressions and rugged functions, at a tolerance of 1 %: thin plates need about as many
points and miss more of what is between them, fifth powers overshoot beside rugged parts, and Clough and
Tocher's triangles need a fifth more points on trained networks.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from lossmap.components.landscape.grid import Surface

Array = NDArray[np.float64]
Index = tuple[int, int]  # column and row of a point in its grid
Scale = Literal["log", "linear"]

_ALL_TOGETHER = 1000  # points for which one system of equations is solved; it takes 0.1 s
_NEIGHBOURS = 64  # nearest points that count where there are more


def predict(points: Sequence[Index], values: Array, others: Sequence[Index]) -> Array:
    """The interpolant of values at some points of a grid, at others.

    Args:
        points: n points.
        values: (n,) or (n, columns); every column is interpolated with the same weights.
        others: m points.

    Returns:
        (m,) or (m, columns); NaN where the points lie on one line or are fewer than three.
    """
    places = np.array(points, dtype=np.float64).reshape(-1, 2)
    if not len(others) or np.linalg.matrix_rank(places - places[:1]) < 2:
        return np.full((len(others), *values.shape[1:]), np.nan)
    neighbours = _NEIGHBOURS if len(places) > _ALL_TOGETHER else None
    values_there: Array = RBFInterpolator(places, values, neighbors=neighbours, kernel="cubic")(
        np.array(others, dtype=np.float64)
    )
    return values_there


def to_scale(loss: Array, scale: Scale) -> Array:
    """What is interpolated: the loss, or its natural logarithm; not finite where there is none."""
    if scale == "linear":
        return loss
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(loss)


def places(points: Sequence[Index]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of points, to index an array (Y, X, …) with."""
    columns, rows = np.array(points, dtype=np.intp).reshape(-1, 2).T
    return rows, columns


def interpolated_values(
    surface: Surface, basis: Sequence[Index], others: Sequence[Index], scale: Scale
) -> dict[str, Array]:
    """The fields of a surface at points that were not evaluated, from those at evaluated points with a finite
    loss.

    Standard error and losses of groups are interpolated as they are or, on the logarithmic scale, as ratios
    to the loss: either way the mean over the groups of samples stays the loss. A field that is not finite at
    all points of the basis is NaN.

    Returns:
        `loss`, `error` and `loss_standard_error` (points,), `group_losses` (points, groups).
    """
    rows, columns = places(basis)
    loss, deviation = surface.loss[rows, columns, None], surface.loss_standard_error[rows, columns, None]
    divisor = loss if scale == "log" else 1.0
    table = np.concatenate(
        [
            to_scale(loss, scale),
            surface.error[rows, columns, None],
            deviation / divisor,
            surface.group_losses[rows, columns] / divisor,
        ],
        axis=1,
    )
    usable = np.isfinite(table).all(axis=0)
    table_there = np.full((len(others), table.shape[1]), np.nan)
    table_there[:, usable] = predict(basis, table[:, usable], others)
    loss = np.exp(table_there[:, :1]) if scale == "log" else table_there[:, :1]
    table_there[:, 2:] *= loss if scale == "log" else 1.0
    return {
        "loss": loss[:, 0],
        "error": table_there[:, 1].clip(0, 1),
        "loss_standard_error": table_there[:, 2].clip(min=0),
        "group_losses": table_there[:, 3:],
    }
