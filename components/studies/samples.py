"""The measurements of a study, by network, levels and measure: one for each run, or for each pair of
networks between which barriers were measured.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from statistics import mean, stdev

from lossmap.components.config.scalars import support_of
from lossmap.components.config.study import Study
from lossmap.components.core.estimates import Estimate, mean_or_range
from lossmap.components.studies.cells import Cell, Outcome, SeedPair

BARRIER = "barrier_"
_ONE_SIDE = 0.025


@dataclass(frozen=True)
class Observation:
    """A measure in one run, or between one pair of runs.

    Attributes:
        run: its name, or both.
        seed: of the run, or of the first.
        value: of the measure.
        low: lower end of the 95 % interval, or of the range; where there is neither, the value.
        high: its upper end.
        range_of: how many pairs of directions low and high are the range of; None of an interval.
    """

    run: str
    seed: int
    value: float
    low: float
    high: float
    range_of: int | None = None

    @property
    def chance(self) -> float:
        """The probability that the whole interval, or range, lies beyond the truth on one given side: 2.5 %
        of an interval; 1 / 2^P that all of P pairs lie on that side of their median; 0 of a value that has
        neither, which is exact.
        """
        if self.range_of:
            return float(0.5**self.range_of)
        return 0.0 if self.low == self.high else _ONE_SIDE


@dataclass(frozen=True)
class Sample:
    """A measure in all runs of a network at given levels: the runs differ in nothing but the seed.

    Attributes:
        observations: of the runs in which the measure exists and is finite.
        planned_size: how many runs, or pairs of runs, the study has there.
    """

    network: str
    levels: Mapping[str, str]
    measure: str
    observations: tuple[Observation, ...]
    planned_size: int

    @property
    def label(self) -> str:
        """Network and levels."""
        return " ".join([self.network, *self.levels.values()])

    @property
    def of_pairs(self) -> bool:
        """Whether it is a measure of pairs of networks."""
        return self.measure.startswith(BARRIER)

    @cached_property
    def values(self) -> tuple[float, ...]:
        """Of the observations."""
        return tuple(observation.value for observation in self.observations)

    @property
    def mean(self) -> float | None:
        """None without values."""
        return mean(self.values) if self.values else None

    @cached_property
    def estimate(self) -> Estimate | None:
        """The mean over all possible seeds, with its 95 % interval (Student's t, on the scale of what the
        measure can be), or the range of the runs where they are too few; None without values.
        """
        return mean_or_range(self.values, support_of(self.measure)) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation between seeds, with n - 1; None for fewer than two values."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Measurements:
    """Everything that the runs of a study have measured.

    Attributes:
        study: what was asked.
        outcomes: of the finished cells, in the order of seeds.
        pairs: networks between which barriers were measured.
        missing: cells that are not finished.
    """

    study: Study
    outcomes: tuple[Outcome, ...]
    pairs: tuple[SeedPair, ...]
    missing: tuple[Cell, ...]

    @classmethod
    def of(
        cls,
        study: Study,
        outcomes: Sequence[Outcome],
        pairs: Sequence[SeedPair] = (),
        missing: Sequence[Cell] = (),
    ) -> "Measurements":
        """The measurements with the outcomes in the order of seeds."""
        by_seed = sorted(outcomes, key=lambda outcome: outcome.cell.seed)
        return cls(study, tuple(by_seed), tuple(pairs), tuple(missing))

    @property
    def levels(self) -> list[dict[str, str]]:
        """Every combination of the factors' levels; one that is empty without factors."""
        factors = self.study.factors
        return [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]

    def first_cells(self, levels: Mapping[str, str]) -> list[Cell]:
        """The finished cells of the first seed at given levels."""
        seed = self.study.first_seed
        first = [outcome.cell for outcome in self.outcomes if outcome.cell.seed == seed]
        return [cell for cell in first if dict(cell.levels) == dict(levels)]

    def sample(self, network: str, levels: Mapping[str, str], measure: str) -> Sample:
        """A measure of a network at given levels. `barrier_<path>` is one of pairs of networks; any
        other is one of runs.
        """
        if measure.startswith(BARRIER):
            observations = self._barriers(network, levels, measure.removeprefix(BARRIER))
            return Sample(network, levels, measure, observations, self.study.connections)
        runs = [outcome for outcome in self.outcomes if _is_of(outcome.cell, network, levels)]
        missing = sum(_is_of(cell, network, levels) for cell in self.missing)
        observations = _existing(_run_observation(run, measure) for run in runs)
        return Sample(network, levels, measure, observations, len(runs) + missing)

    def _barriers(self, network: str, levels: Mapping[str, str], path: str) -> tuple[Observation, ...]:
        pairs = [pair for pair in self.pairs if _is_of(pair.first, network, levels)]
        return _existing(_pair_observation(pair, path) for pair in pairs)

    def samples(self, measure: str) -> list[Sample]:
        """A measure of every network at all levels."""
        return [
            self.sample(network, levels, measure) for levels in self.levels for network in self.study.networks
        ]


def _existing(observations: Iterable[Observation | None]) -> tuple[Observation, ...]:
    return tuple(observation for observation in observations if observation)


def _is_of(cell: Cell, network: str, levels: Mapping[str, str]) -> bool:
    return cell.network == network and dict(cell.levels) == dict(levels)


def _run_observation(outcome: Outcome, measure: str) -> Observation | None:
    scalars = outcome.scalars
    value, low, high, pairs = (scalars.get(f"{measure}{end}") for end in ("", "_low", "_high", "_range_of"))
    observation = _observation(outcome.cell.run, outcome.cell.seed, value, low, high)
    return replace(observation, range_of=int(pairs)) if observation and pairs else observation


def _pair_observation(pair: SeedPair, path: str) -> Observation | None:
    barrier = pair.barriers.get(path)
    if barrier is None:
        return None
    return _observation(f"{pair.first.run} {pair.second.run}", pair.first.seed, *barrier)


def _observation(
    run: str, seed: int, value: float | None, low: float | None, high: float | None
) -> Observation | None:
    if value is None or not math.isfinite(value):
        return None
    return Observation(run, seed, float(value), _end(low, value), _end(high, value))


def _end(end: float | None, value: float) -> float:
    """An end of the interval, or the value where there is none."""
    return value if end is None or math.isnan(end) else float(end)
