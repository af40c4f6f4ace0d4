"""The figures of a study, as plotly describes them: every run is a dot. Every name in them is escaped:
plotly reads text as markup.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from plotly import graph_objects as go

from lossmap.components.core.estimates import FEWEST
from lossmap.components.figures import numbers
from lossmap.components.figures.pages import BLANK
from lossmap.components.figures.scale import COLOURS
from lossmap.components.studies.effects import Bounds
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


def offsets(count: int) -> list[float]:
    """How far each seed's dot lies from the middle of its row."""
    if count == 1:
        return [0.0]
    return [float(offset) for offset in np.linspace(-SPREAD / 2, SPREAD / 2, count)]


def colours(samples: Sequence[Sample]) -> dict[str, str]:
    """One for each network."""
    networks = dict.fromkeys(sample.network for sample in samples)
    return {network: COLOURS[index % len(COLOURS)] for index, network in enumerate(networks)}


def drawn_interval(sample: Sample, samples: Sequence[Sample]) -> Bounds | None:
    """Between what the interval, or the range, of a sample's mean is drawn beside others; None where there is
    neither. On a logarithmic axis nothing is drawn further out than half the least and twice the greatest
    value.
    """
    estimate = sample.estimate
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    if not is_logarithmic(samples):
        return estimate.low, estimate.high
    values = [value for beside in samples for value in beside.values]
    return max(estimate.low, min(values) / 2), min(estimate.high, 2 * max(values))


def mean_caption(samples: Sequence[Sample]) -> str:
    """What the diamonds and bars of a figure are, and on which axis."""
    estimates = [sample.estimate for sample in samples if sample.estimate]
    ranges = any(estimate.range_of for estimate in estimates)
    intervals = any(estimate.high is not None and not estimate.range_of for estimate in estimates)
    kinds = ["95 % intervals of the means (Student's t)"] * intervals
    kinds += [f"ranges of the runs where these are fewer than {FEWEST}, equal, or counts"] * ranges
    bars = f"; bars: {', '.join(kinds)}" if kinds else ""
    axis = (
        " Logarithmic axis; bars end at half the least and twice the greatest value."
        if is_logarithmic(samples)
        else ""
    )
    return f"Diamonds: their means{bars}.{axis}"


def dots_figure(samples: Sequence[Sample], bound: float | None = None) -> go.Figure:
    """A row for each sample: a dot for each run, a diamond for their mean with its interval; a dashed line
    at the bound.
    """
    palette = colours(samples)
    rows = [sample for sample in samples if sample.values]
    measure = rows[0].measure if rows else ""
    figure = go.Figure(layout=_layout([sample.label for sample in rows], is_logarithmic(samples), measure))
    for row, sample in enumerate(rows):
        _add_runs(figure, row, sample, palette[sample.network])
        _add_mean(figure, row, sample, drawn_interval(sample, samples))
    if bound is not None:
        figure.add_vline(x=bound, line={"dash": "dash", "color": "#888888", "width": 1})
    return figure


def _add_runs(figure: go.Figure, row: int, sample: Sample, colour: str) -> None:
    up = [row + offset for offset in offsets(len(sample.values))]
    text = [_hover_text(sample.measure, observation) for observation in sample.observations]
    figure.add_scatter(
        x=sample.values, y=up, mode="markers", text=text, hovertemplate="%{text}<extra></extra>"
    )
    figure.data[-1].update(marker={"color": colour, "size": 9, "opacity": 0.75}, showlegend=False)


def _add_mean(figure: go.Figure, row: int, sample: Sample, bounds: Bounds | None) -> None:
    text = f"mean {numbers.scalar(sample.measure, sample.mean)}"
    if bounds and sample.estimate:
        text += f"<br>{numbers.ends(sample.measure, sample.estimate, 'runs')}"
        figure.add_scatter(
            x=bounds,
            y=[row, row],
            mode="lines",
            line={"color": "#888888", "width": 2},
            hoverinfo="skip",
            showlegend=False,
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


def _hover_text(measure: str, observation: Observation) -> str:
    name = escape(observation.run, quote=False)
    text = f"{name}<br>seed {observation.seed}: {numbers.scalar(measure, observation.value)}"
    if observation.low >= observation.high:
        return text
    return f"{text} ({numbers.ends(measure, observation, 'pairs')})"


def _layout(labels: Sequence[str], logarithmic: bool, measure: str) -> go.Layout:
    across = _value_axis(measure, logarithmic)
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


def _value_axis(measure: str, logarithmic: bool) -> dict[str, Any]:
    return {
        "title": {"text": escape(numbers.label(measure), quote=False)},
        "type": "log" if logarithmic else "linear",
        "exponentformat": "power",
    }


def distribution_figure(samples: Sequence[Sample]) -> go.Figure:
    """Share of the runs whose value is at most x, a step for each run, one colour for each sample."""
    across = _value_axis(samples[0].measure, is_logarithmic(samples))
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
