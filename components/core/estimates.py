"""An estimated number and its 95 % interval, on the scale on which the number lives."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import mean, stdev

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, stdtrit

from lossmap.components.core.frozen import Frozen

FEWEST = 4  # values from which an interval of their mean is given; of fewer there is a range
_LEVEL = 0.975
_NORMAL = 1.96


class Support(StrEnum):
    """The values that a quantity can have, and with them the scale g of its interval.

    real            any number; g(x) = x
    positive        not negative; g(x) = ln x
    share           0 to 1; g(x) = ln(x / (1 - x))
    share difference  -1 to 1; g(x) = atanh x
    count           whole numbers, of which there are no intervals, only ranges
    """

    REAL = "real"
    POSITIVE = "positive"
    SHARE = "share"
    SHARE_DIFFERENCE = "share difference"
    COUNT = "count"

    def ends(self, value: float, margin: float) -> tuple[float, float] | None:
        """g^-1(g(value) ± g'(value) margin): value ± margin to first order (delta method: Oehlert 1992), but
        never beyond what the quantity can be, and always around the value.

        None where g'(value) or an end is not finite: at 0 of a positive quantity, at 0 and 1 of a share. A
        negative value of a quantity that was taken for positive has the interval of a real one.
        """
        if margin == 0:
            return value, value
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            low, high = self._ends(np.float64(value), margin)
        return (float(low), float(high)) if math.isfinite(low) and math.isfinite(high) else None

    def _ends(self, value: np.float64, margin: float) -> tuple[float, float]:
        if self is Support.POSITIVE and value >= 0:
            factor = np.exp(margin / value)
            return value / factor, value * factor
        if self is Support.SHARE:
            slope = 1 / (value * (1 - value))
            return expit(logit(value) - slope * margin), expit(logit(value) + slope * margin)
        if self is Support.SHARE_DIFFERENCE:
            slope = 1 / (1 - value**2)
            middle = np.arctanh(value)
            return np.tanh(middle - slope * margin), np.tanh(middle + slope * margin)
        return value - margin, value + margin

    def margin(self, value: float, high: float) -> float:
        """The margin of which `high` is the upper end: the inverse of `ends`."""
        if self is Support.POSITIVE and value > 0:
            return value * math.log(high / value)
        if self is Support.SHARE and 0 < value < 1:
            return float(value * (1 - value) * (logit(high) - logit(value)))
        return high - value


class Estimate(Frozen):
    """A number that random draws or random samples tell only so well.

    Attributes:
        value: the number.
        standard_error: its standard deviation over repetitions, estimated; None where there is nothing to
            estimate it from.
        low: lower end of the 95 % interval, or of the range; None where it is unknown.
        high: its upper end.
        range_of: None where low and high are a 95 % interval; else how many values low and high are the least
            and the greatest of, too few for an interval, or counts.
    """

    value: float
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    range_of: int | None = None


ENDS = ("low", "high", "range_of")


def scalars_of(estimates: Mapping[str, Estimate | None]) -> dict[str, float | None]:
    """Each number under its name, None where there is none; the ends of its interval as `_low` and `_high`
    where these are known, and `_range_of` where they are a range: of how many values.
    """
    scalars = {name: getattr(estimate, "value", None) for name, estimate in estimates.items()}
    for end in ENDS:
        ends = {f"{name}_{end}": getattr(estimate, end, None) for name, estimate in estimates.items()}
        scalars |= {name: float(value) for name, value in ends.items() if value is not None}
    return scalars


def student_estimate(
    value: float, standard_error: float, degrees: float, support: Support = Support.REAL
) -> Estimate:
    """value ± t standard_error on the scale of the support, t the 97.5 % point of Student's distribution with
    `degrees` of freedom: no interval where there are none.
    """
    if degrees < 1 or not math.isfinite(standard_error):
        return Estimate(value=value)
    return _around(value, standard_error, float(stdtrit(degrees, _LEVEL)) * standard_error, support)


def mean_estimate(values: ArrayLike, support: Support = Support.REAL) -> Estimate:
    """The mean of independent values: standard error s / sqrt(n), n - 1 degrees of freedom."""
    array = np.asarray(values, dtype=float)
    error = float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else math.nan
    return student_estimate(float(array.mean()), error, len(array) - 1, support)


def mean_or_range(values: Sequence[float], support: Support) -> Estimate:
    """The mean of independent values of unknown spread: its interval from FEWEST values on that differ; of
    two or three, of equal ones, and of counts the range; of one neither.
    """
    if len(values) < 2:
        return Estimate(value=values[0])
    if len(values) < FEWEST or support is Support.COUNT or min(values) == max(values):
        return range_estimate(values)
    return mean_estimate(values, support)


def range_estimate(values: Sequence[float]) -> Estimate:
    """The mean of two values or more, between the least and the greatest of them."""
    error = stdev(values) / math.sqrt(len(values))
    return Estimate(
        value=mean(values),
        standard_error=error,
        low=min(values),
        high=max(values),
        range_of=len(values),
    )


def with_further_error(
    estimate: Estimate, standard_error: float | None, support: Support = Support.REAL
) -> Estimate:
    """The estimate with a further, independent source of error: the standard errors add in squares, and so do
    the margins, 1.96 standard errors of the second source.

    The margin is never below that of the first source alone, whose t may be larger.
    """
    if estimate.standard_error is None or estimate.high is None or standard_error is None:
        return estimate
    margin = math.hypot(support.margin(estimate.value, estimate.high), _NORMAL * standard_error)
    error = math.hypot(estimate.standard_error, standard_error)
    return _around(estimate.value, error, margin, support)


def _around(value: float, error: float, margin: float, support: Support) -> Estimate:
    ends = support.ends(value, margin)
    if ends is None:
        return Estimate(value=value, standard_error=error)
    return Estimate(value=value, standard_error=error, low=ends[0], high=ends[1])
