"""What surfaces that are drawn beside each other share, and what of each is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossmap.components.config.pictures import Pictures
from lossmap.components.figures.choice import scale_of
from lossmap.components.figures.scale import USUAL, Array, Scale
from lossmap.components.landscape.grid import Surface

FEWEST_FOR_LINES = 2  # rows and columns without which there is nothing to interpolate between


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
    """What several surfaces share: limits of the coordinates, the scale, and the least and the largest loss
    that is drawn.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    floor: float
    ceiling: float
    scale: Scale = USUAL


@dataclass(frozen=True)
class Place:
    """A place on a surface and the loss there."""

    x: float
    y: float
    loss: float


def counts(surface: Surface, scale: Scale) -> Counts:
    """Points in all, beyond each end of the scale, NaN, infinite, and not evaluated."""
    loss, finite, known = surface.loss, surface.finite, surface.known
    masks = (
        finite & (loss < scale.low),
        finite & (loss > scale.high),
        known & np.isnan(loss),
        known & np.isinf(loss),
        ~known,
    )
    return Counts(loss.size, *(int(mask.sum()) for mask in masks))


def clipped_loss(surface: Surface, scale: Scale) -> Array:
    """The loss moved onto the scale, (Y, X); NaN where it is not finite or missing."""
    return _where_finite(surface, scale.clip)


def clipped_heights(surface: Surface, scale: Scale) -> Array:
    """The heights of the losses on the scale, (Y, X); NaN where they are not finite or missing."""
    return scale.heights(clipped_loss(surface, scale))


def true_heights(surface: Surface, scale: Scale) -> Array:
    """The heights of the losses as they are, (Y, X), for lines of equal loss; NaN where they are not finite
    or missing.
    """
    return _where_finite(surface, scale.heights)


def _where_finite(surface: Surface, function: Callable[[Array], Array]) -> Array:
    return function(np.where(surface.finite, surface.loss, np.nan))


def facets(surface: Surface, scale: Scale) -> Array:
    """The height in the middle of four neighbouring points, (Y - 1, X - 1): the mean of the four, NaN where
    one is NaN.
    """
    corners = clipped_heights(surface, scale)
    return (corners[:-1, :-1] + corners[:-1, 1:] + corners[1:, :-1] + corners[1:, 1:]) / 4


def lonely(surface: Surface) -> NDArray[np.bool_]:
    """(Y, X) True where the loss is finite and no facet around it is."""
    finite = surface.finite
    whole = finite[:-1, :-1] & finite[:-1, 1:] & finite[1:, :-1] & finite[1:, 1:]
    padded = np.pad(whole, 1)
    joined = padded[:-1, :-1] | padded[:-1, 1:] | padded[1:, :-1] | padded[1:, 1:]
    return np.asarray(finite & ~joined)


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


def frame(surfaces: Sequence[Surface], pictures: Pictures | None = None) -> Frame:
    """The smallest limits that hold every surface, as far as its loss is on their scale."""
    borders = [cell_edges(surface) for surface in surfaces]
    scale = scale_of([surface.loss[surface.finite] for surface in surfaces], pictures)
    drawn = [clipped_loss(surface, scale) for surface in surfaces if surface.finite.any()]
    return Frame(
        _span_of([x for x, _ in borders]),
        _span_of([y for _, y in borders]),
        min((float(np.nanmin(loss)) for loss in drawn), default=scale.low),
        max((float(np.nanmax(loss)) for loss in drawn), default=scale.high),
        scale,
    )


def _span_of(axes: Sequence[Array]) -> tuple[float, float]:
    return min(float(edges[0]) for edges in axes), max(float(edges[-1]) for edges in axes)
