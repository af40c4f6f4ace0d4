"""Whether the runs of a study support what is said of its networks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from lossmap.components.config.study import Statement
from lossmap.components.studies.effects import (
    SIGNIFICANT,
    Effect,
    network_effect,
    share_interval,
    with_adjusted_p,
)
from lossmap.components.studies.samples import Measurements, Observation, Sample

Answer = Literal["supported", "not supported", "not decidable here"]
_OPEN: Answer = "not decidable here"


@dataclass(frozen=True)
class Verdict:
    """What the runs say about a statement at given levels of the factors, and the numbers for it in a
    sentence.
    """

    statement: Statement
    levels: Mapping[str, str]
    answer: Answer
    evidence: str


def verdicts(measurements: Measurements) -> list[Verdict]:
    """One for each statement at every combination of levels.

    The p-values of statements are corrected (Holm) for the comparisons that statements make, and for no
    others: these were written down before the runs. Whatever else is compared is exploration, with a
    correction of its own.
    """
    claims = list(product(measurements.study.statements, measurements.levels))
    effects = with_adjusted_p(
        [
            network_effect(measurements, statement.network, statement.against, levels, statement.measure)
            for statement, levels in claims
            if statement.against
        ]
    )
    remaining, tests = iter(effects), sum(effect.p is not None for effect in effects)
    return [
        _judge_comparison(statement, levels, next(remaining), tests)
        if statement.against
        else _judge_bound(measurements, statement, levels)
        for statement, levels in claims
    ]


def _judge_bound(measurements: Measurements, statement: Statement, levels: Mapping[str, str]) -> Verdict:
    sample = measurements.sample(statement.network, levels, statement.measure)
    if not sample.observations:
        evidence = f"No {_unit(sample)} of {sample.label} has {statement.measure}."
        return Verdict(statement, levels, _OPEN, evidence)
    rules = {"somewhere-below": _somewhere_below, "often-at-most": _often_at_most}
    answer, evidence = rules.get(statement.rule, _always)(statement, sample)
    without = sample.planned_size - len(sample.observations)
    if without > 0:
        evidence += f" {without} of {sample.planned_size} {_unit(sample)}s have no value."
    return Verdict(statement, levels, answer, evidence)


def _always(statement: Statement, sample: Sample) -> tuple[Answer, str]:
    """Supported where every value satisfies the bound; not supported where more whole intervals miss it
    than chance explains; else open.
    """
    assert statement.bound is not None
    if statement.rule == "always-at-least":
        return _always_at_least(statement.measure, statement.bound, sample)
    return _always_at_most(statement.measure, statement.bound, sample)


def _always_at_least(measure: str, bound: float, sample: Sample) -> tuple[Answer, str]:
    satisfied = sum(observation.value >= bound for observation in sample.observations)
    misses = [observation for observation in sample.observations if observation.high < bound]
    lowest = min(sample.observations, key=lambda observation: observation.value)
    evidence = (
        f"{measure} is at least {bound:.4g} in {satisfied} of {_size(sample)}; the lowest is"
        f" {_with_interval(lowest)}; {_misses_note(misses, sample)}"
    )
    return _always_answer(satisfied, misses, sample), evidence


def _always_at_most(measure: str, bound: float, sample: Sample) -> tuple[Answer, str]:
    satisfied = sum(observation.value <= bound for observation in sample.observations)
    misses = [observation for observation in sample.observations if observation.low > bound]
    highest = max(sample.observations, key=lambda observation: observation.value)
    evidence = (
        f"{measure} is at most {bound:.4g} in {satisfied} of {_size(sample)}; the highest is"
        f" {_with_interval(highest)}; {_misses_note(misses, sample)}"
    )
    return _always_answer(satisfied, misses, sample), evidence


def _always_answer(satisfied: int, misses: Sequence[Observation], sample: Sample) -> Answer:
    if _exceeds_chance(misses, sample):
        return "not supported"
    return "supported" if satisfied == len(sample.observations) else _OPEN


def _misses_note(misses: Sequence[Observation], sample: Sample) -> str:
    return f"in {len(misses)} the whole interval misses the bound.{_chance_note(misses, sample)}"


def _somewhere_below(statement: Statement, sample: Sample) -> tuple[Answer, str]:
    assert statement.bound is not None
    below = [observation for observation in sample.observations if observation.high < statement.bound]
    above = sum(observation.low >= statement.bound for observation in sample.observations)
    lowest = min(sample.observations, key=lambda observation: observation.high)
    evidence = (
        f"{statement.measure} lies below {statement.bound:.4g} with its whole interval in {len(below)} of"
        f" {_size(sample)}, at or above it in {above}; the interval that ends lowest is that of"
        f" {_with_interval(lowest)}.{_chance_note(below, sample)}"
    )
    if _exceeds_chance(below, sample):
        return "supported", evidence
    return "not supported" if above == len(sample.observations) else _OPEN, evidence


def _exceeds_chance(beyond: Sequence[Observation], sample: Sample) -> bool:
    """Whether so many intervals, or ranges, beyond a bound tell that something is beyond it.

    By chance k or more of n are with probability P(X >= k), X the sum of n independent events with the
    probabilities `Observation.chance`, which has to be below 0.05. Of intervals that is one of two, two of
    three to fifteen; of ranges of two pairs of directions four of five, of three pairs three of five. A value
    without either is exact.
    """
    if any(not observation.chance for observation in beyond):
        return True
    counts = np.ones(1)  # probabilities of 0, 1, … events
    for observation in sample.observations:
        counts = np.convolve(counts, [1 - observation.chance, observation.chance])
    return bool(beyond) and bool(counts[len(beyond) :].sum() < SIGNIFICANT)


def _chance_note(beyond: Sequence[Observation], sample: Sample) -> str:
    if not beyond or _exceeds_chance(beyond, sample):
        return ""
    return " So few are no more than chance gives."


def _often_at_most(statement: Statement, sample: Sample) -> tuple[Answer, str]:
    assert statement.bound is not None
    count, of = sum(value <= statement.bound for value in sample.values), len(sample.values)
    low, high = share_interval(count, of)
    evidence = (
        f"{statement.measure} is at most {statement.bound:.4g} in {count} of {_size(sample)}:"
        f" {count / of:.0%}, 95 % interval {low:.0%} to {high:.0%} of all possible ones."
    )
    if low > 0.5:
        return "supported", evidence
    if high < 0.5:
        return "not supported", evidence
    if share_interval(of, of)[0] <= 0.5:
        evidence += f" {of} are too few: even {of} of {of} would leave one half possible."
    return _OPEN, evidence


def _judge_comparison(statement: Statement, levels: Mapping[str, str], effect: Effect, tests: int) -> Verdict:
    answer, evidence = _compare(statement, effect, tests)
    return Verdict(statement, levels, answer, evidence)


def _compare(statement: Statement, effect: Effect, tests: int) -> tuple[Answer, str]:
    if effect.difference is None:
        without = " or ".join(sample.label for sample in (effect.first, effect.second) if not sample.values)
        return _OPEN, f"No {_unit(effect.first)} of {without} has {statement.measure}."
    evidence = comparison_sentence(effect, tests)
    if effect.adjusted_p is None or effect.least_adjusted_p is None:
        return _OPEN, f"{evidence} One run cannot be tested: how much seeds differ is unknown."
    if effect.adjusted_p < SIGNIFICANT:
        agrees = (effect.difference > 0) == (statement.rule == "greater")
        return "supported" if agrees else "not supported", evidence
    if effect.least_adjusted_p >= SIGNIFICANT:
        evidence += (
            f" With so few seeds no corrected p-value can be below {effect.least_adjusted_p:.2g}, whatever"
            " the values are."
        )
    return _OPEN, evidence


def comparison_sentence(effect: Effect, tests: int) -> str:
    """The numbers of a comparison in a sentence."""
    means = [
        f"{sample.mean:.4g} in {sample.label} (n = {len(sample.values)})"
        for sample in (effect.first, effect.second)
    ]
    sizes = ", ".join(_effect_sizes(effect))
    return f"{effect.first.measure} is on average {' and '.join(means)}: {sizes}{_p_value(effect, tests)}."


def _effect_sizes(effect: Effect) -> Iterator[str]:
    difference = f"difference {effect.difference:.3g}"
    if effect.interval:
        difference += f" (95 % interval {effect.interval[0]:.3g} to {effect.interval[1]:.3g})"
    yield difference
    if effect.hedges_g is not None:
        yield f"Hedges' g {effect.hedges_g:.3g}"
    yield f"Cliff's delta {effect.cliffs_delta:.2g}"


def _p_value(effect: Effect, tests: int) -> str:
    if effect.p is None:
        return ""
    if tests <= 1 or effect.adjusted_p is None:
        return f"; p = {effect.p:.2g}"
    return f"; p = {effect.p:.2g}, {effect.adjusted_p:.2g} corrected for {tests} comparisons"


def _unit(sample: Sample) -> str:
    return "pair" if sample.of_pairs else "run"


def _size(sample: Sample) -> str:
    return f"{len(sample.observations)} {_unit(sample)}s of {sample.label}"


def _with_interval(observation: Observation) -> str:
    if observation.low >= observation.high:
        return f"{observation.value:.4g}"
    of = f"range of {observation.range_of} pairs of directions " if observation.range_of else ""
    return f"{observation.value:.4g} ({of}{observation.low:.4g} to {observation.high:.4g})"
