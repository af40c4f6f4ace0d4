"""Differences with their intervals, as rows of a chart: where everything lies on an axis from 0 to 100."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lossmap.components.core.estimates import Support
from lossmap.components.figures.comparison.contrasts import Comparison, Contrast
from lossmap.components.figures.comparison.sentences import effect
from lossmap.components.figures.numbers import factor, label, points, scalar, signed
from lossmap.components.landscape.measures.differences import Bounds, Difference

_VERDICTS = {
    "decided": "decided",
    "alone": "not decided: by itself it would be",
    "open": "not decided",
}
_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_FARTHEST = 6 * math.log(10)  # a factor of a million


@dataclass(frozen=True)
class Span:
    """An interval on the axis, and whether it goes on beyond its ends."""

    low: float
    high: float
    below: bool
    above: bool

    @property
    def width(self) -> float:
        """From end to end."""
        return self.high - self.low


@dataclass(frozen=True)
class ChartRow:
    """One difference.

    Attributes:
        quantity: the name of what differs.
        measure: its scalar, spelled out.
        first: name of a run.
        second: of the other.
        values: both numbers.
        effect: by how much, with the 95 % interval, in words.
        verdict: whether that is decided, in words.
        is_sure: whether it is.
        unit: of its axis.
        place: of the dot on the axis, 0 to 100; 50 is no difference.
        interval: the 95 % interval.
        together: the one that holds for the whole comparison.
    """

    quantity: str
    measure: str
    first: str
    second: str
    values: tuple[str, str]
    effect: str
    verdict: str
    is_sure: bool
    unit: str
    place: float
    interval: Span | None
    together: Span | None


@dataclass(frozen=True)
class ChartAxis:
    """What the ends of an axis are: of percentage points, of factors, or of plain differences."""

    unit: str
    low: str
    middle: str
    high: str


def chart_rows(comparison: Comparison) -> list[ChartRow]:
    """A row for each difference, the surest first. Rows of one unit share their axis, and all the middle."""
    reach = {unit: _reach(comparison.contrasts, unit) for unit in _units(comparison)}
    return [
        _row(comparison, contrast, reach[_unit(contrast.difference)]) for contrast in comparison.contrasts
    ]


def chart_axes(comparison: Comparison) -> list[ChartAxis]:
    """One for each unit that there is."""
    axes = []
    for unit in _units(comparison):
        reach = _reach(comparison.contrasts, unit)
        if unit == "factor":
            high = math.exp(reach)
            axes.append(ChartAxis(unit, f"1/{factor(high)}", "1", factor(high)))
        else:
            write = points if unit == "percentage points" else signed
            axes.append(ChartAxis(unit, write(-reach), "0", write(reach)))
    return axes


def _units(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(_unit(contrast.difference) for contrast in comparison.contrasts))


def _unit(difference: Difference) -> str:
    if difference.support is Support.SHARE_DIFFERENCE:
        return "percentage points"
    return "factor" if difference.is_ratio else "difference"


def _reach(contrasts: Sequence[Contrast], unit: str) -> float:
    """The greatest distance from no difference that the axis shows, a round number: all 95 % intervals."""
    of_unit = [contrast.difference for contrast in contrasts if _unit(contrast.difference) == unit]
    ends = [end for each in of_unit for end in (each.ends() or (each.effect,))]
    places = [abs(_height(end, unit)) for end in ends] + [abs(each.middle) for each in of_unit]
    far = max([place for place in places if math.isfinite(place)], default=0.0) or 1e-3
    if unit == "factor":
        return math.log(_round_up(math.exp(min(far, _FARTHEST))))
    return min(_round_up(far), 1.0) if unit == "percentage points" else _round_up(far)


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _STEPS if step * power >= value * (1 - 1e-9))


def _row(comparison: Comparison, contrast: Contrast, reach: float) -> ChartRow:
    difference, names, unit = contrast.difference, comparison.names, _unit(contrast.difference)
    measure = contrast.quantity.measure
    return ChartRow(
        quantity=contrast.quantity.name,
        measure=label(measure),
        first=names[contrast.first],
        second=names[contrast.second],
        values=(scalar(measure, difference.first), scalar(measure, difference.second)),
        effect=effect(difference),
        verdict=_VERDICTS[contrast.verdict],
        is_sure=contrast.is_sure,
        unit=unit,
        place=_place(difference.middle, reach),
        interval=_span(difference.ends(), unit, reach),
        together=_span(difference.ends(contrast.level), unit, reach),
    )


def _height(end: float, unit: str) -> float:
    if unit != "factor":
        return end
    return math.log(end) if 0 < end < math.inf else math.copysign(math.inf, end - 1)


def _span(ends: Bounds | None, unit: str, reach: float) -> Span | None:
    if ends is None:
        return None
    low, high = (_height(end, unit) for end in ends)
    return Span(_place(low, reach), _place(high, reach), low < -reach, high > reach)


def _place(height: float, reach: float) -> float:
    return round(50 + 50 * max(-1.0, min(1.0, height / reach)), 2)
