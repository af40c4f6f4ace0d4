import math
from dataclasses import replace

import numpy as np
import pytest
from reference.landscape import surface
from scipy import stats

from lossmap.components.core.estimates import Estimate, Support
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.measures.differences import (
    error_rate_difference,
    estimate_difference,
    measure_difference,
)

ALONE = np.array([0.0])
DRAWS = 120


def point(values):
    """A surface of one point, from the loss of each group of samples."""
    values = np.asarray(values, dtype=float)
    return replace(surface(ALONE, ALONE, np.array([[values.mean()]])), group_losses=values[None, None])


def loss(plane):
    return float(plane.loss[0, 0])


def quantile(degrees):
    return stats.t.ppf(0.975, degrees)


def test_directions_are_paired_and_ratios_are_on_the_logarithm():
    first, second = [2.0, 5.0, 9.0, 4.0], [1.0, 2.0, 4.0, 3.0]
    found = measure_difference(
        loss, [point([a, a]) for a in first], [point([b, b]) for b in second], 0, Support.POSITIVE
    )
    apart = np.log(first) - np.log(second)
    half = quantile(3) * apart.std(ddof=1) / 2
    assert (found.first, found.second, found.pairs, found.is_ratio) == (5.0, 2.5, 4, True)
    assert found.effect == pytest.approx(math.exp(apart.mean()), rel=1e-12)
    assert found.ends() == pytest.approx(
        (math.exp(apart.mean() - half), math.exp(apart.mean() + half)), rel=1e-12
    )
    assert found.surety == pytest.approx(apart.mean() / half, rel=1e-12)
    assert found.excludes_equality() == bool(apart.mean() > half)


def test_samples_are_paired():
    # what both networks find hard cancels: the difference of every group is 1, up to a hundredth
    hard = stream("test", "hard").exponential(2, size=50)
    other = hard + 1 + stream("test", "noise").normal(0, 0.01, size=50)
    found = measure_difference(loss, [point(other)], [point(hard)], 0, Support.REAL, resamples=4000)
    by_formula = (other - hard).std(ddof=1) / math.sqrt(50)
    assert found.middle == pytest.approx((other - hard).mean(), rel=1e-12)
    assert found.error == pytest.approx(by_formula, rel=0.034)
    assert found.degrees == 49


def test_few_pairs_have_their_own_degrees_of_freedom_and_pairs_that_agree_none():
    noise = stream("test", "groups").normal(3, 1, size=30)
    same = measure_difference(loss, [point(noise + 1)] * 3, [point(noise**2)] * 3, 0, Support.REAL)
    assert same.degrees == 29
    apart = measure_difference(
        loss, [point(noise + p) for p in (1, 2, 4)], [point(noise**2)] * 3, 0, Support.REAL
    )
    assert apart.degrees == 2
    assert apart.error > np.std([1, 2, 4], ddof=1) / math.sqrt(3)


def test_what_does_not_vary_has_no_interval():
    found = measure_difference(loss, [point([1, 1])] * 3, [point([0.8, 0.8])] * 3, 0, Support.SHARE)
    assert (found.effect, found.ends(), found.surety) == (pytest.approx(0.2), None, 0.0)
    assert not found.excludes_equality()


def test_a_value_without_a_logarithm_makes_the_difference_a_plain_one():
    found = measure_difference(
        loss, [point([a, a]) for a in (-1.0, 2.0)], [point([1, 1])] * 2, 0, Support.POSITIVE
    )
    assert (found.support, found.effect) == (Support.REAL, -0.5)


def test_a_measure_that_one_pair_lacks_is_not_compared():
    assert (
        measure_difference(
            lambda plane: loss(plane) if loss(plane) > 1 else None,
            [point([2, 2]), point([0, 0])],
            [point([2, 2])] * 2,
            0,
            Support.REAL,
        )
        is None
    )


@pytest.mark.parametrize("pairs", [2, 3, 4, 10])
@pytest.mark.parametrize("kind", ["log-normal", "shares"])
def test_an_interval_holds_the_truth_at_its_stated_rate(kind, pairs):
    draw, noise = stream("test", kind, pairs), 0.02
    support = Support.POSITIVE if kind == "log-normal" else Support.SHARE
    held = 0
    for _ in range(DRAWS):
        if kind == "log-normal":
            common = draw.normal(0, 0.3, size=pairs)
            first, second = np.exp(common + draw.normal(0.5, 0.3, size=pairs)), np.exp(common)
            truth = math.exp(0.5)
        else:
            first = draw.beta(7, 3, size=pairs)
            second, truth = 0.5 * first + 0.5 * draw.beta(3, 7, size=pairs), 0.2
        samples = draw.normal(1, noise, size=(2, 20))
        found = measure_difference(
            loss,
            [point(value * samples[0]) for value in first],
            [point(value * samples[1]) for value in second],
            0,
            support,
            resamples=8,
        )
        low, high = found.ends()
        held += low <= truth <= high
    # 95 % and three standard deviations of the count; not much more, or nothing could be decided
    assert 0.95 - 3 * math.sqrt(0.95 * 0.05 / DRAWS) <= held / DRAWS


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.9])
def test_estimates_whose_covariance_is_unknown_have_an_interval_that_is_never_too_short(correlation):
    draw, deviations = stream("test", "unknown"), np.array([0.2, 0.4])
    covariance = np.outer(deviations, deviations) * np.array([[1, correlation], [correlation, 1]])
    held = 0
    for logs in draw.multivariate_normal([1.0, 0.3], covariance, size=2000):
        ends = [
            Estimate(
                value=math.exp(value),
                low=math.exp(value - 1.96 * deviation),
                high=math.exp(value + 1.96 * deviation),
            )
            for value, deviation in zip(logs, deviations, strict=True)
        ]
        low, high = estimate_difference(*ends, Support.POSITIVE).ends()
        held += low <= math.exp(0.7) <= high
    assert held / 2000 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 2000)


def test_a_range_is_no_interval_to_subtract():
    ranged = Estimate(value=2.0, low=1.0, high=3.0, range_of=3)
    assert (
        estimate_difference(ranged, Estimate(value=1.0, low=0.5, high=2.0), Support.POSITIVE).ends() is None
    )


@pytest.mark.parametrize(("first", "second", "both"), [(0.05, 0.02, 0.0), (0.3, 0.25, 0.2), (0.01, 0.0, 0.0)])
def test_error_rates_on_the_same_images_have_an_interval_that_is_never_too_short(first, second, both):
    draw, count = stream("test", "wrong"), 300
    cells = draw.multinomial(count, [both, first - both, second - both, 1 - first - second + both], size=2000)
    held = 0
    for common, ours, theirs, _ in cells:
        low, high = error_rate_difference((common + ours) / count, (common + theirs) / count, count).ends()
        held += low <= first - second <= high
    assert held / 2000 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 2000)


def test_equal_error_rates_are_undecided_and_a_large_difference_is_decided():
    assert not error_rate_difference(2 / 359, 2 / 359, 359).excludes_equality()
    assert error_rate_difference(0.02, 0.2, 359).excludes_equality()
    assert error_rate_difference(0.02, 0.2, 359).effect == pytest.approx(-0.18)
