"""An estimated number and its 95 % interval."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from lossmap.components.core.frozen import Frozen


class Estimate(Frozen):
    """A number that random draws or random samples tell only so well.

    Attributes:
        value: the number.
        standard_error: its standard deviation over repetitions, estimated; None where there is nothing to
            estimate it from.
        low: lower end of the 95 % interval; None where it is unknown.
        high: its upper end.
    """

    value: float
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None


def scalars_of(estimates: Mapping[str, Estimate | None]) -> dict[str, float | None]:
    """Each number under its name, None where there is none, and the ends of its interval as `_low` and
    `_high` where these are known.
    """
    scalars = {name: getattr(estimate, "value", None) for name, estimate in estimates.items()}
    for end in ("low", "high"):
        ends = {f"{name}_{end}": getattr(estimate, end, None) for name, estimate in estimates.items()}
        scalars |= {name: value for name, value in ends.items() if value is not None}
    return scalars


def student_estimate(value: float, standard_error: float, degrees: float) -> Estimate:
    """value ± t standard_error, t the 97.5 % point of Student's distribution with `degrees` of freedom: no
    interval where there are none.
    """
    if degrees < 1 or not math.isfinite(standard_error):
        return Estimate(value=value)
    margin = float(stdtrit(degrees, 0.975)) * standard_error
    return Estimate(value=value, standard_error=standard_error, low=value - margin, high=value + margin)


def mean_estimate(values: ArrayLike) -> Estimate:
    """The mean of independent values: standard error s / sqrt(n), n - 1 degrees of freedom."""
    array = np.asarray(values, dtype=float)
    error = float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else math.nan
    return student_estimate(float(array.mean()), error, len(array) - 1)


def with_further_error(estimate: Estimate, standard_error: float | None) -> Estimate:
    """The estimate with a further, independent source of error: the standard errors add in squares, and 1.96
    of their sum are the margin.

    The margin is never below that of the first source alone, whose t may be larger.
    """
    if estimate.standard_error is None or estimate.high is None or standard_error is None:
        return estimate
    value = estimate.value
    margin = math.hypot(estimate.high - value, 1.96 * standard_error)
    error = math.hypot(estimate.standard_error, standard_error)
    return Estimate(value=value, standard_error=error, low=value - margin, high=value + margin)
