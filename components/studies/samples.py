"""The numbers of a study, by network, levels and measure: one for each run, or for each pair of connected
networks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import mean, stdev

from lossmap.components.config.study import Study
from lossmap.components.studies.cells import Cell, Joined, Outcome

BARRIER = "barrier_"


@dataclass(frozen=True)
class Observation:
    """A measure in one run, or between one pair of runs. Where it has no 95 % interval, low and high are
    the value.
    """

    run: str
    seed: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sample:
    """A measure in all runs of a network at given levels: the runs differ in nothing but the seed.

    Attributes:
        observations: of the runs in which the measure exists and is finite.
        wanted: how many runs the study has there.
    """

    network: str
    levels: Mapping[str, str]
    measure: str
    observations: tuple[Observation, ...]
    wanted: int

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

    @property
    def deviation(self) -> float | None:
        """Standard deviation between seeds, with n - 1; None for fewer than two values."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def missing_share(self) -> float:
        """Share of the wanted runs that have no value: they are not finished, or the measure does not
        exist in them.
        """
        return 1 - len(self.values) / self.wanted if self.wanted else 0.0


@dataclass(frozen=True)
class Numbers:
    """Everything that a study has found."""

    study: Study
    outcomes: tuple[Outcome, ...]
    joined: tuple[Joined, ...]
    missing: tuple[Cell, ...]

    @property
    def levels(self) -> list[dict[str, str]]:
        """Every combination of the factors' levels; one that is empty without factors."""
        return [
            dict(zip(self.study.factors, chosen, strict=True))
            for chosen in product(*self.study.factors.values())
        ]

    def first_cells(self, levels: Mapping[str, str]) -> list[Cell]:
        """The finished cells of the first seed at given levels."""
        return [
            outcome.cell
            for outcome in self.outcomes
            if outcome.cell.seed == self.study.first_seed and dict(outcome.cell.levels) == dict(levels)
        ]

    def sample(self, network: str, levels: Mapping[str, str], measure: str) -> Sample:
        """A measure of a network at given levels. `barrier_<path>` is one of pairs of networks, in nats;
        any other is one of runs.
        """
        if measure.startswith(BARRIER):
            found = [_of_pair(pair, measure) for pair in self.joined if _is_of(pair.first, network, levels)]
            return Sample(
                network, levels, measure, tuple(each for each in found if each), self.study.connections
            )
        ours = [outcome for outcome in self.outcomes if _is_of(outcome.cell, network, levels)]
        absent = sum(_is_of(cell, network, levels) for cell in self.missing)
        found = [_of_run(outcome, measure) for outcome in ours]
        return Sample(network, levels, measure, tuple(each for each in found if each), len(ours) + absent)

    def samples(self, measure: str) -> list[Sample]:
        """A measure of every network at all levels."""
        return [
            self.sample(network, levels, measure) for levels in self.levels for network in self.study.networks
        ]


def numbers(
    study: Study, outcomes: Sequence[Outcome], joined: Sequence[Joined] = (), missing: Sequence[Cell] = ()
) -> Numbers:
    """What was found, in the order of seeds."""
    return Numbers(
        study, tuple(sorted(outcomes, key=lambda outcome: outcome.cell.seed)), tuple(joined), tuple(missing)
    )


def _is_of(cell: Cell, network: str, levels: Mapping[str, str]) -> bool:
    return cell.network == network and dict(cell.levels) == dict(levels)


def _of_run(outcome: Outcome, measure: str) -> Observation | None:
    scalars = outcome.scalars
    return _observation(
        outcome.cell.run,
        outcome.cell.seed,
        scalars.get(measure),
        scalars.get(f"{measure}_low"),
        scalars.get(f"{measure}_high"),
    )


def _of_pair(pair: Joined, measure: str) -> Observation | None:
    found = pair.barriers.get(measure.removeprefix(BARRIER))
    return _observation(f"{pair.first.run} {pair.second.run}", pair.first.seed, *found) if found else None


def _observation(
    run: str, seed: int, value: float | None, low: float | None, high: float | None
) -> Observation | None:
    if value is None or not math.isfinite(value):
        return None
    return Observation(
        run,
        seed,
        float(value),
        *(value if end is None or math.isnan(end) else float(end) for end in (low, high)),
    )
