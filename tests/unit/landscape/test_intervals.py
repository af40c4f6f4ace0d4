import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from reference.landscape import surface
from scipy import stats

from lossmap.components.core.estimates import Support
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.measures import surface as measures
from lossmap.components.landscape.measures.intervals import difference, measure_with_interval
from lossmap.components.landscape.objective import Samples

AXIS = np.linspace(-1, 1, 9)
X, Y = np.meshgrid(AXIS, AXIS)


def _sampled(losses, groups):
    """A surface from the loss of each sample, (N, Y, X), in groups of equal size."""
    means = losses.reshape(groups, -1, *losses.shape[1:]).mean(axis=1)
    return replace(surface(AXIS, AXIS, losses.mean(axis=0)), group_losses=np.moveaxis(means, 0, -1))


def _mean_loss(plane):
    return float(plane.loss.mean())


@pytest.mark.parametrize("groups", [5, 50])
def test_the_subset_error_of_a_mean_is_that_of_its_formula(groups):
    losses = stream("test", "mean").normal(3, 1, size=(groups, 1, 1)) + np.zeros_like(X)
    found = measure_with_interval(_mean_loss, [_sampled(losses, groups)], seed=1, resamples=4000)
    by_formula = losses[:, 0, 0].std(ddof=1) / math.sqrt(groups)
    # the standard deviation of 4000 resamples is known to 1 / sqrt(8000) = 1.1 %: three of these
    assert found.subset_error == pytest.approx(by_formula, rel=0.034)
    assert (found.direction_error, found.pairs, found.value) == (
        None,
        1,
        pytest.approx(losses.mean(), rel=1e-12),
    )
    half = stats.t.ppf(0.975, groups - 1) * found.subset_error
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=1e-12)


@pytest.mark.parametrize(("samples", "excess"), [(512, 0.0035), (150, 0.125), (200, 0.0)])
def test_groups_of_unequal_size_make_the_variance_of_a_mean_too_large_by_no_more_than_is_stated(
    samples, excess
):
    sizes = Samples(torch.zeros(samples), torch.zeros(samples), 64).groups().bincount().double()
    # the mean of equally weighted groups of independent samples has the variance sum(1 / size) / groups^2,
    # that of all samples 1 / samples
    assert float((1 / sizes).sum()) / len(sizes) ** 2 * samples - 1 == pytest.approx(excess, abs=5e-5)


def test_the_direction_error_is_the_standard_error_over_the_pairs():
    pairs = [surface(AXIS, AXIS, height + X**2, spread=0.0) for height in (1.0, 2.0, 4.0)]
    found = measure_with_interval(measures.floor, pairs, seed=0)
    assert (found.value, found.pairs, found.direction_error) == pytest.approx(
        (7 / 3, 3, np.std([1, 2, 4], ddof=1) / math.sqrt(3))
    )
    assert found.subset_error == pytest.approx(0, abs=1e-15)  # groups do not differ; rounding of their means
    assert (found.low, found.high, found.range_of) == (1.0, 4.0, 3)
    more = measure_with_interval(measures.floor, [*pairs, pairs[0]], seed=0)
    half = stats.t.ppf(0.975, 3) * more.direction_error
    assert (more.low, more.high) == pytest.approx((more.value - half, more.value + half))
    assert more.range_of is None


def test_pairs_that_agree_have_the_interval_of_the_samples():
    plane = surface(AXIS, AXIS, 1 + X**2)
    one, three = (measure_with_interval(measures.floor, [plane] * pairs, seed=0) for pairs in (1, 3))
    assert three.range_of is None
    assert three.direction_error == 0
    assert (three.low, three.high) == pytest.approx((one.low, one.high))


def test_pairs_that_agree_in_every_resample_are_told_to_be_the_same():
    plane = surface(AXIS, AXIS, 1 + X**2)
    found = measure_with_interval(measures.spacing, [plane] * 4, seed=0, support=Support.POSITIVE)
    assert (found.low, found.high, found.range_of) == (0.25, 0.25, 4)
    assert measure_with_interval(measures.spacing, [plane], seed=0).low is None


def test_at_the_end_of_what_can_be_the_interval_is_that_of_the_resamples():
    share = partial(measures.fraction_below, threshold=3.05)
    plane = surface(AXIS, AXIS, 1 + X**2 + Y**2, groups=8, spread=0.2)
    found = measure_with_interval(share, [plane], seed=0, support=Support.SHARE)
    assert found.value == found.high == 1.0
    assert 0 < found.low < 1


def test_both_errors_add_in_squares_with_satterthwaites_degrees_of_freedom():
    heights = (1.0, 1.1, 1.2, 1.0)
    found = measure_with_interval(
        measures.floor, [surface(AXIS, AXIS, height + X**2, groups=5) for height in heights], seed=0
    )
    variance = found.subset_error**2 + found.direction_error**2
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=1e-12)
    freedom = variance**2 / (found.subset_error**4 / 4 + found.direction_error**4 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=1e-9)


def test_all_pairs_see_the_same_resamples():
    noise = stream("test", "pairs").normal(size=(40, 1, 1)) + np.zeros_like(X)
    up, down = _sampled(5 + noise, 40), _sampled(5 - noise, 40)
    assert measure_with_interval(_mean_loss, [up], seed=0).subset_error > 0.1
    assert measure_with_interval(_mean_loss, [up, down], seed=0).subset_error == pytest.approx(0, abs=1e-14)


def test_the_same_seed_gives_the_same_interval_and_another_a_different_one():
    plane = surface(AXIS, AXIS, 1 + X**2, groups=7)
    once, again, other = (measure_with_interval(measures.ceiling, [plane], seed) for seed in (3, 3, 4))
    assert once == again != other


def test_a_measure_that_exists_nowhere_has_no_interval():
    assert measure_with_interval(lambda _: None, [surface(AXIS, AXIS, X)], seed=0) is None


def test_pairs_without_the_measure_are_left_out_and_not_counted():
    nothing = surface(AXIS, AXIS, np.full_like(X, math.nan))
    found = measure_with_interval(measures.floor, [nothing, surface(AXIS, AXIS, 1 + X**2)], seed=0)
    assert (found.value, found.pairs, found.direction_error) == (1.0, 1, None)


@pytest.mark.parametrize("groups", [0, 1])
def test_without_two_groups_the_subset_error_is_unknown_and_not_zero(groups):
    plane = surface(AXIS, AXIS, 1 + X**2, groups=groups)
    found = measure_with_interval(measures.floor, [plane], seed=0)
    assert (found.value, found.low, found.high, found.pairs) == (1.0, None, None, 1)
    assert (found.subset_error, found.direction_error) == (None, None)
    assert difference(plane, (0.0, 0.0), (1.0, 0.0)) == (1.0, None)


def test_where_most_resamples_lack_the_measure_its_error_is_unknown():
    negative = replace(
        surface(AXIS, AXIS, 1 + X**2), group_losses=np.stack([X - 3, X - 2, X - 1, X + 4], axis=-1)
    )
    assert measures.roughness(negative) is not None
    assert measure_with_interval(measures.roughness, [negative], seed=0).subset_error is None


def test_points_that_are_not_finite_stay_masked_in_every_resample():
    loss = 1 + X**2 + Y**2
    loss[0, 0], loss[0, 1], loss[1, 0] = math.nan, math.inf, math.inf
    holed = surface(AXIS, AXIS, loss)
    holed.group_losses[:2, :2, 0] = np.nan
    # (1, 1) has a finite loss, which its groups do not explain: it counts in the value alone
    seen = []
    found = measure_with_interval(
        lambda plane: seen.append(plane.finite.sum()) or float(np.median(plane.loss[plane.finite])),
        [holed],
        seed=0,
    )
    assert seen[0] == 81 - 3
    assert set(seen[1:]) <= {81 - 3, 81 - 4}
    assert math.isfinite(found.subset_error)


def test_an_interval_is_on_the_scale_of_what_the_measure_can_be():
    plane = surface(AXIS, AXIS, 1 + X**2, spread=0.5)
    real, positive = (
        measure_with_interval(measures.floor, [plane], seed=0, support=support)
        for support in (Support.REAL, Support.POSITIVE)
    )
    margin = real.high - real.value
    assert (positive.low, positive.high) == pytest.approx(Support.POSITIVE.ends(real.value, margin))
    assert positive.standard_error == real.standard_error


def _skewed_samples(generator, samples):
    """Losses of samples, of which the mean over the population is 1 + x^2 + y^2."""
    factors = generator.lognormal(-0.08, 0.4, size=(samples, 1, 1))  # of mean 1
    slope, curvature = generator.normal(0, 0.3, size=(2, samples, 1, 1))
    return factors * (1 + X**2 + Y**2) + slope * X + curvature * Y**2


POPULATION = surface(AXIS, AXIS, 1 + X**2 + Y**2)


@pytest.mark.parametrize(
    ("measure", "support"),
    [
        (measures.centre_loss, Support.POSITIVE),
        (measures.ceiling, Support.POSITIVE),
        (_mean_loss, Support.REAL),
        (measures.roughness, Support.POSITIVE),
        (partial(measures.fraction_below, threshold=1.7), Support.SHARE),
    ],
    ids=["centre", "ceiling", "mean", "roughness", "basin"],
)
def test_the_subset_interval_covers_the_populations_measure_at_its_rate(measure, support):
    generator, truth = stream("test", "coverage"), measure(POPULATION)
    planes = [_sampled(_skewed_samples(generator, 200), 50) for _ in range(300)]
    found = [
        measure_with_interval(measure, [plane], seed, resamples=100, support=support)
        for seed, plane in enumerate(planes)
    ]
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate in found])
    # three binomial standard errors, 3 sqrt(0.95 * 0.05 / 300) = 0.038
    assert 0.912 <= covered <= 0.988


def test_the_interval_of_both_covers_the_mean_over_all_directions_at_its_rate():
    # sample n has the loss |w|^2 h_n / 2 along w = x d1 + y d2 in 10 dimensions, d1 and d2 Gaussian: the
    # curvature along x is h_n |d1|^2, of which the mean over directions and samples is 10
    generator = stream("test", "directions")

    def curvature(plane):
        return float((plane.loss[4, 5] - 2 * plane.loss[4, 4] + plane.loss[4, 3]) / 0.25**2)

    def covers(seed):
        curvatures = 1 + generator.normal(0, 2, size=(100, 1, 1))
        directions = generator.normal(size=(6, 2, 10))
        squares = [(np.multiply.outer(X, d1) + np.multiply.outer(Y, d2)) ** 2 for d1, d2 in directions]
        planes = [_sampled(curvatures * square.sum(axis=-1) / 2, 50) for square in squares]
        found = measure_with_interval(curvature, planes, seed, resamples=100)
        narrow = stats.t.ppf(0.975, 49) * found.subset_error
        return found.low <= 10 <= found.high, abs(found.value - 10) <= narrow

    both, subset_alone = np.mean([covers(seed) for seed in range(300)], axis=0)
    assert 0.912 <= both <= 0.988
    # what one would claim without the variation of the directions
    assert subset_alone < 0.912


def test_the_error_of_a_difference_is_that_of_paired_groups_and_smaller_than_unpaired():
    losses = 1 + X**2 + stream("test", "paired").normal(size=(60, 1, 1)) * (1 + 0.1 * X)
    plane = _sampled(losses, 60)
    found, error = difference(plane, (-1.0, 0.25), (0.5, 0.25))
    first, second = losses[:, 5, 0], losses[:, 5, 6]
    assert found == pytest.approx(second.mean() - first.mean(), rel=1e-12)
    assert error == pytest.approx((second - first).std(ddof=1) / math.sqrt(60), rel=1e-9)
    unpaired = math.hypot(first.std(ddof=1), second.std(ddof=1)) / math.sqrt(60)
    # the samples' losses at both points are 0.9 and 1.05 times the same number: 0.15 against hypot(0.9, 1.05)
    # = 1.38 of it
    assert error == pytest.approx(unpaired * 0.15 / math.hypot(0.9, 1.05), rel=1e-9)


def test_a_difference_needs_two_finite_points_of_the_grid():
    holed = surface([0.0, 1.0], [0.0, 2.0], [[1.0, math.nan], [3.0, 4.0]])
    assert difference(holed, (0.0, 0.0), (0.0, 2.0))[0] == 2.0
    assert difference(holed, (0.0, 0.0), (1.0, 0.0)) is None
    assert difference(holed, (0.0, 0.0), (2.0, 0.0)) is None
