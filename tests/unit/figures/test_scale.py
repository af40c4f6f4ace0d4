import math

import numpy as np
import pytest
from reference.landscape import surface as surface_of
from reference.summaries import bowl, evaluate, with_values

from lossmap.components.figures import frame as drawn
from lossmap.components.figures.frame import Frame, Place
from lossmap.components.figures.scale import COLOUR_MAP, USUAL, Scale

X, Y = np.linspace(-1, 2, 4), np.linspace(0, 1, 3)


def test_the_scale_is_the_one_on_which_every_published_picture_was_drawn():
    assert (USUAL.kind, USUAL.low, USUAL.high, COLOUR_MAP) == ("log", 0.01, 100.0, "viridis")
    assert drawn.frame([evaluate(bowl, X, Y)]).scale is USUAL


def test_every_point_is_counted_as_what_it_is():
    surface = with_values(
        evaluate(bowl, X, Y),
        {
            (0, 0): 0.001,
            (0, 1): 0.01,
            (0, 2): 100.0,
            (0, 3): 100.1,
            (1, 0): np.nan,
            (1, 1): np.inf,
            (2, 2): None,
        },
    )
    found = drawn.counts(surface, USUAL)
    assert (found.points, found.below, found.above, found.nan, found.infinite, found.missing) == (
        12,
        1,
        1,
        1,
        1,
        1,
    )


def test_clipping_keeps_what_is_on_the_scale_and_blanks_what_is_not_a_number():
    surface = with_values(
        evaluate(bowl, X, Y),
        {(0, 0): 0.0, (0, 1): 3.0, (0, 2): 1e9, (1, 0): np.nan, (1, 1): np.inf, (2, 2): None},
    )
    shown = drawn.clipped_loss(surface, USUAL)
    assert shown[0, :3].tolist() == [0.01, 3.0, 100.0]
    assert np.argwhere(np.isnan(shown)).tolist() == [[1, 0], [1, 1], [2, 2]]


def test_lines_of_equal_loss_see_the_loss_as_it_is():
    surface = with_values(evaluate(bowl, X, Y), {(0, 0): 1e5, (0, 1): 1e-4, (0, 2): np.inf})
    np.testing.assert_allclose(drawn.true_heights(surface, USUAL)[0, :3], [5, -4, np.nan], rtol=1e-14)


def test_a_loss_of_zero_has_a_finite_exponent():
    assert np.isfinite(drawn.true_heights(with_values(evaluate(bowl, X, Y), {(0, 0): 0.0}), USUAL)).all()


def test_a_facet_has_the_mean_exponent_of_its_corners():
    surface = with_values(evaluate(bowl, X, Y), {(0, 3): np.inf, (0, 0): 1e4})
    found = drawn.facets(surface, USUAL)
    for row in range(2):
        for column in range(3):
            losses = [
                min(max(float(surface.loss[row + i, column + j]), 0.01), 100.0)
                for i in (0, 1)
                for j in (0, 1)
            ]
            finite = all(math.isfinite(surface.loss[row + i, column + j]) for i in (0, 1) for j in (0, 1))
            expected = math.log10(math.prod(losses) ** 0.25) if finite else math.nan
            assert found[row, column] == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("coordinates", "expected"),
    [([0.0, 1.0, 3.0], [-0.5, 0.5, 2.0, 4.0]), ([2.0], [1.5, 2.5]), ([-1.0, -0.5], [-1.25, -0.75, -0.25])],
)
def test_cells_end_half_way_between_points(coordinates: list[float], expected: list[float]):
    assert drawn.edges(np.array(coordinates)).tolist() == expected


def test_the_lowest_point_is_found_by_row_and_column():
    surface = with_values(evaluate(bowl, X, Y), {(1, 3): 0.0001, (0, 0): np.nan, (0, 1): None})
    assert drawn.lowest(surface) == Place(2.0, 0.5, 0.0001)


def test_a_surface_without_a_finite_loss_has_no_lowest_point():
    nothing = surface_of(X, Y, np.full((3, 4), np.nan))
    assert drawn.lowest(nothing) is None
    assert drawn.frame([nothing]).ceiling == 100.0


def test_levels_are_one_two_and_five_times_powers_of_ten():
    levels = sorted(level for group in USUAL.levels() for level in group)
    assert levels == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
    assert Scale("log", 1e-9, 1e9).levels() == [pytest.approx([10.0**power for power in range(-9, 10)])]


@pytest.mark.parametrize(
    "scale",
    [USUAL, Scale("log", 2e-7, 5e-4), Scale("linear", -3.8, 0.8), Scale("symlog", -5.0, 1e6, 1.0)],
    ids=["usual", "log", "linear", "symlog"],
)
def test_levels_of_a_group_are_evenly_spaced_and_heights_have_an_inverse(scale):
    for group in scale.levels():
        heights = scale.heights(group)
        assert np.diff(heights) == pytest.approx(np.full(len(group) - 1, np.diff(heights)[:1]))
        assert scale.losses(heights) == pytest.approx(group, rel=1e-9, abs=1e-12)
    assert scale.position(scale.ends).tolist() == [0, 1]
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())
    assert len(scale.ticks()) >= 3


def test_a_symmetric_logarithm_is_linear_around_zero_and_logarithmic_beyond():
    scale = Scale("symlog", -1e3, 1e6, 1.0)
    assert scale.heights([-1e-3, 0.0, 1e-3]) == pytest.approx(
        np.array([-1e-3, 0, 1e-3]) / np.log(10), rel=1e-6
    )
    assert np.diff(scale.heights([1e3, 1e4, 1e5])) == pytest.approx([1, 1], abs=1e-6)


def test_a_frame_holds_every_surface():
    first = evaluate(lambda x, y: 0 * x + 3.0, np.array([0.0, 1.0]), np.array([-2.0, 2.0]))
    second = evaluate(lambda x, y: 0 * x + 7.0, np.array([-5.0, -3.0]), np.array([0.0, 1.0]))
    assert drawn.frame([first, second]) == Frame((-6.0, 1.5), (-4.0, 4.0), 3.0, 7.0, USUAL)
    assert drawn.frame([with_values(first, {(0, 0): 1e7})]).ceiling == 100.0
