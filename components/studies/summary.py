"""What a study has found: measurements, effects and verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lossmap.components.config.study import Study
from lossmap.components.core.estimates import ENDS
from lossmap.components.studies.cells import Cell, Outcome, SeedPair
from lossmap.components.studies.effects import Effect, study_effects
from lossmap.components.studies.samples import Measurements, Sample
from lossmap.components.studies.verdicts import Verdict, verdicts


@dataclass(frozen=True)
class StudySummary:
    """A study with its measurements, effects and verdicts."""

    measurements: Measurements
    effects: tuple[Effect, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def study(self) -> Study:
        """What was asked."""
        return self.measurements.study

    @cached_property
    def rows(self) -> list[tuple[Sample, ...]]:
        """For each network at all levels, its sample of every measure."""
        columns = [self.measurements.samples(measure) for measure in self.study.measures]
        return list(zip(*columns, strict=True))

    @property
    def tests(self) -> int:
        """How many p-values are corrected together."""
        return sum(effect.p is not None for effect in self.effects)


def summarize_study(
    study: Study, outcomes: Sequence[Outcome], pairs: Sequence[SeedPair] = (), missing: Sequence[Cell] = ()
) -> StudySummary:
    """Compare and judge."""
    measurements = Measurements.of(study, outcomes, pairs, missing)
    effects, judged = study_effects(measurements), verdicts(measurements)
    return StudySummary(measurements, tuple(effects), tuple(judged))


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
        for outcome in summary.measurements.outcomes
    ]


def mean_records(summary: StudySummary) -> list[dict[str, Any]]:
    """One for each network at all levels: of every measure how many runs have it, their mean and their
    standard deviation.
    """
    return [_mean_record(row) for row in summary.rows]


def _mean_record(row: Sequence[Sample]) -> dict[str, Any]:
    record: dict[str, Any] = {"network": row[0].network, **row[0].levels}
    for sample in row:
        record |= {
            sample.measure: sample.mean,
            f"{sample.measure}_deviation": sample.deviation,
            **{f"{sample.measure}_{end}": getattr(sample.estimate, end, None) for end in ENDS},
            f"{sample.measure}_n": len(sample.values),
        }
    return record


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
        "hedges_g": effect.hedges_g,
        "hedges_g_low": hedges_low,
        "hedges_g_high": hedges_high,
        "cliffs_delta": effect.cliffs_delta,
        "p": effect.p,
        "least_p": effect.least_p,
        "p_holm": effect.adjusted_p,
    }


def _sample_record(sample: Sample) -> dict[str, float | None]:
    return {
        "n": len(sample.values),
        "wanted": sample.planned_size,
        "mean": sample.mean,
        "deviation": sample.deviation,
    }


def connection_records(summary: StudySummary) -> list[dict[str, Any]]:
    """One for each path between two networks, barriers in units of their loss."""
    return [_path_record(pair, path) for pair in summary.measurements.pairs for path in pair.barriers]


def _path_record(pair: SeedPair, path: str) -> dict[str, Any]:
    barrier, low, high = pair.barriers[path]
    return {
        "network": pair.first.network,
        **pair.first.levels,
        "first": pair.first.run,
        "second": pair.second.run,
        "path": path,
        "barrier": barrier,
        "barrier_low": low,
        "barrier_high": high,
        "connected": None if pair.threshold is None else high <= pair.threshold,
    }


def verdict_records(summary: StudySummary) -> list[dict[str, Any]]:
    """One for each statement at each combination of levels."""
    return [
        {
            "statement": verdict.statement.text,
            "source": verdict.statement.source,
            **verdict.levels,
            "verdict": verdict.answer,
            "evidence": verdict.evidence,
        }
        for verdict in summary.verdicts
    ]
