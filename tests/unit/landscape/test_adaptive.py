import math
import random

import numpy as np
import pytest
from reference.interpolation import cubic
from reference.landscape import surface
from scipy.stats import binom, hypergeom

from lossmap.components.config.landscape import Adaptive, Axis
from lossmap.components.landscape.adaptive.interpolation import predict
from lossmap.components.landscape.adaptive.plane import interpolate, interpolation_bound, next_points
from lossmap.components.landscape.adaptive.refinement import Replay
from lossmap.components.landscape.grid import Grid, Result

SCALES = ("log", "linear")


def _grid(columns=51, rows=51, low=-1.0):
    return Grid.of(Axis(low=low, points=columns), Axis(low=low, points=rows))


def _result(loss):
    return Result(loss, 0.0, 0.1)


def _survey(function, grid, settings, seed=0, known=None):
    """Everything that is known in the end, and how many points each round asked for."""
    known, rounds = dict(known or {}), []
    while points := next_points(grid, settings, known, seed):
        known.update({point: _result(function(*point)) for point in points})
        rounds.append(len(points))
    return known, rounds


def _surface(grid, known):
    evaluated = np.array([point in known for point in grid.points()]).reshape(len(grid.y), len(grid.x))
    loss = np.array([known[point].loss if point in known else np.nan for point in grid.points()]).reshape(
        evaluated.shape
    )
    return surface(grid.x, grid.y, loss, evaluated)


def _truth(function, grid):
    return np.array([[function(x, y) for x in grid.x] for y in grid.y])


def _misses(function, grid, settings, seed=0):
    """How far every point of the grid is from the truth, in units of the scale; and the surface."""
    found = interpolate(_surface(grid, _survey(function, grid, settings, seed)[0]), settings, seed)
    scale = np.log if settings.scale == "log" else np.asarray
    return np.abs(scale(found.loss) - scale(_truth(function, grid))), found


def _bowl(x, y):
    return 0.05 + 3 * x**2 + 1.2 * x * y + 1.5 * y**2


def _softmax():
    """Mean cross-entropy of a softmax regression on a plane through its weights."""
    numbers = np.random.default_rng(1)
    inputs, centre = numbers.normal(size=(100, 20)), numbers.normal(size=(20, 10))
    first, second = numbers.normal(size=(2, 20, 10))
    labels = (inputs @ centre + numbers.gumbel(size=(100, 10))).argmax(axis=1)

    def loss(x, y):
        logits = inputs @ (centre + x * first + y * second)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(100), labels]).mean())

    return loss


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("function", [_bowl, _softmax()], ids=["quadratic", "softmax"])
def test_a_smooth_surface_needs_an_eighth_of_its_points_for_one_percent_at_every_point(function, scale):
    settings = Adaptive(scale=scale)
    misses, found = _misses(function, _grid(), settings)
    truth = _truth(function, _grid())
    span = np.ptp(np.log(truth) if scale == "log" else truth)
    assert found.evaluated.sum() <= 51 * 51 / 8
    assert misses.max() <= 0.01 * span
    assert misses[found.evaluated].max() == 0


def test_a_smaller_tolerance_is_kept_with_more_points():
    counts = []
    for tolerance in (0.02, 0.005, 0.001):
        misses, found = _misses(_bowl, _grid(), Adaptive(tolerance=tolerance))
        assert misses.max() <= tolerance * np.ptp(np.log(_truth(_bowl, _grid())))
        counts.append(found.evaluated.sum())
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def _rugged(x, y):
    return (
        0.5
        + x**2
        + y**2
        + 0.3 * math.sin(25 * x) * math.sin(23 * y) * math.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.03)
    )


@pytest.mark.parametrize("scale", SCALES)
def test_a_surface_is_refined_where_it_is_rugged(scale):
    found = _misses(_rugged, _grid(), Adaptive(scale=scale))[1]
    rugged, opposite = found.evaluated[32:, 32:].mean(), found.evaluated[:19, :19].mean()
    assert rugged > 2 * opposite  # where there are only the first points, and those that were held out


@pytest.mark.parametrize("seed", range(4))
def test_a_spike_is_found_or_lies_within_what_is_not_excluded(seed):
    place = np.random.default_rng(seed).uniform(-0.9, 0.9, size=2)

    def spiked(x, y):
        return _bowl(x, y) + 3.0 * (math.hypot(x - place[0], y - place[1]) < 0.06)

    settings = Adaptive()
    misses, found = _misses(spiked, _grid(), settings, seed)
    stated = interpolation_bound(found, settings, seed)
    unknown = stated.points - stated.evaluated + stated.held_out
    assert (misses > stated.absolute).sum() < max(1, stated.share_below * unknown)


@pytest.mark.parametrize("hole", [math.nan, math.inf])
@pytest.mark.parametrize("scale", SCALES)
def test_nothing_is_interpolated_beside_a_point_without_a_finite_loss(hole, scale):
    def torn(x, y):
        return hole if x + y > 0.9 else _bowl(x, y)

    grid, settings = _grid(41, 33), Adaptive(scale=scale)
    found = interpolate(_surface(grid, _survey(torn, grid, settings)[0]), settings, 0)
    holes = ~np.isfinite(_truth(torn, grid))
    beside = np.pad(holes, 1)
    near = np.any(
        [beside[1 + down : 34 + down, 1 + right : 42 + right] for down in (-1, 0, 1) for right in (-1, 0, 1)],
        axis=0,
    )
    assert holes.sum() > 100
    assert found.evaluated[near].all()
    assert np.isfinite(found.loss[~holes]).all()
    assert found.interpolated.sum() > 200


def test_a_loss_of_zero_has_no_logarithm_and_is_not_interpolated():
    grid, settings = _grid(17, 17), Adaptive(scale="log", held_out=20)
    found = _misses(
        lambda x, y: max(0.0, x - 0.5) + max(0.0, y - 0.5), grid, Adaptive(scale="linear", held_out=20)
    )[1]
    assert not found.evaluated.all()
    known = _survey(lambda x, y: 0.0 if x < 0.5 else x, grid, settings)[0]
    assert _surface(grid, known).evaluated[:, : grid.x.index(0.5) + 1].all()


def test_a_plane_without_any_finite_loss_is_evaluated_whole():
    grid = _grid(9, 9)
    assert len(_survey(lambda x, y: math.nan, grid, Adaptive())[0]) == 81


def test_a_plane_that_is_not_square_keeps_its_rows_and_columns():
    grid, settings = (
        Grid.of(Axis(low=-1, points=45), Axis(low=0, high=3, points=23)),
        Adaptive(scale="linear", held_out=30),
    )
    misses, found = _misses(lambda x, y: 2 * x**2 + 0.1 * y + x * y, grid, settings)
    assert found.loss.shape == (23, 45)
    assert not found.evaluated.all()
    assert misses.max() <= interpolation_bound(found, settings, 0).absolute


@pytest.mark.parametrize("scale", SCALES)
def test_the_order_of_evaluation_makes_no_difference(scale):
    grid, settings, chance = _grid(31, 31), Adaptive(scale=scale, held_out=20), random.Random(0)
    known = {}
    while points := next_points(grid, settings, known, 0):
        for point in chance.sample(points, k=min(7, len(points))):
            known[point] = _result(_rugged(*point))
    assert known == _survey(_rugged, grid, settings)[0]


def test_a_round_that_is_half_done_asks_for_its_other_half():
    grid, settings = _grid(), Adaptive()
    first = next_points(grid, settings, {}, 0)
    half = {point: _result(_bowl(*point)) for point in first[::2]}
    assert next_points(grid, settings, half, 0) == first[1::2]


def test_points_that_are_known_are_not_asked_for_and_points_of_other_grids_do_not_matter():
    grid, settings = _grid(), Adaptive()
    alone = _survey(_bowl, grid, settings)[0]
    line = {(x, 0.0): _result(_bowl(x, 0.0)) for x in Grid.of(Axis(points=201)).x}
    beside, rounds = _survey(_bowl, grid, settings, known=line)
    assert sum(rounds) < len(alone)
    assert set(beside) == set(alone) | set(line)
    assert next_points(grid, settings, alone | line, 0) == []


def test_a_finer_survey_takes_what_a_coarser_one_has_paid_for():
    coarse, fine, settings = _grid(), _grid(101, 101), Adaptive(held_out=1)
    known = _survey(_bowl, coarse, settings)[0]
    _, afresh = _survey(_bowl, fine, settings)
    _, rounds = _survey(_bowl, fine, settings, known=known)
    assert sum(rounds) < 0.75 * sum(afresh)


def test_whatever_else_is_known_the_interpolated_values_are_the_same():
    grid, settings = _grid(), Adaptive()
    known = _survey(_bowl, grid, settings)[0]
    more = known | {point: _result(_bowl(*point)) for point in random.Random(1).sample(grid.points(), 300)}
    plain, rich = (interpolate(_surface(grid, points), settings, 0) for points in (known, more))
    # The same system of equations, solved for fewer places: only the order of sums differs.
    np.testing.assert_allclose(rich.loss[rich.interpolated], plain.loss[rich.interpolated], rtol=1e-12)
    assert rich.interpolated.sum() < plain.interpolated.sum()


@pytest.mark.parametrize(("columns", "rows"), [(2, 2), (2, 30), (3, 2), (3, 40), (30, 2)])
def test_narrow_planes_are_surveyed_to_the_end(columns, rows):
    grid, settings = _grid(columns, rows), Adaptive(held_out=5, scale="linear")
    misses, found = _misses(_bowl, grid, settings)
    stated = interpolation_bound(found, settings, 0)
    assert (misses > stated.absolute).sum() <= stated.share_below * found.interpolated.sum()
    assert found.known.all()


def test_a_line_is_evaluated_whole():
    line = Grid.of(Axis(points=20))
    assert next_points(line, Adaptive(), {}, 0) == line.points()
    assert next_points(line, Adaptive(), {point: _result(1.0) for point in line.points()}, 0) == []


@pytest.mark.parametrize("scale", SCALES)
def test_rounding_errors_of_a_flat_surface_are_not_refined(scale):
    noise = np.random.default_rng(0)
    _, rounds = _survey(lambda x, y: 2.3 * (1 + 1e-7 * noise.uniform(-1, 1)), _grid(), Adaptive(scale=scale))
    assert len(rounds) == 3  # the first points, the middles of their cells, and the held-out points


@pytest.mark.parametrize("scale", SCALES)
def test_a_spike_seen_late_raises_the_tolerance_and_undoes_nothing(scale):
    grid, settings = _grid(33, 33), Adaptive(scale=scale, held_out=30)
    known = _survey(lambda x, y: _bowl(x, y) + 500 * (abs(x - y) < 0.01 and x == 0.1875), grid, settings)[0]
    plane = _surface(grid, known)
    replay = Replay(plane.loss, plane.evaluated, settings, 0)
    assert not replay.next_points
    assert max(replay.misses[point] for point in replay.held_out) <= replay.tolerance


def test_the_interpolant_is_that_of_an_independent_solution():
    grid, settings = _grid(25, 19), Adaptive(held_out=10)
    plane = _surface(grid, _survey(_rugged, grid, settings)[0])
    basis = Replay(plane.loss, plane.evaluated, settings, 0).basis()
    found = interpolate(plane, settings, 0)
    values = [math.log(plane.loss[row, column]) for column, row in basis]
    rows, columns = np.nonzero(found.interpolated)
    for row, column in list(zip(rows, columns, strict=True))[::12]:
        # Two solvers of one system whose condition number is below 1e8.
        assert found.loss[row, column] == pytest.approx(
            math.exp(cubic(basis, values, (column, row))), rel=1e-7
        )


def test_of_very_many_points_the_nearest_count():
    places = [(column, row) for row in range(35) for column in range(35)]
    values = np.array([_bowl(column / 17 - 1, row / 17 - 1) for column, row in places])
    wanted = [(17.5, 17.5), (3.5, 30.5)]
    nearest = [
        sorted(range(len(places)), key=lambda index: math.dist(places[index], place))[:64] for place in wanted
    ]
    found = predict(places, values, wanted)
    # Ties at the rim of the neighbourhood may be broken otherwise, which moves a smooth function by far less
    # than its range of 7.
    for value, chosen, place in zip(found, nearest, wanted, strict=True):
        assert value == pytest.approx(
            cubic([places[index] for index in chosen], values[chosen], place), abs=1e-4
        )


def test_points_on_one_line_predict_nothing():
    assert np.isnan(predict([(0, 0), (1, 1), (2, 2)], np.ones(3), [(1, 0)])).all()
    assert np.isnan(predict([], np.ones(0), [(1, 0)])).all()
    assert predict([(0, 0), (0, 1), (1, 0)], np.ones((3, 2)), []).shape == (0, 2)


@pytest.mark.parametrize("scale", SCALES)
def test_the_mean_over_groups_stays_the_loss_where_it_is_interpolated(scale):
    grid, settings = _grid(), Adaptive(scale=scale)
    found = interpolate(_surface(grid, _survey(_bowl, grid, settings)[0]), settings, 0)
    assert found.interpolated.sum() > 2000
    # The weights of an interpolant with a linear polynomial sum to 1; what is left is rounding.
    np.testing.assert_allclose(found.group_losses.mean(axis=-1), found.loss, rtol=1e-8)
    np.testing.assert_allclose(found.loss_standard_error, 0.04 * np.abs(found.loss), rtol=1e-8)


def test_errors_stay_shares_and_a_field_that_is_missing_stays_missing():
    grid, settings = _grid(), Adaptive()
    plane = _surface(grid, _survey(_bowl, grid, settings)[0])
    plane.error[:] = np.where(plane.evaluated, np.greater(plane.loss, 1.0), np.nan)
    plane.loss_standard_error[:] = np.nan
    found = interpolate(plane, settings, 0)
    assert found.error.min() == 0
    assert found.error.max() == 1
    assert np.isnan(found.loss_standard_error).all()
    assert np.isfinite(found.loss).all()


def test_a_survey_that_is_not_complete_is_not_interpolated_and_verifies_nothing():
    grid, settings = _grid(), Adaptive()
    known = {point: _result(_bowl(*point)) for point in next_points(grid, settings, {}, 0)}
    plane = _surface(grid, known)
    assert interpolate(plane, settings, 0) is plane
    stated = interpolation_bound(plane, settings, 0)
    assert math.isnan(stated.largest_seen)
    assert (stated.held_out, stated.share_below, stated.evaluated) == (0, 1.0, len(known))


def test_the_bound_is_exact_if_every_point_is_evaluated():
    grid, settings = _grid(9, 9), Adaptive()
    stated = interpolation_bound(
        _surface(grid, {point: _result(_bowl(*point)) for point in grid.points()}), settings, 0
    )
    assert (stated.largest_seen, stated.held_out, stated.share_below) == (0.0, 0, 0.0)
    assert stated.evaluated == stated.points == 81


def test_the_bound_tells_the_largest_miss_of_points_that_the_interpolant_does_not_know():
    grid, settings = _grid(), Adaptive()
    known = _survey(_bowl, grid, settings)[0]
    plane = _surface(grid, known)
    replay = Replay(plane.loss, plane.evaluated, settings, 0)
    held_out = replay.held_out
    basis, values = replay.basis(), [math.log(plane.loss[row, column]) for column, row in replay.basis()]
    slow = [
        abs(cubic(basis, values, (column, row)) - math.log(_bowl(grid.x[column], grid.y[row])))
        for column, row in held_out[:5]
    ]
    stated = interpolation_bound(interpolate(plane, settings, 0), settings, 0)
    assert len(held_out) == stated.held_out == 60
    assert not set(held_out) & set(basis)
    assert max(slow) <= stated.largest_seen + 1e-9
    assert stated.largest_seen <= stated.absolute
    # The range that was seen is at most that of the whole grid, whose least point may be missing.
    assert (
        0.95 * 0.01 * np.ptp(np.log(_truth(_bowl, grid)))
        < stated.absolute
        <= 0.01 * np.ptp(np.log(_truth(_bowl, grid)))
    )


def test_the_share_that_is_excluded_is_that_of_the_exact_probabilities():
    stated = interpolation_bound(_surface(_grid(), _survey(_bowl, _grid(), Adaptive())[0]), Adaptive(), 0)
    unknown = stated.points - stated.evaluated + stated.held_out
    bad = math.ceil(stated.share_below * unknown)
    # One draw: all held-out points are hit with a probability of at most 0.05 / 2, if so many of the unknown
    # points are bad.
    assert 0.02 < hypergeom.pmf(0, unknown, bad, stated.held_out) <= 0.025
    assert stated.share_below == pytest.approx(1 - 0.025 ** (1 / 60))


def test_the_share_is_excluded_wrongly_in_at_most_one_survey_of_twenty():
    settings, surveys, wrong = Adaptive(scale="linear", spacing=12, held_out=12), 150, 0
    for seed in range(surveys):
        # Rough points at random, about as many as a first draw excludes: the hardest case.
        truth = 1.0 + np.arange(13) / 12 + (np.random.default_rng(seed).random((13, 13)) < 0.27)
        replay = Replay(truth, np.ones(truth.shape, dtype=bool), settings, seed)
        evaluated = np.array([[(column, row) in replay.misses for column in range(13)] for row in range(13)])
        plane = surface(range(13), range(13), np.where(evaluated, truth, np.nan), evaluated)
        found, stated = interpolate(plane, settings, seed), interpolation_bound(plane, settings, seed)
        unknown = stated.points - stated.evaluated + stated.held_out
        wrong += bool(
            (np.abs(found.loss - truth) > stated.absolute).sum() >= max(1, stated.share_below * unknown)
        )
    # More than the 99.9 % quantile of a true rate of 5 % would contradict the statement.
    assert wrong <= binom.ppf(0.999, surveys, 0.05)


def test_the_seed_decides_which_points_are_held_out_and_nothing_else():
    grid, settings = _grid(), Adaptive()
    one, same, other = (_surface(grid, _survey(_bowl, grid, settings, seed)[0]) for seed in (1, 1, 2))
    assert (one.evaluated == same.evaluated).all()
    assert (one.evaluated != other.evaluated).any()
    np.testing.assert_allclose(
        interpolate(one, settings, 1).loss,
        interpolate(other, settings, 2).loss,
        atol=2 * interpolation_bound(one, settings, 1).absolute,
    )
