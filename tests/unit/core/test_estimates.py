import math

import numpy as np
import pytest
from scipy import stats

from lossmap.components.config.scalars import support_of
from lossmap.components.core.estimates import (
    Estimate,
    Support,
    mean_estimate,
    mean_or_range,
    scalars_of,
    student_estimate,
    with_further_error,
)

LAWS = {
    "real": (Support.REAL, stats.norm(-1, 2)),
    "positive, little spread": (Support.POSITIVE, stats.lognorm(0.3)),
    "positive, wide": (Support.POSITIVE, stats.lognorm(0.5)),
    "share": (Support.SHARE, stats.beta(2, 2)),
    "share near one": (Support.SHARE, stats.beta(8, 2)),
    "share at the ends": (Support.SHARE, stats.beta(0.5, 0.5)),
    "difference": (Support.SHARE_DIFFERENCE, stats.beta(2, 5, loc=-1, scale=2)),
}


@pytest.mark.parametrize("count", [4, 5, 10])
@pytest.mark.parametrize("law", LAWS)
def test_the_interval_of_a_mean_covers_at_its_rate_and_holds_nothing_impossible(law, count):
    support, distribution = LAWS[law]
    draws = distribution.rvs(size=(1500, count), random_state=np.random.default_rng(count))
    found = [mean_estimate(values, support) for values in draws]
    covered = sum(estimate.low <= distribution.mean() <= estimate.high for estimate in found)
    # 93 % at least, and three binomial standard errors of 1500 draws, 0.017
    assert 0.93 - 0.02 <= covered / len(found) <= 0.97 + 0.02
    least, greatest = distribution.support()
    assert all(least <= estimate.low <= estimate.value <= estimate.high <= greatest for estimate in found)


def test_what_the_interval_was_before_is_impossible_in_many_of_these_draws():
    draws = stats.lognorm(1.0).rvs(size=(500, 4), random_state=np.random.default_rng(0))
    assert np.mean([mean_estimate(values).low < 0 for values in draws]) > 0.5


@pytest.mark.parametrize(
    ("support", "value"),
    [
        (Support.REAL, -3.0),
        (Support.POSITIVE, 5.874),
        (Support.SHARE, 0.97),
        (Support.SHARE_DIFFERENCE, -0.8),
    ],
)
def test_a_small_margin_is_the_same_on_every_scale_and_a_margin_is_found_again(support, value):
    low, high = support.ends(value, 1e-6)
    assert (low, high) == pytest.approx((value - 1e-6, value + 1e-6), abs=1e-9)
    for margin in (1e-6, 0.01, 0.5):
        if support is not Support.SHARE_DIFFERENCE:
            assert support.margin(value, support.ends(value, margin)[1]) == pytest.approx(margin, rel=1e-6)


def test_a_loss_is_not_below_zero():
    low, high = Support.POSITIVE.ends(5.874, 6.643)
    assert (low, high) == pytest.approx((5.874 / math.exp(6.643 / 5.874), 5.874 * math.exp(6.643 / 5.874)))


@pytest.mark.parametrize(
    ("support", "value"), [(Support.POSITIVE, 0.0), (Support.SHARE, 0.0), (Support.SHARE, 1.0)]
)
def test_at_an_end_of_what_can_be_there_is_no_interval(support, value):
    assert support.ends(value, 0.1) is None
    assert student_estimate(value, 0.1, 9, support) == Estimate(value=value, standard_error=0.1)
    assert support.ends(value, 0.0) == (value, value)


def test_a_margin_beyond_all_numbers_is_no_interval():
    assert Support.POSITIVE.ends(1e-3, 1.0) is None
    assert Support.SHARE.ends(1e-9, 0.5) is not None  # saturates within 0 and 1


def test_a_negative_value_of_what_was_taken_for_positive_has_the_interval_of_any_number():
    assert Support.POSITIVE.ends(-3.8, 1.0) == (-4.8, -2.8)


@pytest.mark.parametrize(
    ("values", "support", "expected"),
    [
        ([2.0, 5.0, 3.0], Support.POSITIVE, (10 / 3, 2.0, 5.0, 3)),
        ([1.0, 1.0, 2.0, 1.0, 1.0], Support.COUNT, (1.2, 1.0, 2.0, 5)),
        ([1.0] * 6, Support.SHARE, (1.0, 1.0, 1.0, 6)),
        ([4.0], Support.REAL, (4.0, None, None, None)),
    ],
)
def test_few_values_equal_values_and_counts_have_a_range(values, support, expected):
    found = mean_or_range(values, support)
    assert (found.value, found.low, found.high, found.range_of) == pytest.approx(expected)


def test_four_values_have_an_interval():
    found = mean_or_range([1.0, 2.0, 3.0, 4.0], Support.REAL)
    half = stats.t.ppf(0.975, 3) * stats.sem([1, 2, 3, 4])
    assert (found.low, found.high) == pytest.approx((2.5 - half, 2.5 + half))
    assert found.range_of is None


def test_margins_add_in_squares_on_every_scale():
    first = student_estimate(0.4, 0.1, 20, Support.POSITIVE)
    both = with_further_error(first, 0.05, Support.POSITIVE)
    margin = math.hypot(stats.t.ppf(0.975, 20) * 0.1, 1.96 * 0.05)
    assert (both.low, both.high) == pytest.approx(Support.POSITIVE.ends(0.4, margin))
    assert both.low > 0
    assert both.standard_error == pytest.approx(math.hypot(0.1, 0.05))


def test_scalars_say_where_the_ends_are_a_range():
    found = scalars_of({"a": mean_or_range([1.0, 3.0], Support.COUNT), "b": Estimate(value=2.0), "c": None})
    assert found == {"a": 2.0, "b": 2.0, "c": None, "a_low": 1.0, "a_high": 3.0, "a_range_of": 2.0}


@pytest.mark.parametrize(
    ("name", "support"),
    [
        ("ceiling", Support.POSITIVE),
        ("line_floor", Support.POSITIVE),
        ("line_convex_fraction", Support.SHARE),
        ("basin_fraction_below_0.5", Support.SHARE),
        ("test_error.digits", Support.SHARE),
        ("minima", Support.COUNT),
        ("hessian_largest", Support.POSITIVE),
        ("hessian_smallest", Support.REAL),
        ("hessian_trace", Support.REAL),
        ("fisher_trace", Support.POSITIVE),
        ("worst_case_sharpness_0.05", Support.POSITIVE),
        ("average_case_sharpness_0.05", Support.REAL),
        ("barrier_linear_test", Support.POSITIVE),
        ("barrier_linear_error_test", Support.SHARE),
        ("anything else", Support.REAL),
    ],
)
def test_every_scalar_has_its_support(name, support):
    assert support_of(name) is support
