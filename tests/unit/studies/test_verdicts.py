import numpy as np
import pytest
from reference import studies

from lossmap.components.studies.cells import Outcome
from lossmap.components.studies.samples import Measurements
from lossmap.components.studies.verdicts import verdicts

APART = {"a": [1, 1.1, 1.2, 1.3, 1.4], "b": [2, 2.1, 2.2, 2.3, 2.4]}


def said(rule, network="b", **more):
    return {"text": "It is said", "rule": rule, "measure": "m", "network": network, **more}


def judge(statement, outcomes=(), pairs=(), missing=(), **changes):
    (found,) = verdicts(
        Measurements.of(studies.study(statements=(statement,), **changes), outcomes, pairs, missing)
    )
    return found.answer, found.evidence


def with_ends(*ends):
    return [
        Outcome(studies.cell("b", seed), {"m": value, "m_low": low, "m_high": high})
        for seed, (value, low, high) in enumerate(ends)
    ]


@pytest.mark.parametrize(
    ("rule", "ends", "answer"),
    [
        ("always-at-least", [(1.0, 0.9, 1.0), (1.2, 0.8, 1.5)], "supported"),
        ("always-at-least", [(1.0, 0.9, 1.0), (0.9, 0.8, 1.0)], "not decidable here"),
        ("always-at-least", [(1.0, 0.9, 1.0), (0.9, 0.8, 0.99)], "not supported"),
        ("always-at-least", [(1.0, 0.9, 1.0), (1.1, 1.0, 1.2), (0.9, 0.8, 0.99)], "not decidable here"),
        ("always-at-least", [(0.9, 0.8, 0.95), (1.1, 1.0, 1.2), (0.9, 0.8, 0.99)], "not supported"),
        ("always-at-most", [(1.0, 0.9, 1.1), (0.2, 0.1, 0.3)], "supported"),
        ("always-at-most", [(1.1, 1.0, 1.2)], "not decidable here"),
        ("always-at-most", [(1.1, 1.05, 1.2), (0.2, 0.1, 0.3)], "not supported"),
        ("somewhere-below", [(0.9, 0.8, 0.99), (1.2, 1.1, 1.3)], "supported"),
        ("somewhere-below", [(0.9, 0.8, 0.99), (1.2, 1.1, 1.3), (1.2, 1.1, 1.3)], "not decidable here"),
        ("somewhere-below", [(0.9, 0.9, 0.9), (1.2, 1.1, 1.3), (1.2, 1.1, 1.3)], "supported"),
        ("somewhere-below", [(0.9, 0.8, 1.0), (1.2, 1.1, 1.3)], "not decidable here"),
        ("somewhere-below", [(1.0, 1.0, 1.0), (1.2, 1.1, 1.3)], "not supported"),
    ],
)
def test_bounds_are_judged_by_each_runs_interval(rule, ends, answer):
    assert judge(said(rule, bound=1), with_ends(*ends))[0] == answer


def with_ranges(pairs, *ends):
    return [Outcome(cell.cell, {**cell.scalars, "m_range_of": float(pairs)}) for cell in with_ends(*ends)]


@pytest.mark.parametrize(
    ("pairs", "below", "of", "answer"),
    [
        (2, 3, 5, "not decidable here"),  # P(X >= 3) = 0.104 of 5 events with 1/4
        (2, 4, 5, "supported"),  # 0.016
        (3, 2, 5, "not decidable here"),  # 0.12 of 5 with 1/8
        (3, 3, 5, "supported"),  # 0.016
    ],
)
def test_ranges_of_pairs_lie_beyond_their_truth_more_often_than_intervals(pairs, below, of, answer):
    ends = [(0.9, 0.8, 0.99)] * below + [(1.2, 1.1, 1.3)] * (of - below)
    assert judge(said("somewhere-below", bound=1), with_ranges(pairs, *ends))[0] == answer


def test_ranges_that_chance_lays_beyond_a_true_bound_decide_in_less_than_one_study_of_twenty():
    draws = np.random.default_rng(0).normal(size=(500, 5, 2))
    decided = 0
    for study in draws:
        ends = [(float(pair.mean()), float(pair.min()), float(pair.max())) for pair in study]
        decided += judge(said("somewhere-below", bound=0), with_ranges(2, *ends))[0] == "supported"
    assert decided / len(draws) < 0.05 + 3 * (0.05 * 0.95 / len(draws)) ** 0.5


def test_the_evidence_calls_a_range_a_range():
    _, evidence = judge(said("always-at-least", bound=1), with_ranges(3, (1.0, 0.9, 1.1), (1.1, 1.0, 1.2)))
    assert "the lowest is 1 (range of 3 pairs of directions 0.9 to 1.1)" in evidence


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 10])
def test_chance_decides_against_a_true_bound_in_less_than_one_study_of_twenty(runs):
    # of a measure whose truth is the bound, with a standard error of 1
    draws = np.random.default_rng(runs).normal(size=(500, runs))
    decided = 0
    for values in draws.tolist():
        ends = [(value, value - 1.96, value + 1.96) for value in values]
        decided += judge(said("somewhere-below", bound=0), with_ends(*ends))[0] == "supported"
    assert decided / len(draws) < 0.05 + 3 * (0.05 * 0.95 / len(draws)) ** 0.5


def test_a_value_without_an_interval_is_its_own():
    assert judge(said("always-at-least", bound=1), studies.outcomes({"b": [1, 0.99]}))[0] == "not supported"


def test_the_evidence_of_a_bound_holds_the_worst_run_and_what_is_missing():
    _, evidence = judge(
        said("always-at-least", bound=1),
        with_ends((1.0, 0.9, 1.0), (0.9, 0.8, 1.0)),
        missing=[studies.cell("b", 2)],
    )
    assert (
        evidence
        == "m is at least 1 in 1 of 2 runs of b; the lowest is 0.9 (0.8 to 1); in 0 the whole interval misses"
        " the bound. 1 of 3 runs have no value."
    )


@pytest.mark.parametrize(("rule", "answer"), [("greater", "supported"), ("less", "not supported")])
def test_a_difference_that_chance_does_not_explain_has_a_sign(rule, answer):
    found, evidence = judge(said(rule, against="a"), studies.outcomes(APART))
    assert found == answer
    assert (
        evidence
        == "m is on average 2.2 in b (n = 5) and 1.2 in a (n = 5): difference 1 (95 % interval 0.769 to"
        " 1.23), Hedges' g 5.71, Cliff's delta 1; p = 0.0079."
    )


def test_a_difference_that_chance_may_explain_is_not_decidable():
    answer, evidence = judge(
        said("greater", against="a"), studies.outcomes({"a": [1, 2, 3, 4, 5], "b": [2, 3, 1, 5, 6]})
    )
    assert answer == "not decidable here"
    assert "With so few seeds" not in evidence


def test_three_seeds_are_told_to_be_too_few():
    answer, evidence = judge(
        said("greater", against="a"), studies.outcomes({"a": [1, 2, 3], "b": [10, 20, 30]})
    )
    assert answer == "not decidable here"
    assert evidence.endswith(
        "p = 0.1. With so few seeds no corrected p-value can be below 0.1, whatever the values are."
    )


def test_the_more_is_said_the_less_chance_is_excluded():
    many = tuple(said("greater", against="a") for _ in range(7))
    found = verdicts(Measurements.of(studies.study(statements=many), studies.outcomes(APART)))
    assert {each.answer for each in found} == {"not decidable here"}
    assert found[0].evidence.endswith(
        "p = 0.0079, 0.056 corrected for 7 comparisons. With so few seeds no corrected p-value can be below"
        " 0.056, whatever the values are."
    )


def test_statements_are_corrected_for_statements_alone():
    measures = ("m", *(f"m{number}" for number in range(20)))
    assert judge(said("greater", against="a"), studies.outcomes(APART), measures=measures)[0] == "supported"


def test_one_run_decides_no_difference():
    answer, evidence = judge(said("greater", against="a"), studies.outcomes({"a": [1], "b": [2, 3]}))
    assert answer == "not decidable here"
    assert evidence.endswith("One run cannot be tested: how much seeds differ is unknown.")


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([0] * 6, "supported"),
        ([0] * 5, "not decidable here"),
        ([9] * 6, "not supported"),
        ([0, 0, 9, 9, 0, 9], "not decidable here"),
    ],
)
def test_often_needs_an_interval_on_one_side_of_one_half(values, answer):
    assert judge(said("often-at-most", bound=1), studies.outcomes({"b": values}))[0] == answer


def test_too_few_runs_for_often_are_told():
    _, evidence = judge(said("often-at-most", bound=1), studies.outcomes({"b": [0] * 5}))
    assert (
        evidence
        == "m is at most 1 in 5 of 5 runs of b: 100%, 95 % interval 48% to 100% of all possible ones. 5 are"
        " too few: even 5 of 5 would leave one half possible."
    )


def test_barriers_are_those_of_pairs():
    statement = said("often-at-most", bound=0.05) | {"measure": "barrier_curve"}
    answer, evidence = judge(statement, pairs=studies.pairs("b", [(0.01, 0, 0.02)] * 6), connections=6)
    assert answer == "supported"
    assert "6 of 6 pairs of b" in evidence


@pytest.mark.parametrize(
    "statement",
    [said("always-at-least", bound=1), said("often-at-most", bound=1), said("somewhere-below", bound=1)],
)
def test_without_outcomes_nothing_is_decided(statement):
    assert judge(statement) == ("not decidable here", "No run of b has m.")


def test_without_outcomes_nothing_is_compared():
    assert judge(said("less", against="a")) == ("not decidable here", "No run of b or a has m.")


def test_every_combination_of_levels_has_a_verdict():
    study = studies.study(
        statements=(said("always-at-least", bound=1),), factors={"rate": {"low": (), "high": ()}}
    )
    runs = studies.outcomes({"b": [2]}, levels={"rate": "low"}) + studies.outcomes(
        {"b": [0]}, levels={"rate": "high"}
    )
    assert [(each.levels, each.answer) for each in verdicts(Measurements.of(study, runs))] == [
        ({"rate": "low"}, "supported"),
        ({"rate": "high"}, "not supported"),
    ]
