"""One colour scale for every surface ever drawn, so that any two pictures can be laid side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossmap.components.landscape.grid import Surface

Array = NDArray[np.float64]

LOW, HIGH = 0.01, 100.0  # loss at the two ends of the scale; beyond them a point takes the end's colour
COLOUR_MAP = "viridis"  # rises evenly in lightness: readable in grey and with every common colour blindness
CONFIDENCE = 1.96  # standard errors on each side of a mean that hold 95 % of normal errors
# Tol's bright scheme and two more
COLOURS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#ee7733",
    "#999999",
)
READABLE_IN_WHITE = 5.0  # from this loss on the colours are too light for white lines
FEWEST_FOR_LINES = 2  # rows and columns without which there is nothing to interpolate between
_TINY = 1e-12  # stands for a loss of exactly 0 where only its logarithm can be drawn


@dataclass(frozen=True)
class Counts:
    """How many points of a surface are what."""

    points: int
    below: int
    above: int
    nan: int
    infinite: int
    missing: int


@dataclass(frozen=True)
class Frame:
    """Limits that several surfaces share: coordinates, and the largest loss that is drawn."""

    x: tuple[float, float]
    y: tuple[float, float]
    ceiling: float


@dataclass(frozen=True)
class Place:
    """A place on a surface and the loss there."""

    x: float
    y: float
    loss: float


def counts(surface: Surface) -> Counts:
    """Points in all, beyond each end of the scale, NaN, infinite, and not evaluated."""
    loss, finite, known = surface.loss, surface.finite, surface.known
    masks = (
        finite & (loss < LOW),
        finite & (loss > HIGH),
        known & np.isnan(loss),
        known & np.isinf(loss),
        ~known,
    )
    return Counts(loss.size, *(int(mask.sum()) for mask in masks))


def clipped_loss(surface: Surface) -> Array:
    """The loss moved into [LOW, HIGH], (Y, X); NaN where it is not finite or missing."""
    return np.where(surface.finite, np.clip(surface.loss, LOW, HIGH), np.nan)


def exponents(surface: Surface) -> Array:
    """log10 of the loss as it is, (Y, X), for lines of equal loss; NaN where it is not finite or missing."""
    return np.log10(np.where(surface.finite, np.maximum(surface.loss, _TINY), np.nan))


def facets(surface: Surface) -> Array:
    """log10 of the clipped loss in the middle of four neighbouring points, (Y - 1, X - 1): the mean of the
    four, NaN where one is NaN.
    """
    corners = np.log10(clipped_loss(surface))
    return (corners[:-1, :-1] + corners[:-1, 1:] + corners[1:, :-1] + corners[1:, 1:]) / 4


def lowest(surface: Surface) -> Place | None:
    """The point of smallest finite loss; None where no loss is finite."""
    if not surface.finite.any():
        return None
    index = np.argmin(np.where(surface.finite, surface.loss, np.inf))
    row, column = np.unravel_index(index, surface.loss.shape)
    return Place(float(surface.x[column]), float(surface.y[row]), float(surface.loss[row, column]))


def edges(coordinates: Array, alone: float = 0.5) -> Array:
    """Borders of the cells around n points, (n + 1,): half-way between neighbours; `alone` is the half
    width of a single cell.
    """
    if len(coordinates) == 1:
        return np.array([coordinates[0] - alone, coordinates[0] + alone])
    middle = (coordinates[:-1] + coordinates[1:]) / 2
    return np.concatenate(([2 * coordinates[0] - middle[0]], middle, [2 * coordinates[-1] - middle[-1]]))


def cell_edges(surface: Surface) -> tuple[Array, Array]:
    """Borders of the cells along x, (X + 1,), and y, (Y + 1,). A single row or column is as wide as a
    twentieth of the other axis.
    """
    spans = [float(np.ptp(axis)) / 40 or 0.5 for axis in (surface.y, surface.x)]
    return edges(surface.x, spans[0]), edges(surface.y, spans[1])


def levels(low: float, high: float) -> list[float]:
    """The losses 1, 2 and 5 times a power of ten that lie strictly between two losses and within the
    scale.
    """
    steps = [factor * 10.0**power for power in range(-2, 3) for factor in (1, 2, 5)]
    return [step for step in steps if max(low, LOW) < step < min(high, HIGH * 1.001)]


def frame(surfaces: Sequence[Surface]) -> Frame:
    """The smallest limits that hold every surface, as far as its loss is on the scale."""
    borders = [cell_edges(surface) for surface in surfaces]
    ceilings = [float(np.nanmax(clipped_loss(surface))) for surface in surfaces if surface.finite.any()]
    return Frame(_span([x for x, _ in borders]), _span([y for _, y in borders]), max(ceilings, default=HIGH))


def _span(axes: Sequence[Array]) -> tuple[float, float]:
    return min(float(edges[0]) for edges in axes), max(float(edges[-1]) for edges in axes)
