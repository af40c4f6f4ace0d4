"""Adaptive surveys of a plane: which points of its grid to evaluate, what lies between them, and how sure
that is.

The survey is a quadtree on the grid. Its first points are `spacing` steps apart. A cell is tested by
evaluating the point in its middle, which the interpolant of all points before has predicted. Where it is
missed by more than the tolerance the cell is split. A quarter whose new corners were predicted well has
passed; the others are tested in their middles, and so on. When all cells have passed, points that are drawn
at random are evaluated and held against the interpolant. Where one is missed the cells that hold it are
split, and other points are drawn.

What is done next depends on the losses alone. The survey is replayed from its beginning on the points that it
asked for itself, and a round's decisions are made when all its points are known. So workers agree without
talking, in whatever order points are evaluated and whatever else is known; points that are known already cost
nothing. (Workers on different kinds of processor may round differently, which matters where a miss equals the
tolerance to the last bits; then one asks for a few points more than the other.)

The tolerance is a share of the range of the values seen until then. The range only grows: a cell that has
passed would pass again, and in the end every test is within the final tolerance. Where the loss is not finite
(or, on the logarithmic scale, not positive) is a hole, and every cell that touches a hole is split down to
the grid, so that nothing there is interpolated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan

import numpy as np

from lossmap.components.config.landscape import Adaptive
from lossmap.components.landscape.adaptive.interpolation import interpolated_values
from lossmap.components.landscape.adaptive.refinement import Replay
from lossmap.components.landscape.grid import Grid, Point, Result, Surface

_ERROR_RATE = 0.05


@dataclass(frozen=True)
class Bound:
    """How well the interpolant fits the points that it did not know: verified on a sample of them, not
    proved.

    Attributes:
        tolerance: the setting, a share of the range.
        absolute: the tolerance in units of the scale: of the loss, or of its natural logarithm, where 0.05 is
            about 5 % of the loss.
        largest_seen: the largest miss among the held-out points, in the same units; NaN if the survey is not
            complete.
        held_out: number of those points; 0 if all points are evaluated, and the bound is exact.
        evaluated: number of the grid's points that are evaluated.
        points: number of the grid's points.
        share_below: with 95 % confidence, fewer than this share of the points that the interpolant did not
            know are missed by more than `absolute`. If a share q of them is, n held-out points are all hit
            with a probability of at most (1 - q)^n. The d-th draw may err with probability 0.05 / 2^d, so
            that all draws together err in at most 5 % of surveys: 1 - (0.05 / 2^d)^(1/n).
    """

    tolerance: float
    absolute: float
    largest_seen: float
    held_out: int
    evaluated: int
    points: int
    share_below: float


def next_points(grid: Grid, settings: Adaptive, known: Mapping[Point, Result], seed: int) -> list[Point]:
    """What to evaluate next: points that are not known, to be evaluated side by side. Empty when the survey
    is complete.

    Args:
        grid: the plane's. A grid with one row or one column is evaluated whole.
        settings: tolerance, scale, spacing and number of held-out points.
        known: every point evaluated so far; those of other grids do not matter.
        seed: decides which points are held out.
    """
    points, shape = grid.points(), (len(grid.y), len(grid.x))
    evaluated = np.array([point in known for point in points]).reshape(shape)
    loss = np.array([known[point].loss if point in known else nan for point in points]).reshape(shape)
    replay = Replay(loss, evaluated, settings, seed)
    return [(grid.x[column], grid.y[row]) for column, row in replay.next_points]


def interpolate(surface: Surface, settings: Adaptive, seed: int) -> Surface:
    """The surface with values at the points that were not evaluated; unchanged if the survey is not complete.

    The interpolant is the one that `interpolation_bound` speaks of. It does not know the points that were
    held out last, nor any that the survey did not ask for; they keep their own values.

    Args:
        surface: (Y, X) what was evaluated.
        settings: those of `next_points`.
        seed: that of `next_points`.
    """
    replay = Replay(surface.loss, surface.evaluated, settings, seed)
    rows, columns = np.nonzero(~surface.evaluated)
    if replay.next_points or not len(rows):
        return surface
    fields = interpolated_values(
        surface, replay.basis(), list(zip(columns.tolist(), rows.tolist(), strict=True)), settings.scale
    )
    filled = {name: getattr(surface, name).copy() for name in fields}
    for name, values in fields.items():
        filled[name][rows, columns] = values
    return replace(surface, **filled, interpolated=~surface.evaluated)


def interpolation_bound(surface: Surface, settings: Adaptive, seed: int) -> Bound:
    """How well the interpolant fits; arguments as for `interpolate`, before or after it."""
    replay = Replay(surface.loss, surface.evaluated, settings, seed)
    evaluated, tolerance = surface.evaluated, (settings.tolerance, replay.tolerance)
    if evaluated.all():
        return Bound(*tolerance, 0.0, 0, evaluated.size, evaluated.size, 0.0)
    if replay.next_points:
        return Bound(*tolerance, nan, 0, int(evaluated.sum()), evaluated.size, 1.0)
    largest, count = max(replay.misses[point] for point in replay.held_out), len(replay.held_out)
    share_below = 1 - (_ERROR_RATE / 2**replay.draws) ** (1 / count)
    return Bound(*tolerance, largest, count, int(evaluated.sum()), evaluated.size, share_below)
