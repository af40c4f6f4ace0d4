"""Scalars as people read them: their names, and their values with few digits."""

import re
from math import isfinite, isnan
from typing import Protocol

from lossmap.components.config.scalars import support_of
from lossmap.components.core.estimates import Support

ABSENT = "not available"
_SPELLED_OUT = 1e6  # what is greater is written as a power of ten
LABELS = {
    "test_error": "Test error",
    "test_loss": "Test loss",
    "train_error": "Training error",
    "train_loss": "Training loss",
    "parameters": "Parameters",
    "centre_loss": "Loss at the trained weights",
    "floor": "Lowest loss on the plane",
    "ceiling": "Highest finite loss on the plane",
    "basin_fraction": "Share of the plane below ln C",
    "centre_basin_fraction": "Share of the plane below ln C, joined to the centre",
    "convex_fraction": "Convex share of the plane",
    "roughness": "Roughness of log loss on the plane",
    "minima": "Minima that persist on the plane",
    "largest_persistence": "Persistence of the second minimum",
    "rise": "Largest rise on a walk from the centre",
    "line_convex_fraction": "Convex share of the line",
    "line_roughness": "Roughness of log loss on the line",
    "line_fall": "Largest fall on a walk outwards along the line",
    "line_rise": "Largest rise on a walk outwards along the line",
    "hessian_largest": "Greatest eigenvalue of the Hessian",
    "hessian_smallest": "Least eigenvalue of the Hessian",
    "hessian_negative_to_positive": "Least eigenvalue, sign turned, over the greatest",
    "hessian_trace": "Trace of the Hessian",
    "hessian_convex_fraction": "Share of the plane where the Hessian is positive semidefinite",
    "balance_loss": "Balance loss in the last epoch",
    "importance_cv": "CV of the experts' importance in the last epoch",
    "load_cv": "CV of the experts' load in the last epoch",
    "load_max_over_mean": "Greatest load of an expert over the mean",
    "dropped_share": "Share of the assignments that were dropped",
    "trajectory_explained": "Share of the path of training in the plane",
    "points": "Points on the plane",
    "evaluated_points": "Evaluated points on the plane",
    "masked_points": "Points without a finite loss",
}


def label(name: str) -> str:
    """The name of a scalar, spelled out."""
    measure, _, task = name.partition(".")
    if measure not in LABELS:  # a point in a number, such as a threshold
        measure, task = name, ""
    spelled = LABELS.get(measure) or measure.replace("_", " ").capitalize()
    return f"{spelled}, {task}" if task else spelled


def number(value: float | None) -> str:
    """A number for people: four digits, thousands apart, words for what is not a number."""
    if value is None:
        return ABSENT
    if isnan(value):
        return "NaN"
    if not isfinite(value):
        return "infinite" if value > 0 else "minus infinite"
    if float(value).is_integer() and abs(value) < 1e15:
        return with_thousands(int(value))
    return f"{value:.4g}"


def signed(value: float) -> str:
    """A difference, with its sign and three digits."""
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}")


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    digits = 1 if abs(value) >= 0.01 else 2
    return f"{100 * value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def factor(value: float) -> str:
    """A ratio, with three digits."""
    return three_digits(value) if isfinite(value) else number(value)


def three_digits(value: float) -> str:
    """Three digits that count; thousands as they are read, 7 120 and not 7.12e+03."""
    text = f"{value:.3g}"
    return with_thousands(float(text)) if "e+" in text and abs(value) < _SPELLED_OUT else text


def with_thousands(value: float, places: int = 0) -> str:
    """With so many places after the point, and thousands apart."""
    return f"{value:,.{places}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def scalar(name: str, value: float | None) -> str:
    """The value of a scalar; errors and fractions are shares and shown as percentages."""
    if value is None or not isfinite(value) or not is_share(name):
        return number(value)
    return f"{100 * value:.4g}\N{NARROW NO-BREAK SPACE}%"


def is_share(measure: str) -> bool:
    """Whether a measure is shown in percent."""
    return support_of(measure) is Support.SHARE


class Ends(Protocol):
    """What has an interval or a range: see `Estimate`."""

    @property
    def low(self) -> float | None:
        """Lower end."""

    @property
    def high(self) -> float | None:
        """Upper end."""

    @property
    def range_of(self) -> int | None:
        """How many values the ends are the range of; None of an interval."""


def ends(name: str, estimate: Ends, of: str) -> str:
    """The 95 % interval of a scalar, or its range, called that; empty where it has neither.

    Args:
        name: of the scalar.
        estimate: with the ends.
        of: what a range is of: pairs (of directions) or runs.
    """
    if estimate.low is None or estimate.high is None:
        return ""
    if estimate.range_of and estimate.low == estimate.high:
        return f"the same in all {estimate.range_of} {of}"
    interval = f"{scalar(name, estimate.low)} to {scalar(name, estimate.high)}"
    return f"range of {estimate.range_of} {of}: {interval}" if estimate.range_of else interval


def markdown(text: str) -> str:
    """Text as Markdown that shows it as it is, but for what is marked as code."""
    return re.sub(r"([\\*_{}\[\]<>#|!])", r"\\\1", text)


def coordinate(value: float) -> str:
    """A coordinate with a proper minus sign."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")
