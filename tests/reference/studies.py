"""Studies with made-up numbers, and slow definitions of what is computed from them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import mean, variance
from typing import Any

from scipy import stats

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.study import Study
from lossmap.components.studies.cells import Cell, Outcome, SeedPair
from lossmap.components.studies.samples import Observation, Sample


def study(**changes: Any) -> Study:
    """Two networks that are compared by one measure."""
    known = {
        "name": "made",
        "title": "Made up",
        "networks": {"a": "digits-linear", "b": "digits-mlp"},
        "measures": ("m",),
        "contrasts": ({"network": "b", "against": "a"},),
    }
    return Study.model_validate({**known, **changes})


def cell(network: str, seed: int, levels: Mapping[str, str] | None = None, study_name: str = "made") -> Cell:
    """A cell of a study."""
    return Cell(network, levels or {}, seed, Experiment(), f"{study_name}-{network}-s{seed}-abcdef01")


def outcomes(
    values: Mapping[str, Sequence[float | None]], measure: str = "m", levels: Mapping[str, str] | None = None
) -> list[Outcome]:
    """One run for each value, by network."""
    return [
        Outcome(cell(network, seed, levels), {measure: value})
        for network, found in values.items()
        for seed, value in enumerate(found)
    ]


def pairs(
    network: str, ends: Iterable[tuple[float, float, float]], path: str = "curve", threshold: float = 0.05
) -> list[SeedPair]:
    """Pairs of seeds of a network with barriers: value and the ends of its interval."""
    return [
        SeedPair(cell(network, seed), cell(network, seed + 1), {path: found}, threshold)
        for seed, found in enumerate(ends)
    ]


def sample(*values: float, network: str = "a", measure: str = "m") -> Sample:
    """Values without intervals."""
    return Sample(
        network,
        {},
        measure,
        tuple(
            Observation(f"{network}-{seed}", seed, value, value, value) for seed, value in enumerate(values)
        ),
        len(values),
    )


def welch_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the difference of two means (Welch 1947): the degrees of freedom are
    Satterthwaite's.
    """
    squares = [variance(values) / len(values) for values in (first, second)]
    shares = [square**2 / (len(values) - 1) for square, values in zip(squares, (first, second), strict=True)]
    half = stats.t.ppf(0.975, sum(squares) ** 2 / sum(shares)) * math.sqrt(sum(squares))
    difference = mean(first) - mean(second)
    return difference - half, difference + half


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Twice the lesser share of all divisions whose difference of means is as great or greater, or as
    small or smaller; at most 1.
    """
    values = [*first, *second]
    observed = sum(first) / len(first) - sum(second) / len(second)
    greater = less = count = 0
    for chosen in combinations(range(len(values)), len(first)):
        mine = [values[index] for index in chosen]
        others = [values[index] for index in range(len(values)) if index not in chosen]
        difference = sum(mine) / len(mine) - sum(others) / len(others)
        greater += difference >= observed - 1e-12
        less += difference <= observed + 1e-12
        count += 1
    return min(1.0, 2 * min(greater, less) / count)


def holm_rejects(p: Sequence[float], level: float) -> set[int]:
    """Holm's procedure as it is written: compare the smallest p with level / m, the next with level / (m -
    1), …, and stop at the first that is greater.
    """
    rejected: set[int] = set()
    for step, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        if p[index] > level / (len(p) - step):
            break
        rejected.add(index)
    return rejected
