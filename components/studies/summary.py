"""What a study has found, all of it: numbers, effects and verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lossmap.components.config.study import Study
from lossmap.components.studies.cells import Cell, Joined, Outcome
from lossmap.components.studies.effects import Effect, all_effects
from lossmap.components.studies.samples import Numbers, Sample, numbers
from lossmap.components.studies.verdicts import Verdict, verdicts


@dataclass(frozen=True)
class StudySummary:
    """A study with its effects and verdicts."""

    found: Numbers
    effects: tuple[Effect, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def study(self) -> Study:
        """What was asked."""
        return self.found.study

    @cached_property
    def rows(self) -> list[tuple[Sample, ...]]:
        """For each network at all levels, its sample of every measure."""
        return list(zip(*(self.found.samples(measure) for measure in self.study.measures), strict=True))

    @property
    def tests(self) -> int:
        """How many p-values are corrected together."""
        return sum(effect.p is not None for effect in self.effects)


def summarize(
    study: Study, outcomes: Sequence[Outcome], joined: Sequence[Joined] = (), missing: Sequence[Cell] = ()
) -> StudySummary:
    """Compare and judge."""
    found = numbers(study, outcomes, joined, missing)
    return StudySummary(found, tuple(all_effects(found)), tuple(verdicts(found)))


def run_records(summary: StudySummary) -> list[dict[str, Any]]:
    """One for each finished run: network, levels, seed, name, and every scalar."""
    return [
        {
            "network": outcome.cell.network,
            **outcome.cell.levels,
            "seed": outcome.cell.seed,
            "run": outcome.cell.run,
            **outcome.scalars,
        }
        for outcome in summary.found.outcomes
    ]


def mean_records(summary: StudySummary) -> list[dict[str, Any]]:
    """One for each network at all levels: of every measure how many runs have it, their mean and their
    standard deviation.
    """
    return [
        {
            "network": row[0].network,
            **row[0].levels,
            **{f"{sample.measure}{part}": value for sample in row for part, value in _parts(sample).items()},
        }
        for row in summary.rows
    ]


def _parts(sample: Sample) -> dict[str, float | None]:
    return {"": sample.mean, "_deviation": sample.deviation, "_n": len(sample.values)}


def effect_records(summary: StudySummary) -> list[dict[str, Any]]:
    """One for each comparison."""
    return [_effect_record(effect) for effect in summary.effects]


def _effect_record(effect: Effect) -> dict[str, Any]:
    low, high = effect.interval or (None, None)
    hedges_low, hedges_high = effect.hedges_interval or (None, None)
    return {
        "network": effect.first.network,
        "against": effect.second.network,
        **effect.first.levels,
        "measure": effect.first.measure,
        **_sample_record(effect.first),
        **{f"against_{name}": value for name, value in _sample_record(effect.second).items()},
        "difference": effect.difference,
        "difference_low": low,
        "difference_high": high,
        "hedges_g": effect.hedges,
        "hedges_g_low": hedges_low,
        "hedges_g_high": hedges_high,
        "cliffs_delta": effect.cliff,
        "p": effect.p,
        "least_p": effect.least_p,
        "p_holm": effect.adjusted,
    }


def _sample_record(sample: Sample) -> dict[str, float | None]:
    return {
        "n": len(sample.values),
        "wanted": sample.wanted,
        "mean": sample.mean,
        "deviation": sample.deviation,
    }


def connection_records(summary: StudySummary) -> list[dict[str, Any]]:
    """One for each path between two networks, barriers in nats."""
    return [
        {
            "network": pair.first.network,
            **pair.first.levels,
            "first": pair.first.run,
            "second": pair.second.run,
            "path": path,
            **dict(zip(("barrier", "barrier_low", "barrier_high"), found, strict=True)),
            "connected": found[2] <= pair.threshold,
        }
        for pair in summary.found.joined
        for path, found in pair.barriers.items()
    ]


def verdict_records(summary: StudySummary) -> list[dict[str, Any]]:
    """One for each statement at each combination of levels."""
    return [
        {
            "statement": each.statement.text,
            "source": each.statement.source,
            **each.levels,
            "verdict": each.answer,
            "evidence": each.evidence,
        }
        for each in summary.verdicts
    ]
