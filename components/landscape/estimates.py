"""An estimated number and its 95 % interval."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from lossmap.components.config.experiment import Frozen


class Interval(Frozen):
    """A number that random draws or random samples tell only so well.

    Attributes:
        value: the estimate.
        standard_error: its standard deviation over repetitions, estimated; None where there is nothing to estimate it from.
        low: lower end of the 95 % interval; None like the standard error.
        high: its upper end.
    """

    value: float
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None


def interval(value: float, standard_error: float, degrees: float) -> Interval:
    """value ± t standard_error, t the 97.5 % point of Student's distribution with `degrees` of freedom: no interval where there are none."""
    if degrees < 1 or not math.isfinite(standard_error):
        return Interval(value=value)
    margin = float(stdtrit(degrees, 0.975)) * standard_error
    return Interval(value=value, standard_error=standard_error, low=value - margin, high=value + margin)


def mean_of(values: ArrayLike) -> Interval:
    """The mean of independent values: standard error s / sqrt(n), n - 1 degrees of freedom."""
    array = np.asarray(values, dtype=float)
    error = float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else math.nan
    return interval(float(array.mean()), error, len(array) - 1)


def both(first: Interval, second_error: float | None) -> Interval:
    """The estimate with a further, independent source of error: the standard errors add in squares, and 1.96 of their sum are the margin.

    The margin is never below that of the first source alone, whose t may be larger.
    """
    if first.standard_error is None or first.high is None or second_error is None:
        return first
    error = math.hypot(first.standard_error, second_error)
    margin = math.hypot(first.high - first.value, 1.96 * second_error)
    return Interval(value=first.value, standard_error=error, low=first.value - margin, high=first.value + margin)
