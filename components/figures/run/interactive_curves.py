"""Curves that a reader points at, over epochs and along the first direction, as plotly describes them. Every
name in them is escaped: plotly reads text as markup.
"""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
from plotly import graph_objects as go

from lossmap.components.config.pictures import Pictures
from lossmap.components.figures.curves import CurveAxis
from lossmap.components.figures.frame import edges
from lossmap.components.figures.pages import BLANK
from lossmap.components.figures.run.points import point_details, point_text
from lossmap.components.figures.run.summary import RunSummary, profile_axis
from lossmap.components.figures.scale import COLOURS, CONFIDENCE
from lossmap.components.landscape.grid import Surface

_DEEPEST = 100.0  # times below where most losses lie that cuts are followed


def epochs_figure(runs: Sequence[RunSummary], quantity: str) -> go.Figure:
    """Training (dashed) and test values of `loss` or `error` over epochs, one colour for each run."""
    curves = [
        np.array([entry.get(f"{split}_{quantity}", np.nan) for entry in run.epochs], dtype=float)
        for run in runs
        for split in ("train", "test")
    ]
    axis = CurveAxis.of(curves) if quantity == "loss" else None
    figure = go.Figure(layout=_curve_layout("epoch", quantity, axis))
    if len(runs) == 1:
        _add_epochs(figure, runs[0], quantity, "", (COLOURS[0], COLOURS[1]))
    else:
        for index, run in enumerate(runs):
            colour = COLOURS[index % len(COLOURS)]
            _add_epochs(figure, run, quantity, f"{escape(run.run, quote=False)}, ", (colour, colour))
    # a page of several runs has one legend for all its curves
    return figure.update_layout(showlegend=len(runs) == 1)


def _add_epochs(
    figure: go.Figure, run: RunSummary, quantity: str, prefix: str, colours: tuple[str, str]
) -> None:
    epochs = [entry["epoch"] for entry in run.epochs]
    curves = (("train", "training", "dash"), ("test", "test", "solid"))
    for (split, adjective, dash), colour in zip(curves, colours, strict=True):
        values = [entry.get(f"{split}_{quantity}") for entry in run.epochs]
        figure.add_scatter(x=epochs, y=values, name=f"{prefix}{adjective}", mode="lines+markers")
        figure.data[-1].update(line={"color": colour, "dash": dash, "width": 2}, marker={"size": 4})


def slices_figure(run: RunSummary) -> go.Figure:
    """The loss along both directions through the point of the plane that is nearest to the trained network.
    A reader moves the cuts; the axis stays.
    """
    plane, axis = run.plane, _slices_axis(run)
    row, column = int(np.abs(plane.y).argmin()), int(np.abs(plane.x).argmin())
    figure = go.Figure(layout=_curve_layout("coordinate", "loss", axis).update(showlegend=True))
    losses = np.where(plane.finite, plane.loss, np.nan)
    cuts = (
        (plane.x, losses[row], "along the first direction", "solid"),
        (plane.y, losses[:, column], "along the second direction", "dash"),
    )
    for (along, values, name, dash), colour in zip(cuts, COLOURS[:2], strict=True):
        figure.add_scatter(x=along, y=axis.place(values), name=name, mode="lines", connectgaps=False)
        figure.data[-1].update(line={"color": colour, "dash": dash, "width": 2})
    return figure


def cut_heights(run: RunSummary) -> list[list[float | None]]:
    """The plane's losses on the axis of the slices, row by row, with six digits; None where not finite."""
    placed = _slices_axis(run).place(np.where(run.plane.finite, run.plane.loss, np.nan))
    return [[float(f"{value:.6g}") if np.isfinite(value) else None for value in row] for row in placed]


def _slices_axis(run: RunSummary) -> CurveAxis:
    """The axis of the plane's losses, and down to the least of them: few points lie at the bottom of a
    basin, and cuts through the trained network go there.
    """
    losses = run.plane.loss[run.plane.finite]
    axis = CurveAxis.of([losses], pictures=run.pictures)
    if axis.scale.kind != "log" or not (losses > 0).any() or (run.pictures and run.pictures.limits):
        return axis
    bottom = max(float(losses[losses > 0].min()), axis.low / _DEEPEST)
    return replace(axis, low=min(axis.low, bottom))


def profile_figure(runs: Sequence[RunSummary], quantity: str, pictures: Pictures | None = None) -> go.Figure:
    """`loss` with its confidence band, or `error`, along the first direction, one colour for each run that
    has a line.
    """
    axis = profile_axis(runs, pictures) if quantity == "loss" else None
    figure = go.Figure(layout=_curve_layout("first direction", quantity, axis))
    guessing_losses = set()
    for index, run in enumerate(runs):
        if run.line is not None:
            colour, name = COLOURS[index % len(COLOURS)], escape(run.run, quote=False)
            _add_profile(figure, run.line, axis, colour, name)
            guessing_losses.add(run.guessing_loss)
    if axis:
        for guess in sorted(guess for guess in guessing_losses if guess is not None):
            line = {"dash": "dash", "color": "#888888", "width": 1}
            figure.add_hline(y=float(axis.place(np.array(guess))), line=line)
    figure.add_vline(x=0, line={"dash": "dot", "color": "#888888", "width": 1})
    return figure


def _add_profile(figure: go.Figure, line: Surface, axis: CurveAxis | None, colour: str, name: str) -> None:
    """The loss on an axis, with its band, or without an axis the error."""
    finite = line.finite[0]
    half = CONFIDENCE * line.loss_standard_error[0]
    value = np.where(finite, (line.loss if axis else line.error)[0], np.nan)
    if axis:
        known = finite & np.isfinite(half)
        low, high = axis.place((value - half)[known]), axis.place((value + half)[known])
        value = axis.place(value)
        band = {
            "x": np.concatenate([line.x[known], line.x[known][::-1]]),
            "y": np.concatenate([high, low[::-1]]),
        }
        figure.add_scatter(
            **band,
            fill="toself",
            fillcolor=_faint(colour),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
        )
    figure.add_scatter(
        x=line.x,
        y=value,
        name=name,
        mode="lines+markers",
        customdata=point_details(line)[0],
        hovertemplate=f"x %{{x:.3f}}<br>{point_text(line)}",
    )
    figure.data[-1].update(line={"color": colour, "width": 2}, marker={"size": 4}, connectgaps=False)
    borders = edges(line.x)
    for index in np.flatnonzero(~finite):
        figure.add_vrect(
            x0=borders[index], x1=borders[index + 1], fillcolor=colour, opacity=0.25, line={"width": 0}
        )


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.3)"


def _curve_layout(across: str, quantity: str, axis: CurveAxis | None) -> go.Layout:
    kind: dict[str, Any] = {"type": "linear", "exponentformat": "none"}
    kind = axis.layout() if axis else kind | {"tickformat": ".0%", "rangemode": "tozero"}
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return go.Layout(
        template=BLANK,
        xaxis={"title": {"text": across}},
        yaxis={"title": {"text": quantity}, **kind},
        legend=legend,
        margin={"l": 60, "r": 12, "t": 30, "b": 50},
        showlegend=False,
    )
