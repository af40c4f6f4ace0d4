"""Numbers that describe a surface. Masked points (missing, NaN, infinite) never count as values."""

import math

import numpy as np
from numpy.typing import NDArray

from lossmap.components.landscape.grid import Surface


def floor(surface: Surface) -> float | None:
    """The lowest finite loss on the grid; None without any."""
    return float(surface.loss[surface.finite].min()) if surface.finite.any() else None


def ceiling(surface: Surface) -> float | None:
    """The highest finite loss on the grid; None without any."""
    return float(surface.loss[surface.finite].max()) if surface.finite.any() else None


def centre_loss(surface: Surface) -> float | None:
    """The loss at (0, 0), the trained network; None where the grid does not hold that point."""
    rows, columns = np.flatnonzero(surface.y == 0), np.flatnonzero(surface.x == 0)
    if not len(rows) or not len(columns) or not surface.evaluated[rows[0], columns[0]]:
        return None
    return float(surface.loss[rows[0], columns[0]])


def basin_fraction(surface: Surface, classes: int) -> float | None:
    """Share of the evaluated points whose loss is below ln(classes), the loss of guessing uniformly. NaN and infinity are not below."""
    if not surface.evaluated.any():
        return None
    with np.errstate(invalid="ignore"):
        below = surface.evaluated & (surface.loss < math.log(classes))
    return float(below.sum() / surface.evaluated.sum())


def convex_fraction(line: Surface) -> float | None:
    """Share of the inner points of an evenly spaced line whose second difference is not negative.

    f(x - h) - 2 f(x) + f(x + h) >= -tolerance, with the tolerance of the float32 logits behind the losses: 4 eps32 max |f|. A convex
    function gives 1. None without three finite points in a row.
    """
    loss: NDArray[np.float64] = np.where(line.finite, line.loss, np.nan)[0]
    difference = loss[:-2] - 2 * loss[1:-1] + loss[2:]
    tolerance = 4 * np.finfo(np.float32).eps * np.nanmax(np.abs(loss)) if np.isfinite(loss).any() else 0.0
    known = difference[np.isfinite(difference)]
    return float((known >= -tolerance).mean()) if len(known) else None
