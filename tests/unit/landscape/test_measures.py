import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from reference.landscape import surface

from lossmap.components.config.landscape import Landscape
from lossmap.components.landscape.measures import surface as measures


def surface_of(function, x, y, missing=()):
    xs, ys = np.array(x, dtype=float), np.array(y, dtype=float)
    loss = np.array([[function(a, b) for a in xs] for b in ys])
    evaluated = np.ones(loss.shape, dtype=bool)
    for row, column in missing:
        evaluated[row, column], loss[row, column] = False, np.nan
    return surface(xs, ys, loss, evaluated)


GRID = np.linspace(-1, 1, 21)
WIDE, TALL = np.linspace(-2, 1, 13), np.linspace(0, 1, 7)  # not square, and y starts at 0
ALL = [
    measures.floor,
    measures.ceiling,
    measures.centre_loss,
    partial(measures.fraction_below, threshold=1.0),
    partial(measures.centre_fraction_below, threshold=1.0),
    measures.convex_fraction,
    measures.roughness,
    measures.spacing,
    measures.minima,
    measures.largest_persistence,
    measures.rise,
    measures.fall,
]


def test_a_quadratic_has_its_floor_at_the_centre_and_its_ceiling_in_the_corners():
    bowl = surface_of(lambda x, y: 0.5 + x**2 + 2 * y**2, GRID, GRID)
    assert (measures.floor(bowl), measures.centre_loss(bowl), measures.ceiling(bowl)) == (0.5, 0.5, 3.5)


def test_a_quadratic_is_convex_everywhere_with_one_minimum_and_no_fall_from_its_centre():
    bowl = surface_of(lambda x, y: 0.5 + x**2 + 2 * y**2 - x * y, GRID, GRID)
    assert (measures.convex_fraction(bowl), measures.minima(bowl), measures.largest_persistence(bowl)) == (
        1.0,
        1.0,
        0.0,
    )
    # along y: 0.5 to 2.5, along x: 0.5 to 1.5
    assert (measures.rise(bowl), measures.fall(bowl)) == (2.0, 0.0)


def test_the_basin_is_the_share_of_points_below_ln_of_the_classes():
    bowl = surface_of(lambda x, y: x**2 + y**2, GRID, GRID)
    by_hand = sum(x**2 + y**2 < math.log(2) for x in GRID for y in GRID) / len(GRID) ** 2
    assert measures.fraction_below(bowl, math.log(2)) == by_hand
    assert (
        measures.fraction_below(bowl, math.log(2))
        == measures.centre_fraction_below(bowl, math.log(2))
        == by_hand
    )


def test_only_the_part_of_the_basin_that_holds_the_centre_is_the_centres():
    wells = surface_of(lambda x, _y: math.cos(2 * math.pi * x), np.linspace(-0.5, 1.5, 17), [0.0, 1.0])
    # below 0.5 around x = -1/2, 1/2 and 3/2, not at the centre
    assert measures.centre_fraction_below(wells, 0.5) == 0.0
    hills = surface_of(lambda x, _y: -math.cos(2 * math.pi * x), np.linspace(-0.5, 1.5, 17), [0.0, 1.0])
    # below 0 around 0 and 1, |x| < 1/4: one of eight steps to each side
    assert (measures.fraction_below(hills, -0.1), measures.centre_fraction_below(hills, -0.1)) == (
        6 / 17,
        3 / 17,
    )


def test_masked_points_are_no_values():
    rugged = surface_of(
        lambda x, y: math.nan if x > 0 else math.inf if y > 0 else 1 - x, GRID, GRID, missing=[(0, 0), (1, 0)]
    )
    assert measures.floor(rugged) == 1.0
    assert measures.ceiling(rugged) == 2.0
    below = sum(x <= 0 and y <= 0 and 1 - x < math.log(10) for x in GRID for y in GRID) - 2
    assert measures.fraction_below(rugged, math.log(10)) == below / (len(GRID) ** 2 - 2)
    # what is left is affine, the centre at its lowest
    assert (
        measures.convex_fraction(rugged),
        measures.minima(rugged),
        measures.rise(rugged),
        measures.fall(rugged),
    ) == (1.0, 1.0, 1.0, 0.0)


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf], ids=str)
def test_a_point_that_is_not_finite_is_left_out_of_every_measure(hole):
    grid = np.linspace(-1, 1, 5)
    holed = surface_of(lambda x, y: hole if (x, y) == (1.0, 1.0) else 1 + x**2 + y**2, grid, grid)
    missing = surface_of(lambda x, y: 1 + x**2 + y**2, grid, grid, missing=[(4, 4)])
    for measure in (
        measures.floor,
        measures.ceiling,
        measures.convex_fraction,
        measures.roughness,
        measures.minima,
        measures.rise,
        measures.fall,
    ):
        assert measure(holed) == measure(missing)
    # it is known, and not below any threshold
    assert (measures.fraction_below(holed, 9.0), measures.fraction_below(missing, 9.0)) == (24 / 25, 1.0)


def test_interpolated_points_are_values_except_to_second_differences():
    bowl = surface_of(lambda x, y: 1 + x**2 + y**2, GRID, GRID)
    every_other = np.add.outer(np.arange(21), np.arange(21)) % 2 == 0
    interpolated = replace(bowl, evaluated=every_other, interpolated=~every_other)
    second_differences = (measures.convex_fraction, measures.roughness)
    expected = [None if measure in second_differences else measure(bowl) for measure in ALL]
    assert [measure(interpolated) for measure in ALL] == expected


def test_without_a_finite_point_there_is_no_value():
    nothing = surface_of(lambda _x, _y: math.nan, GRID, GRID)
    assert (measures.floor(nothing), measures.ceiling(nothing)) == (None, None)
    assert measures.fraction_below(nothing, math.log(10)) == 0.0
    assert measures.convex_fraction(surface_of(lambda _x, _y: math.nan, GRID, [0.0])) is None
    for measure in (
        measures.centre_loss,
        measures.roughness,
        measures.minima,
        measures.largest_persistence,
        measures.rise,
        measures.fall,
    ):
        assert measure(nothing) is None


def test_where_nothing_was_evaluated_there_are_no_shares():
    unknown = surface(GRID, GRID, np.ones((21, 21)), np.zeros((21, 21), dtype=bool))
    assert [measure(unknown) for measure in ALL if measure is not measures.spacing] == [None] * (len(ALL) - 1)


def test_a_grid_without_the_centre_has_no_loss_there():
    apart = surface_of(lambda x, y: x + y, [0.5, 1.0], GRID)
    assert (
        measures.centre_loss(apart)
        is measures.centre_fraction_below(apart, 1.0)
        is measures.rise(apart)
        is measures.fall(apart)
        is None
    )


def test_axes_may_start_or_end_at_zero():
    corner = surface_of(lambda x, y: 1 - x + 2 * y, np.linspace(-1, 0, 5), np.linspace(0, 1, 3))
    assert (measures.centre_loss(corner), measures.rise(corner), measures.fall(corner)) == (1.0, 2.0, 0.0)
    assert measures.centre_fraction_below(corner, 1.5) == measures.fraction_below(corner, 1.5) == 2 / 15


def test_rows_are_y_and_columns_are_x_on_a_grid_that_is_not_square():
    tilted = surface_of(lambda x, y: 5 + x + 3 * y + 0.5 * x * y, WIDE, TALL)
    turned = surface_of(lambda y, x: 5 + x + 3 * y + 0.5 * x * y, TALL, WIDE)
    assert tilted.loss.shape == (7, 13)
    # the loss at (x, y) is read where x is the column: the walk along y climbs 3, the one to x = -2 falls 2
    assert (measures.centre_loss(tilted), measures.rise(tilted), measures.fall(tilted)) == (5.0, 3.0, 2.0)
    for measure in ALL:
        assert measure(tilted) == pytest.approx(measure(turned), rel=1e-12)


def test_a_convex_line_is_convex_everywhere_also_where_it_is_straight():
    assert measures.convex_fraction(surface_of(lambda x, _y: x**2, GRID, [0.0])) == 1.0
    assert measures.convex_fraction(surface_of(lambda x, _y: abs(x), GRID, [0.0])) == 1.0


def test_a_sine_is_convex_on_half_of_its_period():
    period = np.linspace(0.1, 2 * math.pi + 0.1, 1001)
    # the tolerance for rounding calls the flattest point beside each zero straight, which counts as convex
    assert measures.convex_fraction(surface_of(lambda x, _y: math.sin(x), period, [0.0])) == pytest.approx(
        0.5, abs=0.002
    )


@pytest.mark.parametrize(("mixed", "convex"), [(1.9, 1.0), (2.1, 0.0), (-2.1, 0.0)])
def test_a_plane_is_convex_where_both_curvatures_outweigh_the_mixed_one(mixed, convex):
    # the Hessian [[2, mixed], [mixed, 2]]: both axes always curve upwards, a diagonal does as long as |mixed|
    # < 2
    oblique = surface_of(lambda x, y: 10 + x**2 + y**2 + mixed * x * y, WIDE, TALL)
    assert measures.convex_fraction(oblique) == convex


def test_a_saddle_is_convex_nowhere_and_has_its_minima_at_the_border():
    saddle = surface_of(lambda x, y: 2 + x**2 - y**2, GRID, GRID)
    assert (measures.convex_fraction(saddle), measures.minima(saddle)) == (0.0, 2.0)
    # from one valley, of loss 1, to the other over the pass of loss 2
    assert measures.largest_persistence(saddle) == pytest.approx(math.log(2), rel=1e-12)


def test_convexity_is_that_of_the_hessian_up_to_the_grid():
    # x^4 + y^4 - 3 x y has the Hessian [[12 x^2, -3], [-3, 12 y^2]]: positive semidefinite where |x y| >= 1/4
    fine = np.linspace(-1, 1, 101)
    inner = fine[1:-1]
    by_hand = np.mean(np.abs(np.outer(inner, inner)) >= 0.25)
    # of 99^2 points, the 24 next to the border have a lower eigenvalue of -5 eps32 |f| = -5e-6 or above: what
    # float32 could do
    assert measures.convex_fraction(
        surface_of(lambda x, y: 5 + x**4 + y**4 - 3 * x * y, fine, fine)
    ) == pytest.approx(by_hand, abs=0.003)


def test_two_basins_are_two_minima_with_a_known_pass():
    wells = surface_of(
        lambda x, y: math.exp((x**2 - 1) ** 2 + 0.1 * x + y**2), np.linspace(-1.5, 1.5, 301), GRID
    )
    extrema = np.sort(np.roots([4, 0, -4, 0.1]).real)
    barrier = np.diff([(z**2 - 1) ** 2 + 0.1 * z for z in extrema[[2, 1]]])[0]
    assert measures.minima(wells) == 2.0
    # both extrema are missed by at most |f''| h^2 / 8 = 1e-4 of ln(loss)
    assert measures.largest_persistence(wells) == pytest.approx(barrier, abs=2e-4)


@pytest.mark.parametrize(("amplitude", "count"), [(0.02, 6.0), (0.006, 6.0), (0.004, 1.0)])
def test_ripples_count_where_they_are_higher_than_a_hundredth_of_the_range(amplitude, count):
    # six troughs of ln(loss), each two amplitudes below the crests beside it; the wall at the end makes its
    # range 1
    x = np.linspace(0, 6, 601)
    rippled = surface_of(
        lambda x, _y: math.exp(1 if x == 6 else amplitude * math.cos(2 * math.pi * x) - amplitude), x, [0.0]
    )
    rippled.loss[0, -1] *= math.exp(-2 * amplitude)
    assert measures.minima(rippled) == count


def test_roughness_of_a_quadratic_is_its_second_derivative():
    bowl = surface_of(lambda x, y: math.exp(1.5 * x**2 - 0.5 * y**2), WIDE, TALL)
    # second differences along x, where g'' = 3, and along y, where it is -1
    inner_x, inner_y = (
        11 * 7,
        13 * 5,
    )
    by_hand = math.sqrt((inner_x * 3**2 + inner_y * 1**2) / (inner_x + inner_y))
    # rounding of ln(loss), 1e-16, over h^2 = 1 / 36
    assert measures.roughness(bowl) == pytest.approx(by_hand, rel=1e-12)


def test_roughness_of_ripples_is_that_of_their_formula():
    amplitude, frequency, points = 0.1, 8 * math.pi, 400
    x = np.arange(-1, points + 1) / points  # inner points make whole periods
    ripples = surface_of(lambda x, _y: math.exp(amplitude * math.sin(frequency * x)), x, [0.0])
    half = frequency / points / 2
    by_hand = amplitude * frequency**2 * (math.sin(half) / half) ** 2 / math.sqrt(2)
    # rounding of ln(loss), 1e-17, over h^2 = 6e-6
    assert measures.roughness(ripples) == pytest.approx(by_hand, rel=1e-9)


def test_an_exponential_of_an_affine_function_is_not_rough():
    slope = surface_of(lambda x, y: math.exp(1 + 2 * x - 3 * y), WIDE, TALL)
    # rounding of ln(loss), at most 1e-15, four times, over h^2 = 1 / 36
    assert measures.roughness(slope) == pytest.approx(0, abs=2e-13)


@pytest.mark.parametrize("lowest", [0.0, -0.5])
def test_losses_of_zero_and_below_are_values_of_which_there_is_no_logarithm(lowest):
    bowl = surface_of(lambda x, y: lowest + x**2 + y**2, GRID, GRID)
    assert (measures.floor(bowl), measures.centre_loss(bowl), measures.convex_fraction(bowl)) == (
        lowest,
        lowest,
        1.0,
    )
    assert measures.fraction_below(bowl, lowest + 0.001) == 1 / 21**2
    assert (measures.roughness(bowl), measures.minima(bowl), measures.largest_persistence(bowl)) == (
        None,
        None,
        None,
    )


def test_a_bump_on_the_way_to_the_centre_is_the_fall_and_the_climb_over_it_the_rise():
    line = surface([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0], [0.0], [[3.0, 1.5, 1.0, 2.5, 2.0, 2.25]])
    assert (measures.rise(line), measures.fall(line)) == (2.0, 0.5)


def test_a_wall_of_missing_points_makes_two_minima_without_a_pass():
    line = surface([-1.0, 0.0, 1.0], [0.0], [[1.0, math.nan, 2.0]])
    assert (measures.minima(line), measures.largest_persistence(line)) == (2.0, 0.0)


def test_the_spacing_is_the_larger_step():
    assert measures.spacing(surface_of(lambda x, y: x + y, [0.0, 0.5, 1.0], [-1.0, -0.75, -0.5])) == 0.5
    assert measures.spacing(surface_of(lambda x, _y: x, [0.0, 0.5, 1.0], [0.0])) == 0.5
    assert measures.spacing(surface_of(lambda x, y: x + y, [0.0], [0.0])) is None


COMMON = {
    "floor",
    "ceiling",
    "convex_fraction",
    "roughness",
    "spacing",
    "minima",
    "largest_persistence",
    "rise",
    "fall",
}


def test_the_summary_names_every_measure_with_its_interval():
    plane = surface_of(lambda x, y: 0.5 + x**2 + y**2, GRID, TALL)
    line = surface_of(lambda x, _y: 0.5 + x**2, GRID, [0.0])
    summary = measures.surface_measures([plane], [line], math.log(2), Landscape(basin_thresholds=(0.5, 1.25)))
    basins = {
        f"{which}basin_fraction{below}"
        for which in ("", "centre_")
        for below in ("", "_below_0.5", "_below_1.25")
    }
    assert set(summary) == {"centre_loss"} | basins | COMMON | {f"line_{name}" for name in COMMON}
    assert summary["basin_fraction"].value == measures.fraction_below(plane, math.log(2))
    assert summary["centre_basin_fraction_below_1.25"].value == measures.centre_fraction_below(plane, 1.25)
    assert (summary["line_rise"].value, summary["ceiling"].value) == (1.0, 2.5)
    assert summary["centre_loss"].direction_error is None
    assert summary["centre_loss"].low < 0.5 < summary["centre_loss"].high


def test_without_classes_or_a_line_the_summary_has_nothing_of_them():
    summary = measures.surface_measures(
        [surface_of(lambda x, y: x**2 + y**2, GRID, GRID)], [], None, Landscape()
    )
    assert set(summary) == {"centre_loss"} | COMMON
    assert summary["roughness"] is None


def _bowls(*widths):
    return [surface_of(lambda x, y, width=width: 0.5 + width * (x**2 + y**2), GRID, GRID) for width in widths]


def test_nothing_that_cannot_be_is_in_an_interval_of_four_pairs():
    planes = _bowls(0.1, 9.0, 0.05, 3.0)
    found = measures.surface_measures(planes, [], math.log(2), Landscape(pairs=4))
    for name in ("floor", "ceiling", "roughness", "rise"):
        assert 0 < found[name].low < found[name].value < found[name].high
        assert found[name].range_of is None
    share = found["basin_fraction"]
    assert 0 < share.low < share.value < share.high < 1
    assert 1.96 * share.standard_error > min(share.value, 1 - share.value)  # value ± t s is beyond it


def test_two_and_three_pairs_have_a_range_that_is_called_so():
    for widths in ((0.1, 9.0), (0.1, 9.0, 3.0)):
        found = measures.surface_measures(_bowls(*widths), [], None, Landscape(pairs=len(widths)))["ceiling"]
        assert (found.low, found.high, found.range_of) == pytest.approx((0.7, 18.5, len(widths)))


def test_minima_are_whole_numbers():
    wells = surface_of(lambda x, _y: 2 + math.cos(4 * math.pi * x), GRID, GRID)
    found = measures.surface_measures([wells, *_bowls(1.0, 2.0, 3.0, 4.0)], [], None, Landscape(pairs=5))[
        "minima"
    ]
    assert (found.low, found.high, found.range_of) == (1.0, measures.minima(wells), 5)
    one = measures.surface_measures(_bowls(1.0), [], None, Landscape())["minima"]
    assert (one.value, one.low, one.high, one.range_of) == (1.0, None, None, None)


def test_a_loss_that_a_group_of_samples_has_below_zero_is_any_number():
    planes = [surface_of(lambda x, y, low=low: low + x**2 + y**2, GRID, GRID) for low in (0.1, 0.2, 0.1, 0.4)]
    for plane in planes:
        plane.group_losses[0, 0, 0] = -1.0
    found = measures.surface_measures(planes, [], None, Landscape(pairs=4))["floor"]
    assert found.low < 0 < found.value
