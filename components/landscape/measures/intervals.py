"""How far a measure of a surface depends on the samples and on the directions that happened to be drawn."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from scipy.special import stdtrit

from lossmap.components.core.estimates import Estimate
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.grid import Point, Surface

Measure = Callable[[Surface], float | None]

_UNBOUNDED = (-math.inf, math.inf)


class MeasureEstimate(Estimate):
    """A measure of surfaces: the mean over the pairs of directions. Its standard error is the two below, in
    squares; None where neither is known.

    Attributes:
        subset_error: standard error from the subset of samples, for these directions; None where the samples
            have no groups.
        direction_error: standard error from the drawn pairs of directions; None where there is one pair: the
            interval then says nothing of other directions.
        pairs: pairs of directions on which the measure exists.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    subset_error: float | None
    direction_error: float | None
    pairs: int


def measure_with_interval(
    function: Measure,
    surfaces: Sequence[Surface],
    seed: int,
    resamples: int = 200,
    limits: tuple[float, float] = _UNBOUNDED,
) -> MeasureEstimate | None:
    """The mean of a measure over surfaces of the same network and samples, along P pairs of directions, with
    a 95 % interval; None where the measure exists on no surface.

    Subset variation s: the standard deviation of the mean over the pairs, in resamples of the samples. A
    resample draws G - 1 of the G groups with replacement; at every point and pair its loss is the mean of
    these same groups' losses (common random numbers). G - 1 draws instead of G give an unbiased variance of a
    mean (Rao & Wu 1988). Groups whose sizes differ by one weigh the same, which makes the variance of a mean
    too large by the ratio of the arithmetic to the harmonic mean of the sizes (0.35 % for 512 samples in 100
    groups, at most 12.5 %, for 150), never too small. Resamples in which the measure does not exist are left
    out; where they are most, s is unknown. Of a ratio both sums are resampled: the groups'
    losses and their weights.

    Direction variation d: the standard deviation of the measure over the pairs / sqrt(P), with P - 1 degrees
    of freedom; unknown for P = 1.

    Interval: value ± t sqrt(s^2 + d^2), t the 97.5 % quantile of Student's distribution with (s^2 + d^2)^2 /
    (s^4 / (G - 1) + d^4 / (P - 1)) degrees of freedom (Welch 1947, Satterthwaite 1946); an unknown error is
    left out of it. The part of the subset's noise that differs between pairs is in both s and d, so that the
    interval is rather too wide. It is cut at the measure's limits. What interpolation adds to the error of an
    interpolated point is not in it.

    Args:
        function: the measure; it sees surfaces whose `loss` is resampled.
        surfaces: one for each pair, with the same groups.
        seed: of the resamples; the same ones for all measures.
        resamples: how many; 200 give s to 1 / sqrt(400) = 5 % of itself.
        limits: least and greatest value that the measure can have.
    """
    measured = {
        i: measure for i, surface in enumerate(surfaces) if (measure := function(surface)) is not None
    }
    if not measured:
        return None
    value, pairs, groups = mean(measured.values()), len(measured), surfaces[0].group_losses.shape[-1]
    subset = _subset_error(function, [surfaces[i] for i in measured], seed, resamples)
    direction = stdev(measured.values()) / math.sqrt(pairs) if pairs > 1 else None
    sources = [(subset, groups - 1), (direction, pairs - 1)]
    known = [(error, freedom) for error, freedom in sources if error is not None]
    errors: dict[str, Any] = {"subset_error": subset, "direction_error": direction, "pairs": pairs}
    if not known:
        return MeasureEstimate(value=value, **errors)
    error, half = _total_error(known)
    low, high = max(value - half, limits[0]), min(value + half, limits[1])
    return MeasureEstimate(value=value, standard_error=error, low=low, high=high, **errors)


def difference(surface: Surface, start: Point, end: Point) -> tuple[float, float | None] | None:
    """loss(end) - loss(start) and its standard error from the samples; None where the grid has no finite loss
    at either point.

    Both losses are means over the same samples, so that what the samples have in common cancels: with D_g the
    difference in group g of G, W_g its weight and d the difference of both losses, the standard error is the
    standard deviation of D_g - d W_g / sqrt(G), unknown (None) without two groups. Groups weigh the same, as
    in `measure_with_interval`, but for the W_g.
    """
    first, second = _place(surface, start), _place(surface, end)
    if first is None or second is None:
        return None
    value = float(surface.loss[second] - surface.loss[first])
    differences = surface.group_losses[second] - surface.group_losses[first] - value * surface.weights
    groups = len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(groups) if groups > 1 else None
    return value, error


def _draws(groups: int, seed: int, resamples: int) -> NDArray[np.float64]:
    """(resamples, groups) Weights of the groups in each resample."""
    drawn = stream("resamples", seed).multinomial(groups - 1, [1 / groups] * groups, size=resamples)
    weights: NDArray[np.float64] = drawn / (groups - 1)
    return weights


def _subset_error(function: Measure, surfaces: Sequence[Surface], seed: int, resamples: int) -> float | None:
    groups = surfaces[0].group_losses.shape[-1]
    if groups < 2:
        return None
    means, weights = [], _draws(groups, seed, resamples)
    for resampled in zip(*(_resampled(surface, weights) for surface in surfaces), strict=True):
        values = [value for surface in resampled if (value := function(surface)) is not None]
        if len(values) == len(surfaces):
            means.append(mean(values))
    return stdev(means) if len(means) > max(1, len(weights) / 2) else None


def _resampled(surface: Surface, weights: NDArray[np.float64]) -> Iterator[Surface]:
    finite = surface.finite
    with np.errstate(invalid="ignore", divide="ignore"):
        losses = surface.group_losses[finite] @ weights.T / (weights @ surface.weights)
    for column in losses.T:
        loss = surface.loss.copy()
        loss[finite] = column
        yield replace(surface, loss=loss)


def _total_error(errors: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Independent standard errors with their degrees of freedom as one, and half the interval's width."""
    variance = sum(error**2 for error, _ in errors)
    spread = sum(error**4 / freedom for error, freedom in errors)
    if not spread:
        return 0.0, 0.0
    error = math.sqrt(variance)
    return error, float(stdtrit(variance**2 / spread, 0.975)) * error


def _place(surface: Surface, point: Point) -> tuple[int, int] | None:
    """Row and column of a point that has a finite loss."""
    rows, columns = np.flatnonzero(surface.y == point[1]), np.flatnonzero(surface.x == point[0])
    if not len(rows) or not len(columns) or not surface.finite[rows[0], columns[0]]:
        return None
    return int(rows[0]), int(columns[0])
