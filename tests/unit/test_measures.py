import math

import numpy as np
import pytest
from reference.landscape import surface

from lossmap.components.landscape import measures


def surface_of(function, x, y, missing=()):
    xs, ys = np.array(x, dtype=float), np.array(y, dtype=float)
    loss = np.array([[function(a, b) for a in xs] for b in ys])
    evaluated = np.ones(loss.shape, dtype=bool)
    for row, column in missing:
        evaluated[row, column], loss[row, column] = False, np.nan
    return surface(xs, ys, loss, evaluated)


GRID = np.linspace(-1, 1, 21)


def test_a_quadratic_has_its_floor_at_the_centre_and_its_ceiling_in_the_corners():
    bowl = surface_of(lambda x, y: 0.5 + x**2 + 2 * y**2, GRID, GRID)
    assert (measures.floor(bowl), measures.centre_loss(bowl), measures.ceiling(bowl)) == (0.5, 0.5, 3.5)


def test_the_basin_is_the_share_of_points_below_ln_of_the_classes():
    bowl = surface_of(lambda x, y: x**2 + y**2, GRID, GRID)
    by_hand = sum(x**2 + y**2 < math.log(2) for x in GRID for y in GRID) / len(GRID) ** 2
    assert measures.basin_fraction(bowl, classes=2) == by_hand


def test_masked_points_are_no_values():
    rugged = surface_of(lambda x, y: math.nan if x > 0 else math.inf if y > 0 else 1 - x, GRID, GRID, missing=[(0, 0), (1, 0)])
    assert measures.floor(rugged) == 1.0
    assert measures.ceiling(rugged) == 2.0
    below = sum(x <= 0 and y <= 0 and 1 - x < math.log(10) for x in GRID for y in GRID) - 2
    assert measures.basin_fraction(rugged, classes=10) == below / (len(GRID) ** 2 - 2)


def test_without_a_finite_point_there_is_no_value():
    nothing = surface_of(lambda _x, _y: math.nan, GRID, GRID)
    assert (measures.floor(nothing), measures.ceiling(nothing)) == (None, None)
    assert measures.basin_fraction(nothing, 10) == 0.0
    assert measures.convex_fraction(surface_of(lambda _x, _y: math.nan, GRID, [0.0])) is None


def test_a_grid_without_the_centre_has_no_loss_there():
    assert measures.centre_loss(surface_of(lambda x, y: x + y, [0.5, 1.0], GRID)) is None


def test_a_convex_line_is_convex_everywhere_also_where_it_is_straight():
    assert measures.convex_fraction(surface_of(lambda x, _y: x**2, GRID, [0.0])) == 1.0
    assert measures.convex_fraction(surface_of(lambda x, _y: abs(x), GRID, [0.0])) == 1.0


def test_a_sine_is_convex_on_half_of_its_period():
    period = np.linspace(0.1, 2 * math.pi + 0.1, 1001)
    # the tolerance for rounding calls the flattest five points beside each zero straight, which counts as convex
    assert measures.convex_fraction(surface_of(lambda x, _y: math.sin(x), period, [0.0])) == pytest.approx(0.5, abs=0.006)
