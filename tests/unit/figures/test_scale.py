import math

import numpy as np
import pytest
from reference.landscape import surface as surface_of
from reference.summaries import bowl, evaluate, with_values

from lossmap.components.figures import scale
from lossmap.components.figures.scale import Frame, Place

X, Y = np.linspace(-1, 2, 4), np.linspace(0, 1, 3)


def test_the_scale_is_the_one_on_which_every_published_picture_was_drawn():
    assert (scale.LOW, scale.HIGH, scale.COLOUR_MAP) == (0.01, 100.0, "viridis")


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
    found = scale.counts(surface)
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
    shown = scale.clipped_loss(surface)
    assert shown[0, :3].tolist() == [0.01, 3.0, 100.0]
    assert np.argwhere(np.isnan(shown)).tolist() == [[1, 0], [1, 1], [2, 2]]


def test_lines_of_equal_loss_see_the_loss_as_it_is():
    surface = with_values(evaluate(bowl, X, Y), {(0, 0): 1e5, (0, 1): 1e-4, (0, 2): np.inf})
    np.testing.assert_allclose(scale.exponents(surface)[0, :3], [5, -4, np.nan], rtol=1e-14)


def test_a_loss_of_zero_has_a_finite_exponent():
    assert np.isfinite(scale.exponents(with_values(evaluate(bowl, X, Y), {(0, 0): 0.0}))).all()


def test_a_facet_has_the_mean_exponent_of_its_corners():
    surface = with_values(evaluate(bowl, X, Y), {(0, 3): np.inf, (0, 0): 1e4})
    found = scale.facets(surface)
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
    assert scale.edges(np.array(coordinates)).tolist() == expected


def test_the_lowest_point_is_found_by_row_and_column():
    surface = with_values(evaluate(bowl, X, Y), {(1, 3): 0.0001, (0, 0): np.nan, (0, 1): None})
    assert scale.lowest(surface) == Place(2.0, 0.5, 0.0001)


def test_a_surface_without_a_finite_loss_has_no_lowest_point():
    nothing = surface_of(X, Y, np.full((3, 4), np.nan))
    assert scale.lowest(nothing) is None
    assert scale.frame([nothing]).ceiling == 100.0


def test_levels_are_one_two_and_five_times_powers_of_ten_inside_the_range():
    assert scale.levels(0.03, 6.0) == pytest.approx([0.05, 0.1, 0.2, 0.5, 1, 2, 5])
    assert scale.levels(1e-9, 1e9) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
    assert scale.levels(2.0, 2.0) == []


def test_a_frame_holds_every_surface():
    first = evaluate(lambda x, y: 0 * x + 3.0, np.array([0.0, 1.0]), np.array([-2.0, 2.0]))
    second = evaluate(lambda x, y: 0 * x + 7.0, np.array([-5.0, -3.0]), np.array([0.0, 1.0]))
    assert scale.frame([first, second]) == Frame((-6.0, 1.5), (-4.0, 4.0), 7.0)
    assert scale.frame([with_values(first, {(0, 0): 1e7})]).ceiling == 100.0
