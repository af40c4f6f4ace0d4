"""The figures of a study, as plotly describes them: every run is a dot. Every name in them is escaped:
plotly reads text as markup.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from plotly import graph_objects as go

from lossmap.components.core.estimates import student_estimate
from lossmap.components.figures import numbers
from lossmap.components.figures.pages import BLANK
from lossmap.components.figures.scale import COLOURS
from lossmap.components.studies.samples import Observation, Sample

WIDE_RANGE = 50.0  # largest over smallest value from which an axis is logarithmic
SPREAD = 0.5  # of a row's height, over which the dots of its seeds are spread
ROW, FRAME = 30, 90  # pixels of height


def height(samples: Sequence[Sample]) -> int:
    """Pixels that the dots of some samples need."""
    return FRAME + ROW * max(2, len(samples))


def is_logarithmic(samples: Sequence[Sample]) -> bool:
    """Whether all values are positive and far apart."""
    values = [value for sample in samples for value in sample.values]
    return bool(values) and min(values) > 0 and max(values) > WIDE_RANGE * min(values)


def mean_interval(sample: Sample) -> tuple[float, float] | None:
    """95 % interval of the mean over all possible seeds (Student's t); None for fewer than two values."""
    if sample.mean is None or sample.deviation is None:
        return None
    count = len(sample.values)
    mean = student_estimate(sample.mean, sample.deviation / math.sqrt(count), count - 1)
    return None if mean.low is None or mean.high is None else (mean.low, mean.high)


def lifts(count: int) -> list[float]:
    """How far each seed's dot lies from the middle of its row."""
    return [0.0] if count == 1 else [float(lift) for lift in np.linspace(-SPREAD / 2, SPREAD / 2, count)]


def colours(samples: Sequence[Sample]) -> dict[str, str]:
    """One for each network."""
    return {
        network: COLOURS[index % len(COLOURS)]
        for index, network in enumerate(dict.fromkeys(sample.network for sample in samples))
    }


def reach(samples: Sequence[Sample]) -> tuple[float, float]:
    """Between what the means' intervals are drawn: on a logarithmic axis not further than half the least
    and twice the greatest value.
    """
    if not is_logarithmic(samples):
        return -math.inf, math.inf
    values = [value for sample in samples for value in sample.values]
    return min(values) / 2, 2 * max(values)


def dots_figure(samples: Sequence[Sample], bound: float | None = None) -> go.Figure:
    """A row for each sample: a dot for each run, a diamond for their mean with its interval; a dashed line
    at the bound.
    """
    shown, chosen, limits = [sample for sample in samples if sample.values], colours(samples), reach(samples)
    figure = go.Figure(
        layout=_layout(
            [sample.label for sample in shown], is_logarithmic(samples), shown[0].measure if shown else ""
        )
    )
    for row, sample in enumerate(shown):
        _add_runs(figure, row, sample, chosen[sample.network])
        _add_mean(figure, row, sample, limits)
    if bound is not None:
        figure.add_vline(x=bound, line={"dash": "dash", "color": "#888888", "width": 1})
    return figure


def _add_runs(figure: go.Figure, row: int, sample: Sample, colour: str) -> None:
    up = [row + lift for lift in lifts(len(sample.values))]
    text = [_told(sample.measure, each) for each in sample.observations]
    figure.add_scatter(
        x=sample.values, y=up, mode="markers", text=text, hovertemplate="%{text}<extra></extra>"
    )
    figure.data[-1].update(marker={"color": colour, "size": 9, "opacity": 0.75}, showlegend=False)


def _add_mean(figure: go.Figure, row: int, sample: Sample, limits: tuple[float, float]) -> None:
    ends = mean_interval(sample)
    if ends:
        drawn = [min(max(end, limits[0]), limits[1]) for end in ends]
        figure.add_scatter(
            x=drawn,
            y=[row, row],
            mode="lines",
            line={"color": "#888888", "width": 2},
            hoverinfo="skip",
            showlegend=False,
        )
    text = f"mean {numbers.scalar(sample.measure, sample.mean)}" + (
        f"<br>{numbers.scalar(sample.measure, ends[0])} to {numbers.scalar(sample.measure, ends[1])}"
        if ends
        else ""
    )
    marker = {"symbol": "diamond", "size": 10, "color": "#ffffff", "line": {"color": "#555555", "width": 2}}
    figure.add_scatter(
        x=[sample.mean],
        y=[row],
        mode="markers",
        marker=marker,
        text=[text],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )


def _told(measure: str, each: Observation) -> str:
    ends = (
        f" ({numbers.scalar(measure, each.low)} to {numbers.scalar(measure, each.high)})"
        if each.low < each.high
        else ""
    )
    return f"{escape(each.run, quote=False)}<br>seed {each.seed}: {numbers.scalar(measure, each.value)}{ends}"


def _layout(labels: Sequence[str], logarithmic: bool, measure: str) -> go.Layout:
    across: dict[str, Any] = {
        "title": {"text": escape(numbers.label(measure), quote=False)},
        "type": "log" if logarithmic else "linear",
        "exponentformat": "power",
    }
    if numbers.is_share(measure) and not logarithmic:
        across["tickformat"] = ".3~%"
    ticks = {
        "tickvals": list(range(len(labels))),
        "ticktext": [f"{escape(label, quote=False)} " for label in labels],
    }
    up = {**ticks, "range": [len(labels) - 0.4, -0.6], "zeroline": False, "showgrid": False}
    return go.Layout(
        template=BLANK, xaxis=across, yaxis=up, margin={"l": 20, "r": 20, "t": 10, "b": 50}, showlegend=False
    )


def distribution_figure(samples: Sequence[Sample]) -> go.Figure:
    """Share of the runs whose value is at most x, a step for each run, one colour for each sample."""
    logarithmic = is_logarithmic(samples)
    across = {
        "title": {"text": escape(numbers.label(samples[0].measure), quote=False)},
        "type": "log" if logarithmic else "linear",
        "exponentformat": "power",
    }
    up = {"title": {"text": "share of the runs"}, "tickformat": ".0%", "range": [0, 1.04]}
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    figure = go.Figure(
        layout=go.Layout(
            template=BLANK,
            xaxis=across,
            yaxis=up,
            legend=legend,
            margin={"l": 60, "r": 12, "t": 30, "b": 50},
            showlegend=True,
        )
    )
    for index, sample in enumerate(samples):
        ordered = sorted(sample.values)
        share = [(place + 1) / len(ordered) for place in range(len(ordered))]
        figure.add_scatter(
            x=ordered,
            y=share,
            mode="lines+markers",
            name=escape(sample.label, quote=False),
            line={"shape": "hv", "width": 2},
        )
        figure.data[-1].update(line_color=COLOURS[index % len(COLOURS)], marker={"size": 6})
    return figure
