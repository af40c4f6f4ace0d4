import math

import numpy as np
import pytest
from reference import studies
from scipy import integrate, stats

from lossmap.components.studies.effects import (
    effect,
    hedges_g,
    holm,
    least_p,
    mean_interval,
    permutation_p,
    share_interval,
    study_effects,
)
from lossmap.components.studies.samples import Measurements


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(("first", "second"), [(3, 3), (4, 3), (5, 5), (2, 6)])
def test_p_is_the_share_of_all_divisions_of_the_runs(first, second):
    x, y = draw(1, first), draw(2, second) - 0.7
    assert permutation_p(x, y, 0) == pytest.approx(studies.permutation_p(x, y), rel=1e-12)


def test_ties_count_on_both_sides():
    x, y = np.array([0.1, 0.1, 0.2]), np.array([0.1, 0.2, 0.3])
    assert permutation_p(x, y, 0) == pytest.approx(studies.permutation_p(x, y), rel=1e-12)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_two_groups_that_lie_apart_reach_the_least_p(n):
    x, y = np.arange(n) + 100.0, np.arange(n) * 1.5
    assert permutation_p(x, y, 0) == pytest.approx(least_p(n, n), rel=1e-12)
    assert least_p(n, n) == pytest.approx(2 / math.comb(2 * n, n), rel=1e-12)


def test_three_seeds_cannot_go_below_one_tenth():
    assert least_p(3, 3) == pytest.approx(0.1, rel=1e-12)


def test_more_divisions_than_can_be_tried_are_drawn_and_again_the_same():
    x, y = draw(1, 12), draw(2, 12) - 0.6
    first = permutation_p(x, y, 7)
    assert first == permutation_p(x, y, 7)
    expected = stats.ttest_ind(x, y).pvalue  # close to the permutation test for normal values
    assert first == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_what_holm_leaves_below_a_level_is_what_his_procedure_rejects(seed):
    p = np.random.default_rng(seed).random(7) ** 3
    adjusted = holm(p)
    for level in (0.01, 0.05, 0.1, 0.3):
        assert {index for index, value in enumerate(adjusted) if value <= level} == studies.holm_rejects(
            p, level
        )


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-12)
    assert holm([]) == []


def test_cliffs_delta_is_counted_pair_by_pair():
    x, y = draw(3, 6).round(1), draw(4, 5).round(1)
    count = sum(int(a > b) - int(a < b) for a in x for b in y)
    assert effect(studies.sample(*x), studies.sample(*y), 0).cliffs_delta == pytest.approx(
        count / 30, rel=1e-12
    )


def test_hedges_g_is_unbiased_and_by_its_formula():
    x, y = draw(5, 4) + 1, draw(6, 6)
    common = math.sqrt((sum((x - x.mean()) ** 2) + sum((y - y.mean()) ** 2)) / 8)
    correction = math.gamma(4) / (2 * math.gamma(3.5))
    value, _ = hedges_g(x, y)
    assert value == pytest.approx(correction * (x.mean() - y.mean()) / common, rel=1e-12)


def test_the_interval_of_g_holds_the_effects_that_the_observed_t_does_not_contradict():
    x, y = draw(5, 4) + 1, draw(6, 6)
    value, (low, high) = hedges_g(x, y)
    t, size, correction = (
        stats.ttest_ind(x, y).statistic,
        math.sqrt(24 / 10),
        math.gamma(4) / (2 * math.gamma(3.5)),
    )

    def share_below(effect_size):
        """P(T <= t) for T = (Z + delta) / sqrt(V / 8), by its integral over V."""
        inner = stats.norm.cdf
        return integrate.quad(
            lambda v: inner(t * math.sqrt(v / 8) - effect_size / correction * size) * stats.chi2.pdf(v, 8),
            0,
            80,
        )[0]

    assert low < value < high
    assert share_below(low) == pytest.approx(0.975, abs=1e-5)
    assert share_below(high) == pytest.approx(0.025, abs=1e-5)


def test_the_interval_of_few_seeds_is_welchs():
    x, y = draw(7, 5), 3 * draw(8, 4)
    assert mean_interval(x, y, 0) == pytest.approx(studies.welch_interval(x, y), rel=1e-12)


def test_the_interval_of_few_seeds_is_welchs_where_one_group_does_not_vary():
    x, y = [0.1, 0.1, 0.1], [0.2, 0.1]
    assert mean_interval(np.array(x), np.array(y), 0) == pytest.approx(
        studies.welch_interval(x, y), rel=1e-12
    )


@pytest.mark.parametrize(("n", "deviation"), [(3, 1), (5, 1), (5, 3)])
def test_the_interval_holds_the_truth_as_often_as_it_says(n, deviation):
    trials = 1000
    found = [
        mean_interval(deviation * x, y, 0)
        for x, y in zip(draw(n, trials, n), draw(n + 50, trials, n), strict=True)
    ]
    held = sum(low <= 0 <= high for low, high in found)
    # too short would be seen; Welch's is a little too wide at n = 3
    assert stats.binomtest(held, trials, 0.95, alternative="less").pvalue > 1e-4


def test_the_interval_of_a_difference_of_shares_is_no_more_than_all():
    x, y = np.array([0.99, 0.6]), np.array([0.01, 0.3])
    assert mean_interval(x, y, 0)[1] > 1
    bounded = mean_interval(x, y, 0, of_shares=True)
    assert -1 < bounded[0] < x.mean() - y.mean() < bounded[1] < 1
    of_shares = [studies.sample(*values, measure="test_error") for values in (x, y)]
    assert effect(*of_shares, 0).interval == bounded


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_of_a_difference_of_shares_holds_the_truth_as_often_as_it_says(n):
    generator, trials = np.random.default_rng(n), 1000
    shares = generator.beta(8, 2, (trials, n)), generator.beta(2, 2, (trials, n))
    found = [mean_interval(x, y, 0, of_shares=True) for x, y in zip(*shares, strict=True)]
    held = sum(low <= 0.3 <= high for low, high in found)
    assert stats.binomtest(held, trials, 0.94, alternative="less").pvalue > 1e-3


def test_the_interval_of_many_seeds_is_the_bootstraps():
    x, y = np.exp(draw(1, 30)), np.exp(draw(2, 30))
    low, high = mean_interval(x, y, 3)
    welch = stats.ttest_ind(x, y, equal_var=False).confidence_interval()
    assert low < x.mean() - y.mean() < high
    assert (low, high) == mean_interval(x, y, 3)
    assert (low, high) != pytest.approx((welch.low, welch.high), rel=1e-6)
    assert high - low == pytest.approx(welch.high - welch.low, rel=0.5)


def test_groups_that_do_not_vary_have_a_difference_and_no_effect_in_deviations():
    found = effect(studies.sample(0.1, 0.1, 0.1), studies.sample(0.3, 0.3, 0.3), 0)
    assert found.difference == pytest.approx(-0.2, rel=1e-12)
    assert found.interval == pytest.approx((-0.2, -0.2), rel=1e-12)
    assert (found.hedges_g, found.hedges_interval) == (None, None)
    assert found.cliffs_delta == -1
    assert found.p == pytest.approx(0.1, rel=1e-12)


def test_equal_constant_groups_do_not_differ():
    found = effect(studies.sample(1, 1, 1), studies.sample(1, 1, 1), 0)
    assert (found.difference, found.interval, found.hedges_g, found.cliffs_delta, found.p) == (
        0,
        (0, 0),
        None,
        0,
        1,
    )


def test_one_run_is_not_tested():
    found = effect(studies.sample(1), studies.sample(1, 2, 3), 0)
    assert found.difference == -1
    assert (found.interval, found.p, found.least_p) == (None, None, None)


def test_no_value_no_effect():
    found = effect(studies.sample(), studies.sample(1, 2), 0)
    assert (found.difference, found.interval, found.hedges_g, found.cliffs_delta, found.p) == (None,) * 5


def test_values_that_do_not_exist_are_left_out_and_counted():
    made = Measurements.of(
        studies.study(),
        studies.outcomes({"a": [1, None, math.nan, math.inf], "b": [2, 3]}),
        missing=[studies.cell("a", 4)],
    )
    found = made.sample("a", {}, "m")
    assert found.values == (1,)
    assert found.planned_size == 5


def test_all_comparisons_of_a_study_are_corrected_together():
    levels = {"rate": {"low": (), "high": ()}}
    runs = [
        outcome
        for level in ("low", "high")
        for outcome in studies.outcomes(
            {"a": draw(1, 4), "b": draw(2, 4) + (5 if level == "high" else 0)}, levels={"rate": level}
        )
    ]
    found = study_effects(Measurements.of(studies.study(factors=levels, measures=("m", "nowhere")), runs))
    assert [(each.first.levels["rate"], each.first.measure) for each in found] == [
        ("low", "m"),
        ("low", "nowhere"),
        ("high", "m"),
        ("high", "nowhere"),
    ]
    low, absent, high, _ = found
    assert absent.adjusted_p is None
    assert [low.adjusted_p, high.adjusted_p] == pytest.approx([low.p, 2 * high.p], rel=1e-12)
    assert high.least_adjusted_p == pytest.approx(4 / math.comb(8, 4), rel=1e-12)


def test_the_interval_of_a_share_is_exact():
    low, high = share_interval(3, 10)
    assert stats.binom.sf(2, 10, low) == pytest.approx(0.025, rel=1e-6)
    assert stats.binom.cdf(3, 10, high) == pytest.approx(0.025, rel=1e-6)
    assert share_interval(0, 4)[0] == 0
    assert share_interval(4, 4)[1] == 1
