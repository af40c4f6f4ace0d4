"""Whether the runs of a study support what is said of its networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from lossmap.components.config.study import Statement
from lossmap.components.studies.effects import SIGNIFICANT, Effect, corrected, effect_of, share_interval
from lossmap.components.studies.samples import Numbers, Observation, Sample

Answer = Literal["supported", "not supported", "not decidable here"]
_OPEN: Answer = "not decidable here"
_ONE_SIDE = 0.025  # of 95 % intervals lie beyond the truth on one side


@dataclass(frozen=True)
class Verdict:
    """What the runs say about a statement at given levels of the factors, and the numbers for it in a
    sentence.
    """

    statement: Statement
    levels: Mapping[str, str]
    answer: Answer
    evidence: str


def verdicts(found: Numbers) -> list[Verdict]:
    """One for each statement at every combination of levels.

    The p-values of statements are corrected (Holm) for the comparisons that statements make, and for no
    others: these were written down before the runs. Whatever else is compared is exploration, with a
    correction of its own.
    """
    asked = [(statement, levels) for statement in found.study.statements for levels in found.levels]
    compared = corrected(
        [
            effect_of(found, said.network, said.against, levels, said.measure)
            for said, levels in asked
            if said.against
        ]
    )
    effects, tests = iter(compared), sum(effect.p is not None for effect in compared)
    return [
        _compared(said, levels, next(effects), tests) if said.against else _counted(found, said, levels)
        for said, levels in asked
    ]


def _counted(found: Numbers, said: Statement, levels: Mapping[str, str]) -> Verdict:
    sample = found.sample(said.network, levels, said.measure)
    if not sample.observations:
        return Verdict(said, levels, _OPEN, f"No {_runs(sample)} of {sample.label} has {said.measure}.")
    rule = {"somewhere-below": _somewhere, "often-at-most": _often}.get(said.rule, _always)
    answer, evidence = rule(said, sample)
    lost = sample.wanted - len(sample.observations)
    return Verdict(
        said,
        levels,
        answer,
        evidence + (f" {lost} of {sample.wanted} {_runs(sample)}s have no value." if lost > 0 else ""),
    )


def _always(said: Statement, sample: Sample) -> tuple[Answer, str]:
    """Supported where every value satisfies the bound; not supported where more whole intervals miss it
    than chance explains; else open.
    """
    assert said.bound is not None
    least, bound = said.rule == "always-at-least", said.bound
    satisfied = sum(each.value >= bound if least else each.value <= bound for each in sample.observations)
    missed = [each for each in sample.observations if (each.high < bound if least else each.low > bound)]
    worst = (min if least else max)(sample.observations, key=lambda each: each.value)
    evidence = (
        f"{said.measure} is at {'least' if least else 'most'} {bound:.4g} in {satisfied} of"
        f" {len(sample.observations)} {_runs(sample)}s of {sample.label}; the"
        f" {'lowest' if least else 'highest'} is {_with_interval(worst)}; in {len(missed)} the whole interval"
        f" misses the bound.{_by_chance(missed, sample)}"
    )
    return (
        "not supported"
        if _beyond_chance(missed, sample)
        else "supported"
        if satisfied == len(sample.observations)
        else _OPEN
    ), evidence


def _somewhere(said: Statement, sample: Sample) -> tuple[Answer, str]:
    assert said.bound is not None
    below = [each for each in sample.observations if each.high < said.bound]
    above = sum(each.low >= said.bound for each in sample.observations)
    lowest = min(sample.observations, key=lambda each: each.high)
    evidence = (
        f"{said.measure} lies below {said.bound:.4g} with its whole interval in {len(below)} of"
        f" {len(sample.observations)} {_runs(sample)}s of {sample.label}, at or above it in {above}; the"
        f" interval that ends lowest is that of {_with_interval(lowest)}.{_by_chance(below, sample)}"
    )
    return (
        "supported"
        if _beyond_chance(below, sample)
        else "not supported"
        if above == len(sample.observations)
        else _OPEN
    ), evidence


def _beyond_chance(apart: Sequence[Observation], sample: Sample) -> bool:
    """Whether so many intervals beyond a bound tell that something is beyond it.

    An interval lies beyond its truth, on one given side, in 2.5 % of all runs. So k or more of n do by chance
    with probability P(X >= k), X binomial with n and 0.025, which has to be below 0.05: one of two, two of
    three to fifteen. A value without an interval is exact.
    """
    exact = any(each.low == each.high for each in apart)
    return exact or (
        bool(apart) and stats.binom.sf(len(apart) - 1, len(sample.observations), _ONE_SIDE) < SIGNIFICANT
    )


def _by_chance(apart: Sequence[Observation], sample: Sample) -> str:
    return "" if not apart or _beyond_chance(apart, sample) else " So few are no more than chance gives."


def _often(said: Statement, sample: Sample) -> tuple[Answer, str]:
    assert said.bound is not None
    count, of = sum(value <= said.bound for value in sample.values), len(sample.values)
    low, high = share_interval(count, of)
    evidence = (
        f"{said.measure} is at most {said.bound:.4g} in {count} of {of} {_runs(sample)}s of {sample.label}:"
        f" {count / of:.0%}, 95 % interval {low:.0%} to {high:.0%} of all possible ones."
    )
    if low <= 0.5 <= high:
        unreachable = share_interval(of, of)[0] <= 0.5
        return _OPEN, evidence + (
            f" {of} are too few: even {of} of {of} would leave one half possible." if unreachable else ""
        )
    return "supported" if low > 0.5 else "not supported", evidence


def _compared(said: Statement, levels: Mapping[str, str], effect: Effect, tests: int) -> Verdict:
    if effect.difference is None:
        without = " or ".join(sample.label for sample in (effect.first, effect.second) if not sample.values)
        return Verdict(said, levels, _OPEN, f"No {_runs(effect.first)} of {without} has {said.measure}.")
    evidence = compared_in_words(effect, tests)
    if effect.adjusted is None or effect.least_adjusted is None:
        return Verdict(
            said, levels, _OPEN, f"{evidence} One run cannot be tested: how much seeds differ is unknown."
        )
    if effect.adjusted < SIGNIFICANT:
        return Verdict(
            said,
            levels,
            "supported" if (effect.difference > 0) == (said.rule == "greater") else "not supported",
            evidence,
        )
    if effect.least_adjusted >= SIGNIFICANT:
        evidence += (
            f" With so few seeds no corrected p-value can be below {effect.least_adjusted:.2g}, whatever the"
            " values are."
        )
    return Verdict(said, levels, _OPEN, evidence)


def compared_in_words(effect: Effect, tests: int) -> str:
    """The numbers of a comparison in a sentence."""
    means = [
        f"{sample.mean:.4g} in {sample.label} (n = {len(sample.values)})"
        for sample in (effect.first, effect.second)
    ]
    parts = [f"difference {effect.difference:.3g}"]
    parts[0] += (
        f" (95 % interval {effect.interval[0]:.3g} to {effect.interval[1]:.3g})" if effect.interval else ""
    )
    parts += [f"Hedges' g {effect.hedges:.3g}"] if effect.hedges is not None else []
    parts += [f"Cliff's delta {effect.cliff:.2g}"]
    correction = (
        f", {effect.adjusted:.2g} corrected for {tests} comparisons"
        if tests > 1 and effect.adjusted is not None
        else ""
    )
    p = f"; p = {effect.p:.2g}{correction}" if effect.p is not None else ""
    return f"{effect.first.measure} is on average {' and '.join(means)}: {', '.join(parts)}{p}."


def _runs(sample: Sample) -> str:
    return "pair" if sample.of_pairs else "run"


def _with_interval(each: Observation) -> str:
    return (
        f"{each.value:.4g} ({each.low:.4g} to {each.high:.4g})"
        if each.low < each.high
        else f"{each.value:.4g}"
    )
