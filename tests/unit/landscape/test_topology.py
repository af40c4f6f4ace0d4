import math

import numpy as np
import pytest
from reference import topology as reference

from lossmap.components.landscape.measures.topology import component, merge_tree


def _found(heights):
    return {(minimum.row, minimum.column): minimum.persistence for minimum in merge_tree(heights)}


def _random_grid(case):
    generator = np.random.default_rng(case)
    shape = tuple(generator.integers(1, 9, size=2))
    heights = generator.integers(0, 6, size=shape).astype(float) if case % 2 else generator.normal(size=shape)
    heights[generator.random(shape) < 0.1 * (case % 4)] = generator.choice([np.nan, np.inf, -np.inf])
    return heights


@pytest.mark.parametrize("case", range(80))
def test_the_merge_tree_equals_labelling_every_sublevel_set_also_with_ties_and_holes(case):
    heights = _random_grid(case)
    assert _found(heights) == reference.persistences(heights)


def test_a_bowl_has_one_minimum_of_infinite_persistence():
    y, x = np.mgrid[-3:4, -2:3].astype(float)
    (minimum,) = merge_tree(x**2 + 2 * y**2)
    assert (minimum.row, minimum.column, minimum.height, minimum.persistence) == (3, 2, 0.0, math.inf)


def test_two_basins_have_the_persistence_of_their_known_barrier():
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 301), np.linspace(-1, 1, 21))
    # minima near (-1, 0) and (1, 0), barrier at x = 0.0125…: the tilt moves all three by less than a grid
    # step
    minima = merge_tree((x**2 - 1) ** 2 + 0.1 * x + y**2)
    assert len(minima) == 2
    assert minima[0].height < minima[1].height
    extrema = np.sort(np.roots([4, 0, -4, 0.1]).real)
    barrier = np.diff([(z**2 - 1) ** 2 + 0.1 * z for z in extrema[[2, 1]]])[0]
    # an extremum between two grid points 0.01 apart is missed by at most |f''| h^2 / 8 <= 8 * 1e-4 / 8 at
    # each end
    assert minima[1].persistence == pytest.approx(barrier, abs=2e-4)


def test_ripples_have_as_many_minima_as_periods_each_as_persistent_as_two_amplitudes():
    x = np.arange(400) / 100  # 4 periods of 100 points: troughs and crests are on the grid
    minima = merge_tree(0.3 * np.sin(2 * math.pi * x)[None, :] + 1)
    assert [minimum.column for minimum in sorted(minima, key=lambda minimum: minimum.column)] == [
        0,
        75,
        175,
        275,
        375,
    ]
    # the first point is a minimum of its own at the border, half as deep; of equal troughs the first is the
    # lowest
    assert sorted(minimum.persistence for minimum in minima) == pytest.approx([0.3, 0.6, 0.6, 0.6, math.inf])


def test_a_narrow_diagonal_valley_is_one_minimum():
    x, y = np.meshgrid(np.arange(9.0), np.arange(9.0))
    assert len(merge_tree(100 * (x - y) ** 2 + (x + y))) == 1


def test_a_wall_of_missing_points_leaves_two_lowest_minima():
    heights = np.array([[1.0, 2.0, np.nan, 5.0, 4.0]])
    assert _found(heights) == {(0, 0): math.inf, (0, 4): math.inf}


def test_without_points_there_are_no_minima():
    assert merge_tree(np.full((3, 4), np.nan)) == []


def test_rows_and_columns_keep_their_places_on_a_grid_that_is_not_square():
    heights = np.ones((2, 5))
    heights[1, 3] = 0.0
    assert _found(heights) == {(1, 3): math.inf}
    assert _found(heights.T) == {(3, 1): math.inf}


@pytest.mark.parametrize("case", range(20))
def test_the_component_of_a_point_equals_a_walk_to_its_four_neighbours(case):
    inside = np.random.default_rng(case).random((7, 5)) < 0.6
    np.testing.assert_array_equal(component(inside, 3, 2), reference.centre_component(inside, 3, 2))


def test_a_component_does_not_leak_through_a_corner():
    inside = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(component(inside, 0, 0), [[True, False], [False, False]])
