"""How far two networks differ in a number, where both were surveyed on the same samples along directions of
the same seeds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from scipy.special import stdtrit

from lossmap.components.core.estimates import Estimate, Support
from lossmap.components.landscape.grid import Surface
from lossmap.components.landscape.measures.intervals import Measure, agree, resampled

LEVEL = 0.95
_NORMAL = math.inf  # degrees of freedom of a normal error

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The first network's number against the second's.

    Attributes:
        first: its number, the mean over the pairs of directions.
        second: the other's.
        middle: the difference: ln(first / second) of what is positive, else first - second; the mean over the
            pairs.
        error: its standard error; None where nothing tells it.
        degrees: of freedom of that.
        support: what the middle is a difference of: positive (a ratio), share difference, or real.
        pairs: of directions that it is the mean over; None where it has nothing to do with directions.
    """

    first: float
    second: float
    middle: float
    error: float | None
    degrees: float
    support: Support
    pairs: int | None = None

    @property
    def is_ratio(self) -> bool:
        """Whether the effect and its ends are ratios, equal at 1, and not differences, equal at 0."""
        return self.support is Support.POSITIVE

    @property
    def effect(self) -> float:
        """first / second of what is positive, else first - second."""
        return _exponential(self.middle) if self.is_ratio else self.middle

    @property
    def turned(self) -> "Difference":
        """The second network's number against the first's."""
        return replace(self, first=self.second, second=self.first, middle=-self.middle)

    def ends(self, level: float = LEVEL) -> Bounds | None:
        """The interval of the effect: middle ± t error, of shares on the scale atanh, of what is positive on
        the logarithm; None where the error is unknown.
        """
        if self.error is None:
            return None
        margin = self._quantile(level) * self.error
        if self.support is Support.SHARE_DIFFERENCE:
            inner = self.support.ends(self.middle, margin)
            return inner or (max(-1.0, self.middle - margin), min(1.0, self.middle + margin))
        low, high = self.middle - margin, self.middle + margin
        return (_exponential(low), _exponential(high)) if self.is_ratio else (low, high)

    def excludes_equality(self, level: float = LEVEL) -> bool:
        """Whether the interval tells which of the two is greater."""
        ends, equal = self.ends(level), 1.0 if self.is_ratio else 0.0
        return ends is not None and not ends[0] <= equal <= ends[1]

    @property
    def surety(self) -> float:
        """How many times the 95 % interval's half width the difference is away from 0; 0 where the interval
        is unknown.
        """
        if not self.error:
            return 0.0
        distance = abs(self.middle)
        if self.support is Support.SHARE_DIFFERENCE and distance < 1:
            distance = math.atanh(distance) * (1 - distance**2)
        return distance / (self._quantile(LEVEL) * self.error)

    def _quantile(self, level: float) -> float:
        """Of Student's distribution, which is scipy's normal one for infinite degrees."""
        return float(stdtrit(self.degrees, (1 + level) / 2))


def measure_difference(
    function: Measure,
    first: Sequence[Surface],
    second: Sequence[Surface],
    seed: int,
    support: Support,
    resamples: int = 200,
) -> Difference | None:
    """The difference of a measure, paired; None where it does not exist on some pair of one of them.

    The pairs of directions p = 1 … P have the same seeds in both networks, and all points of both the same
    samples in the same groups. With A_p and B_p the measure of the two, D_p = ln A_p - ln B_p where the
    measure is positive, else A_p - B_p; the middle is their mean.

    Pairing over directions is right whatever they have in common: D_1 … D_P are independent draws of one
    distribution where directions are equal numbers (networks whose parameters have the same names and shapes)
    as well as where they are not; what A_p and B_p share cancels. Samples: a resample of the groups is the
    same in both networks (`resampled`), so that their covariance is in the error.

    Standard error: sqrt(s^2 + d^2), s the standard deviation of the mean of D_p over resamples of the
    samples, d = stdev(D_p) / sqrt(P). Degrees of freedom: the lesser of those of s and d, G - 1 groups and
    P - 1 pairs, which makes the interval rather too wide and never too short (Mickey & Brown 1966), unlike
    Welch's estimate of them for 2 and 3 pairs. Where all pairs agree, directions are no source of error. With
    one pair the error is that of the samples alone, and says nothing of other directions. Where neither
    samples nor directions make a difference the error is unknown.

    Simulated (20,000 draws, samples of 20 groups), the 95 % interval holds the mean over all directions
    in 94 to 97 % of all draws, for 2 to 10 pairs, of log-normal measures and of shares.

    Args:
        function: the measure.
        first: surfaces of one network, one for each pair.
        second: the other's, with the same groups.
        seed: of the resamples.
        support: what the measure can be.
        resamples: how many.
    """
    pairs = min(len(first), len(second))
    ours, theirs = _measured(function, first[:pairs]), _measured(function, second[:pairs])
    if not pairs or ours is None or theirs is None:
        return None
    scale = _scale(support, [*ours, *theirs])
    apart = [_apart(a, b, scale) for a, b in zip(ours, theirs, strict=True)]
    means = list(_resampled_means(function, first[:pairs], second[:pairs], seed, resamples, scale))
    groups = first[0].group_losses.shape[-1]
    error, degrees = _total_error(apart, means if len(means) > resamples / 2 else [], groups)
    return Difference(fmean(ours), fmean(theirs), fmean(apart), error, degrees, scale, pairs)


def estimate_difference(first: Estimate, second: Estimate, support: Support) -> Difference:
    """Of two numbers that have a 95 % interval each, on the same samples, whose covariance nobody kept.

    The standard error of a difference is at most the sum of both errors (Cauchy-Schwarz), and that is taken:
    the interval is too wide unless the two vary in opposite senses, and never too short.
    """
    scale = _scale(support, [first.value, second.value])
    margins = [_margin(each, scale) for each in (first, second)]
    known = [margin for margin in margins if margin is not None]
    error = sum(known) / float(stdtrit(_NORMAL, (1 + LEVEL) / 2)) if len(known) == len(margins) else None
    middle = _apart(first.value, second.value, scale)
    return Difference(first.value, second.value, middle, error or None, _NORMAL, scale)


def error_rate_difference(first: float, second: float, samples: int) -> Difference:
    """Of two error rates on the same test samples, of which nobody kept which were wrong.

    Agresti and Min's interval (2005) of matched proportions, half a sample added to each cell of the table,
    for the case that makes it widest: no sample that both get wrong. It is too wide where they fail on the
    same ones, and never too short by that.
    """
    wrong = [samples * rate for rate in (first, second)]
    total = samples + 2
    middle = (wrong[0] - wrong[1]) / total
    variance = ((sum(wrong) + 1) / total - middle**2) / total
    return Difference(first, second, first - second, math.sqrt(variance), _NORMAL, Support.SHARE_DIFFERENCE)


def _measured(function: Measure, surfaces: Sequence[Surface]) -> list[float] | None:
    values = [value for surface in surfaces if (value := function(surface)) is not None]
    return values if len(values) == len(surfaces) and all(map(math.isfinite, values)) else None


def _scale(support: Support, values: Sequence[float]) -> Support:
    """The support of the difference: a ratio only where all values have logarithms."""
    if support is Support.SHARE:
        return Support.SHARE_DIFFERENCE
    return Support.POSITIVE if support is Support.POSITIVE and min(values) > 0 else Support.REAL


def _apart(first: float, second: float, scale: Support) -> float:
    return math.log(first / second) if scale is Support.POSITIVE else first - second


def _resampled_means(
    function: Measure,
    first: Sequence[Surface],
    second: Sequence[Surface],
    seed: int,
    resamples: int,
    scale: Support,
) -> Iterator[float]:
    """The mean difference over the pairs in each resample in which all of them exist."""
    for surfaces in resampled([*first, *second], seed, resamples):
        values = [function(surface) for surface in surfaces]
        known = [value for value in values if value is not None]
        if len(known) < len(values) or (scale is Support.POSITIVE and min(known) <= 0):
            continue
        ours, theirs = known[: len(first)], known[len(first) :]
        yield fmean(_apart(a, b, scale) for a, b in zip(ours, theirs, strict=True))


def _total_error(apart: list[float], means: list[float], groups: int) -> tuple[float | None, float]:
    """Standard error and degrees of freedom; None where nothing varies."""
    sources = [(stdev(means), groups - 1)] if len(means) > 1 else []
    if len(apart) > 1 and not agree(apart):
        sources.append((stdev(apart) / math.sqrt(len(apart)), len(apart) - 1))
    varying = [(error, freedom) for error, freedom in sources if error > 0]
    if not varying:
        return None, 0.0
    return math.hypot(*(error for error, _ in varying)), min(freedom for _, freedom in varying)


def _margin(estimate: Estimate, scale: Support) -> float | None:
    """Half the width of the interval on the scale of the difference; None of a range."""
    if estimate.high is None or estimate.range_of:
        return None
    if scale is Support.POSITIVE:
        return math.log(estimate.high / estimate.value)
    return estimate.high - estimate.value


def _exponential(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
