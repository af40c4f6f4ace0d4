"""An estimated number and its 95 % interval."""

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from lossmap.components.core.frozen import Frozen


class Known(Protocol):
    """A number, and the ends of its 95 % interval where these are known."""

    @property
    def value(self) -> float | None:
        """The number."""

    @property
    def low(self) -> float | None:
        """Lower end."""

    @property
    def high(self) -> float | None:
        """Upper end."""


def scalars_of(estimates: Mapping[str, Known | None]) -> dict[str, float | None]:
    """Each number under its name, and the ends of its interval as `_low` and `_high` where these are
    known; nothing for None.
    """
    found = {name: estimate for name, estimate in estimates.items() if estimate is not None}
    values = {name: estimate.value for name, estimate in found.items()}
    low = {f"{name}_low": estimate.low for name, estimate in found.items() if estimate.low is not None}
    high = {f"{name}_high": estimate.high for name, estimate in found.items() if estimate.high is not None}
    return values | low | high


class Interval(Frozen):
    """A number that random draws or random samples tell only so well.

    Attributes:
        value: the estimate.
        standard_error: its standard deviation over repetitions, estimated; None where there is nothing to
            estimate it from.
        low: lower end of the 95 % interval; None like the standard error.
        high: its upper end.
    """

    value: float
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None


def interval(value: float, standard_error: float, degrees: float) -> Interval:
    """value ± t standard_error, t the 97.5 % point of Student's distribution with `degrees` of freedom: no
    interval where there are none.
    """
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
    """The estimate with a further, independent source of error: the standard errors add in squares, and 1.96
    of their sum are the margin.

    The margin is never below that of the first source alone, whose t may be larger.
    """
    if first.standard_error is None or first.high is None or second_error is None:
        return first
    error = math.hypot(first.standard_error, second_error)
    margin = math.hypot(first.high - first.value, 1.96 * second_error)
    return Interval(
        value=first.value, standard_error=error, low=first.value - margin, high=first.value + margin
    )
