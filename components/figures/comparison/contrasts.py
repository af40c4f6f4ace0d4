"""What runs differ in, and how sure that is: computed here, and shown by the page, the terminal, JSON and
MLflow.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from lossmap.components.config.scalars import support_of
from lossmap.components.core.errors import LossmapError
from lossmap.components.figures.comparison.settings import DATA_DIGEST, differing_fields
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.landscape.grid import Surface
from lossmap.components.landscape.measures import surface as measures
from lossmap.components.landscape.measures.differences import (
    LEVEL,
    Difference,
    error_rate_difference,
    estimate_difference,
    measure_difference,
)
from lossmap.components.landscape.measures.intervals import Measure

MOST_IN_ALL_PAIRS = 3  # runs of which each is compared with each; of more, each with the first
_SAME_TEST = (DATA_DIGEST, "data.limit", "data.test_limit")
_SAME_LOSS = (
    DATA_DIGEST,
    "landscape.split",
    "landscape.task",
    "landscape.seed",
    "landscape.samples",
)
_SAME_PLANE = (
    *_SAME_LOSS,
    "landscape.directions",
    "landscape.normalization",
    "landscape.ignore_bias_and_norm",
    "landscape.batch_norm",
    "landscape.plane.x.low",
    "landscape.plane.x.high",
    "landscape.plane.y.low",
    "landscape.plane.y.high",
)
_OF_ITS_OWN = ("networks", "trajectory")  # planes whose unit of length is a distance between networks


@dataclass(frozen=True)
class Quantity:
    """What runs are compared by.

    Attributes:
        name: in a word.
        measure: the scalar of the report.
        same: fields that have to be the same in both runs.
    """

    name: str
    measure: str
    same: tuple[str, ...]


BASIN = Quantity("basin", "basin_fraction", _SAME_PLANE)
CONVEXITY = Quantity(
    "convexity",
    "line_convex_fraction",
    (*_SAME_PLANE, "landscape.line.points", "landscape.line.low", "landscape.line.high"),
)
FLOOR = Quantity("floor", "floor", _SAME_PLANE)
CURVATURE = Quantity("curvature", "hessian_largest", (*_SAME_LOSS, "landscape.curvature.samples"))
TEST_ERROR = Quantity("test error", "test_error", _SAME_TEST)
QUANTITIES = (BASIN, CONVEXITY, FLOOR, CURVATURE, TEST_ERROR)


@dataclass(frozen=True)
class Contrast:
    """Two runs in one quantity.

    Attributes:
        quantity: which.
        first: name of a run.
        second: of the other.
        difference: the first's number against the second's.
        level: of the interval that, together with all others of the comparison, holds the truth in 95 %.
    """

    quantity: Quantity
    first: str
    second: str
    difference: Difference
    level: float

    @property
    def is_sure(self) -> bool:
        """Whether the comparison as a whole tells which of the two is greater."""
        return self.difference.excludes_equality(self.level)

    @property
    def verdict(self) -> str:
        """decided: by all intervals of the comparison together; alone: by its own 95 % interval, which is not
        enough for so many; open.
        """
        if self.is_sure:
            return "decided"
        return "alone" if self.difference.excludes_equality() else "open"

    def record(self) -> dict[str, Any]:
        """For JSON."""
        difference, ends = self.difference, self.difference.ends()
        together = difference.ends(self.level)
        return {
            "quantity": self.quantity.name,
            "measure": self.quantity.measure,
            "first": self.first,
            "second": self.second,
            "values": [difference.first, difference.second],
            "kind": "ratio" if difference.is_ratio else "difference",
            "effect": difference.effect if math.isfinite(difference.effect) else None,
            "interval": _finite(ends),
            "interval_together": _finite(together),
            "pairs": difference.pairs,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Comparison:
    """What runs differ in.

    Attributes:
        runs: that are compared.
        contrasts: the surest first.
        absent: what is not compared, and why.
    """

    runs: tuple[RunSummary, ...]
    contrasts: tuple[Contrast, ...]
    absent: tuple[str, ...]

    @cached_property
    def names(self) -> dict[str, str]:
        """What runs are called: by their recipes, where no two have one."""
        recipes = Counter(run.experiment.name for run in self.runs)
        return {
            run.run: run.experiment.name if recipes[run.experiment.name] == 1 else run.run
            for run in self.runs
        }


def compare_runs(runs: Sequence[RunSummary]) -> Comparison:
    """All differences of up to three runs; of more, of each against the first.

    Every interval is also given at the level 1 - 0.05 / m for m intervals (Bonferroni), so that all of them
    hold the truth in 95 % of all comparisons: whoever looks for the surest of many finds one by chance.

    Raises:
        LossmapError: there is no run.
    """
    if not runs:
        raise LossmapError("no run to compare, expected at least one; name the runs")
    couples = list(combinations(runs, 2)) if len(runs) <= MOST_IN_ALL_PAIRS else _against_the_first(runs)
    unlike = [differing_fields(couple).keys() for couple in couples]
    found: list[tuple[Quantity, RunSummary, RunSummary, Difference]] = []
    absent: dict[str, None] = {}
    for quantity in QUANTITIES:
        for (first, second), differing in zip(couples, unlike, strict=True):
            difference = _difference(quantity, first, second, differing)
            if isinstance(difference, Difference):
                found.append((quantity, first, second, difference))
            else:
                absent[f"{quantity.name}: {difference}"] = None
    level = 1 - (1 - LEVEL) / max(len(found), 1)
    contrasts = [
        Contrast(quantity, first.run, second.run, difference, level)
        for quantity, first, second, difference in found
    ]
    contrasts.sort(key=lambda contrast: -contrast.difference.surety)
    return Comparison(tuple(runs), tuple(contrasts), tuple(absent))


def _against_the_first(runs: Sequence[RunSummary]) -> list[tuple[RunSummary, RunSummary]]:
    return [(runs[0], other) for other in runs[1:]]


def _difference(
    quantity: Quantity, first: RunSummary, second: RunSummary, differing: Collection[str]
) -> Difference | str:
    """The difference, or why there is none: for one, in what fields their experiments differ."""
    if any(run.scalars.get(quantity.measure) is None for run in (first, second)):
        return "not measured in both runs"
    unlike = [name for name in quantity.same if name in differing]
    if quantity is not TEST_ERROR and first.experiment.loss != second.experiment.loss:
        unlike.append("the losses")
    if unlike:
        return f"{', '.join(unlike)} differ{'s' if len(unlike) == 1 else ''}"
    if quantity is TEST_ERROR:
        return _of_test_errors(first, second)
    if quantity is CURVATURE:
        return _of_curvatures(first, second)
    return _on_surfaces(quantity, first, second)


def _on_surfaces(quantity: Quantity, first: RunSummary, second: RunSummary) -> Difference | str:
    landscape = first.experiment.landscape
    if landscape.directions in _OF_ITS_OWN:
        return f"planes of directions {landscape.directions} have a unit of length of their own"
    surfaces = [list(_surfaces(quantity, run)) for run in (first, second)]
    if len({surface.group_losses.shape[-1] for each in surfaces for surface in each}) != 1:
        return "the surveys have other groups of samples"
    function = _function(quantity, first)
    support = support_of(quantity.measure)
    found = function and measure_difference(function, surfaces[0], surfaces[1], landscape.seed, support)
    return found or "it does not exist along every pair of directions"


def _surfaces(quantity: Quantity, run: RunSummary) -> Iterator[Surface]:
    yield from run.result.lines if quantity is CONVEXITY else run.result.planes


def _function(quantity: Quantity, run: RunSummary) -> Measure | None:
    if quantity is CONVEXITY:
        return measures.convex_fraction
    if quantity is FLOOR:
        return measures.floor
    guess = run.guessing_loss
    return None if guess is None else lambda surface: measures.fraction_below(surface, guess)


def _of_curvatures(first: RunSummary, second: RunSummary) -> Difference | str:
    found = [run.result.curvature for run in (first, second)]
    estimates = [curvature.largest[0].estimate for curvature in found if curvature and curvature.largest]
    if len(estimates) < len(found):
        return "not measured in both runs"
    return estimate_difference(estimates[0], estimates[1], support_of(CURVATURE.measure))


def _of_test_errors(first: RunSummary, second: RunSummary) -> Difference | str:
    count, errors = first.manifest.count("test"), [run.scalars["test_error"] for run in (first, second)]
    known = [error for error in errors if error is not None and math.isfinite(error)]
    if not count or len(known) < len(errors):
        return "there are no test samples"
    if first.manifest.tasks:
        return "it is a mean over tasks, of whose samples nobody kept the count of wrong answers"
    return error_rate_difference(known[0], known[1], count)


def _finite(ends: tuple[float, float] | None) -> list[float | None] | None:
    """JSON has no infinity."""
    return [end if math.isfinite(end) else None for end in ends] if ends else None
