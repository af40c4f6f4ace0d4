"""Numbers that describe a surface, each with its own definition; none of them is "the sharpness".

A point counts where its loss was evaluated or interpolated and is finite; missing, NaN and infinite points
are never values. Shares of points are shares of area, because grids are evenly spaced. What needs ln(loss)
does not exist where a finite loss is zero or negative: those points are values, and leaving out just the
lowest ones would describe another surface. The centre is the point (0, 0).
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lossmap.components.config.landscape import Landscape
from lossmap.components.config.scalars import LOSSES, measure_of, support_of
from lossmap.components.core.estimates import Support
from lossmap.components.landscape.grid import Surface
from lossmap.components.landscape.measures.intervals import Measure, MeasureEstimate, measure_with_interval
from lossmap.components.landscape.measures.topology import component, merge_tree

PERSISTENT = 0.01

_Array = NDArray[np.float64]


def surface_measures(
    planes: Sequence[Surface], lines: Sequence[Surface], guessing_loss: float | None, settings: Landscape
) -> dict[str, MeasureEstimate | None]:
    """All measures by name, with their intervals: the scalars of a report. None where a measure does
    not exist.

    Of the planes: centre_loss, floor, ceiling, convex_fraction, roughness, spacing, minima,
    largest_persistence, rise, fall; with a loss of guessing basin_fraction and centre_basin_fraction, below
    it; and both for every threshold t of settings.basin_thresholds, as basin_fraction_below_t. Of the lines:
    line_floor, line_ceiling, line_convex_fraction, line_roughness, line_spacing, line_minima,
    line_largest_persistence, line_rise, line_fall.

    Args:
        planes: one for each pair of directions.
        lines: one for each pair of directions; may be empty.
        guessing_loss: of guessing uniformly; None where that means nothing.
        settings: of the survey.
    """
    of_planes = {
        "centre_loss": centre_loss,
        **_ON_BOTH,
        **_basins(guessing_loss, settings.basin_thresholds),
    }
    of_lines = {f"line_{name}": function for name, function in _ON_BOTH.items()}
    measured = [(planes, of_planes), (lines, of_lines)]
    is_signed = any(_has_negative_losses(surface) for surface in (*planes, *lines))
    return {
        name: measure_with_interval(function, surfaces, settings.seed, support=_support(name, is_signed))
        for surfaces, named in measured
        if surfaces
        for name, function in named.items()
    }


def _support(name: str, is_signed: bool) -> Support:
    """What a measure can be; a loss any number where a group of samples has a negative one somewhere."""
    return Support.REAL if is_signed and measure_of(name) in LOSSES else support_of(name)


def _has_negative_losses(surface: Surface) -> bool:
    with np.errstate(invalid="ignore"):
        return bool((surface.loss < 0).any() or (surface.group_losses < 0).any())


def floor(surface: Surface) -> float | None:
    """The lowest finite loss on the grid; None without any."""
    return float(surface.loss[surface.finite].min()) if surface.finite.any() else None


def ceiling(surface: Surface) -> float | None:
    """The highest finite loss on the grid; None without any."""
    return float(surface.loss[surface.finite].max()) if surface.finite.any() else None


def centre_loss(surface: Surface) -> float | None:
    """The loss at the centre, the trained network; None where the grid does not hold that point or its
    loss is not finite.
    """
    centre = _centre(surface)
    return float(surface.loss[centre]) if centre and surface.finite[centre] else None


def fraction_below(surface: Surface, threshold: float) -> float | None:
    """Share of the known points whose loss is below the threshold. NaN and infinity are known and not
    below; None without known points.
    """
    return _share(surface, _below(surface, threshold))


def centre_fraction_below(surface: Surface, threshold: float) -> float | None:
    """Share of the known points that hang together with the centre below the threshold.

    They are reached from the centre by steps to four neighbours, each below the threshold; 0 where the centre
    itself is not below it, None where the grid does not hold the centre.
    """
    centre = _centre(surface)
    return _share(surface, component(_below(surface, threshold), *centre)) if centre else None


def convex_fraction(surface: Surface) -> float | None:
    """Share of the inner points at which the loss curves upwards in every direction, as far as second
    differences tell.

    On a plane the matrix [[a, b], [b, c]] of a = f(x + h, y) - 2 f + f(x - h, y), c the same along y, and b =
    (f(++) - f(+-) - f(-+) + f(--)) / 4 has to be positive semidefinite: h_x h_y times the Hessian, up to a
    scaling of the axes, which does not change signs. On a line, a >= 0. The lower eigenvalue may be as low as
    -5 eps32 max |f| over the points used: what the float32 outputs behind a loss can do.

    Exact on a quadratic and, on a line, 1 on every convex function. On a plane a convex function that bends
    within one step can have less than 1: b is then poorer than a and c. None without an inner point whose
    neighbours are all finite, and where points are interpolated: the second differences of an interpolant
    tell of the interpolant.
    """
    if surface.interpolated.any():
        return None
    loss = _losses(surface)
    lower, largest = _line_curvature(loss[0]) if len(loss) == 1 else _plane_curvature(loss)
    known = np.isfinite(lower)
    return float((lower >= -5 * np.finfo(np.float32).eps * largest)[known].mean()) if known.any() else None


def roughness(surface: Surface) -> float | None:
    """Root mean square of (g(z + h) - 2 g(z) + g(z - h)) / h^2, g = ln loss, over all points and both axes z,
    each with its own step h.

    Zero where g is affine; A k^2 (sin(kh/2) / (kh/2))^2 / sqrt(2) for ripples g = A sin(kz) along a line. The
    unit is one over the square of a direction's length. It depends on h (see `spacing`) wherever the surface
    has structure finer than h: compare equal steps only. None without three finite points in a row, where a
    loss is not positive, and where points are interpolated, as for convex_fraction.
    """
    logarithm = _logarithm(surface)
    if logarithm is None or surface.interpolated.any():
        return None
    bends = np.concatenate([_bends(logarithm, surface.x), _bends(logarithm.T, surface.y)])
    return float(np.sqrt((bends**2).mean())) if len(bends) else None


def spacing(surface: Surface) -> float | None:
    """The larger step h of the two axes, on which roughness and the number of minima depend; None for a
    single point.
    """
    steps = [_step(axis) for axis in (surface.x, surface.y) if len(axis) > 1]
    return max(steps) if steps else None


def minima(surface: Surface) -> float | None:
    """Number of local minima of ln(loss) whose persistence is above PERSISTENT, 1 % of the range of ln(loss)
    on the grid.

    Persistence: how far one has to climb to get to a lower minimum, `topology.merge_tree`; infinite for the
    lowest, which always counts. On a grid a minimum narrower than its step is not seen. None without finite
    points or where a loss is not positive.
    """
    logarithm = _logarithm(surface)
    if logarithm is None:
        return None
    threshold = PERSISTENT * float(np.nanmax(logarithm) - np.nanmin(logarithm))
    return float(sum(minimum.persistence > threshold for minimum in merge_tree(logarithm)))


def largest_persistence(surface: Surface) -> float | None:
    """The persistence of the second most persistent minimum, of ln(loss): ln(loss of the pass to a lower
    minimum / loss of the minimum).

    0 where the lowest minimum is the only one. Minima that missing points cut off from every lower one have
    none and are left out. None as in `minima`.
    """
    logarithm = _logarithm(surface)
    if logarithm is None:
        return None
    return max(
        (minimum.persistence for minimum in merge_tree(logarithm) if math.isfinite(minimum.persistence)),
        default=0.0,
    )


def rise(surface: Surface) -> float | None:
    """The largest rise of the loss on a walk along an axis from the centre outwards: max f(later) -
    f(earlier), over all axes and senses.

    On the line between two networks it is the climb out of the first one. None where no such walk has two
    finite points.
    """
    return _largest_climb(_walks(surface))


def fall(surface: Surface) -> float | None:
    """The largest fall of the loss on a walk along an axis from the centre outwards, that is the largest rise
    on the way in.

    0 where the loss only falls on the way to the centre: the monotonic linear interpolation of Goodfellow,
    Vinyals & Saxe 2015, when the axis leads to the initial network; the least Delta for which it is
    Delta-monotonic in Lucas et al. 2021. It says nothing of how well the network generalises (Vlaar & Frankle
    2022). None as in `rise`.
    """
    return _largest_climb([walk[::-1] for walk in _walks(surface)])


def _basins(guessing_loss: float | None, thresholds: Sequence[float]) -> dict[str, Measure]:
    levels = {f"_below_{threshold:g}": threshold for threshold in thresholds}
    if guessing_loss is not None:
        levels = {"": guessing_loss, **levels}
    kinds = {"basin_fraction": fraction_below, "centre_basin_fraction": centre_fraction_below}
    return {
        name + suffix: partial(function, threshold=level)
        for suffix, level in levels.items()
        for name, function in kinds.items()
    }


def _losses(surface: Surface) -> _Array:
    """(Y, X) The loss, NaN where it is not finite or not known."""
    losses: _Array = np.where(surface.finite, surface.loss, np.nan)
    return losses


def _logarithm(surface: Surface) -> _Array | None:
    """(Y, X) ln(loss), NaN where the loss is not finite; None without finite losses or where one is not
    positive.
    """
    losses = _losses(surface)
    finite = losses[np.isfinite(losses)]
    return np.log(losses) if len(finite) and finite.min() > 0 else None


def _centre(surface: Surface) -> tuple[int, int] | None:
    rows, columns = np.flatnonzero(surface.y == 0), np.flatnonzero(surface.x == 0)
    return (int(rows[0]), int(columns[0])) if len(rows) and len(columns) else None


def _below(surface: Surface, threshold: float) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        below: NDArray[np.bool_] = surface.finite & (surface.loss < threshold)
    return below


def _share(surface: Surface, inside: NDArray[np.bool_]) -> float | None:
    return float(inside.sum() / surface.known.sum()) if surface.known.any() else None


def _line_curvature(loss: _Array) -> tuple[_Array, _Array]:
    """Second differences at the inner points, and the largest |f| that is in them."""
    triples = [loss[:-2], loss[1:-1], loss[2:]]
    return np.diff(loss, n=2), np.max(np.abs(triples), axis=0)


def _plane_curvature(loss: _Array) -> tuple[_Array, _Array]:
    """The lower eigenvalue of the matrix of second differences at the inner points, and the largest |f|
    that is in it.
    """
    height, width = loss.shape
    part = {
        (i, j): loss[1 + i : height - 1 + i, 1 + j : width - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)
    }
    along_x = part[0, 1] - 2 * part[0, 0] + part[0, -1]
    along_y = part[1, 0] - 2 * part[0, 0] + part[-1, 0]
    mixed = (part[1, 1] - part[1, -1] - part[-1, 1] + part[-1, -1]) / 4
    lower = (along_x + along_y) / 2 - np.hypot((along_x - along_y) / 2, mixed)
    return lower, np.max(np.abs(list(part.values())), axis=0)


def _step(axis: _Array) -> float:
    return float((axis[-1] - axis[0]) / (len(axis) - 1))


def _bends(values: _Array, axis: _Array) -> _Array:
    """The finite second differences along the last dimension, over the squared step."""
    if len(axis) < 3:
        return np.empty(0)
    bends = np.diff(values, n=2) / _step(axis) ** 2
    return bends[np.isfinite(bends)]


def _walks(surface: Surface) -> list[_Array]:
    """The finite losses along both axes from the centre outwards, in both senses."""
    centre = _centre(surface)
    if not centre:
        return []
    (row, column), losses = centre, _losses(surface)
    walks = [losses[row, column:], losses[row, column::-1], losses[row:, column], losses[row::-1, column]]
    return [walk[np.isfinite(walk)] for walk in walks]


def _largest_climb(walks: Sequence[_Array]) -> float | None:
    return max(
        (float((walk - np.minimum.accumulate(walk)).max()) for walk in walks if len(walk) > 1), default=None
    )


_ON_BOTH: Mapping[str, Measure] = {
    "floor": floor,
    "ceiling": ceiling,
    "convex_fraction": convex_fraction,
    "roughness": roughness,
    "spacing": spacing,
    "minima": minima,
    "largest_persistence": largest_persistence,
    "rise": rise,
    "fall": fall,
}
