"""Figures that a reader turns and points at, as plotly describes them. Every name in them is escaped:
plotly reads text as markup.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotly import graph_objects as go

from lossmap.components.figures import numbers
from lossmap.components.figures.pages import BLANK
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.figures.scale import (
    COLOUR_MAP,
    COLOURS,
    CONFIDENCE,
    FEWEST_FOR_LINES,
    HIGH,
    LOW,
    READABLE_IN_WHITE,
    Array,
    Frame,
    clipped_loss,
    edges,
    exponents,
    lowest,
)
from lossmap.components.landscape.grid import Surface

DECADES = list(range(-2, 3))
BEYOND = {DECADES[0]: "loss ≤ ", DECADES[-1]: "≥ "}
MARGIN = 0.03  # of a decade: what lies exactly on the wall of the box flickers
HOVER = (
    "x %{x:.3f}, y %{y:.3f}<br>loss %{customdata[0]:.4g} ± %{customdata[1]:.2g}<br>error"
    " %{customdata[2]:.2%}<extra></extra>"
)
COLOUR_AXIS: dict[str, Any] = {
    "colorscale": COLOUR_MAP,
    "cmin": float(np.log10(LOW)),
    "cmax": float(np.log10(HIGH)),
    "colorbar": {
        "tickvals": DECADES,
        "ticktext": [f"{BEYOND.get(power, '')}{10.0**power:g}" for power in DECADES],
        "orientation": "h",
        "thickness": 10,
        "len": 0.9,
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "outlinewidth": 0,
    },
}


def surface_figure(run: RunSummary, limits: Frame) -> go.Figure:
    """The plane in perspective. Heights are losses clipped to the scale, so that the axis can be
    logarithmic or linear.
    """
    surface = run.plane
    height = clipped_loss(surface)
    is_sheet = min(height.shape) >= FEWEST_FOR_LINES
    traces = [_sheet(surface, height) if is_sheet else _beads(surface, height)]
    traces += [_mark3d(*place) for place in _places(run)]
    scene = {
        "xaxis": {"title": {"text": "first direction"}, "range": limits.x},
        "yaxis": {"title": {"text": "second direction"}, "range": limits.y},
        "zaxis": {"title": {"text": "loss"}, **height_axis(limits)["logarithmic"]},
        "aspectmode": "manual",
        "aspectratio": {"x": 1, "y": 1, "z": 0.72},
        "camera": {"eye": {"x": 1.12, "y": -1.38, "z": 1.17}, "center": {"x": 0, "y": 0, "z": -0.12}},
    }
    colours = COLOUR_AXIS | {"showscale": False}  # the height axis tells the same
    return go.Figure(
        traces,
        go.Layout(
            template=BLANK,
            scene=scene,
            coloraxis=colours,
            margin={"l": 0, "r": 0, "t": 0, "b": 0},
            showlegend=False,
        ),
    )


def height_axis(limits: Frame) -> dict[str, dict[str, Any]]:
    """The two ways to show height, the same for all runs of a page."""
    labelled = DECADES[1:]  # the lowest label would lie on that of the first direction
    ticks = {
        "tickvals": [10.0**power for power in labelled],
        "ticktext": [f"{10.0**power:g}" for power in labelled],
    }
    return {
        "logarithmic": {
            "type": "log",
            "range": [DECADES[0] - MARGIN, DECADES[-1] + MARGIN],
            "tickmode": "array",
            **ticks,
        },
        "linear": {"type": "linear", "range": [0.0, 1.02 * limits.ceiling], "tickmode": "auto"},
    }


def map_figure(run: RunSummary, limits: Frame) -> go.Figure:
    """The plane from above: one cell for each point, lines of equal loss over it, marks, the path of
    training, and points without a finite loss.
    """
    surface = run.plane
    cells = go.Heatmap(
        x=surface.x,
        y=surface.y,
        z=np.log10(clipped_loss(surface)),
        zsmooth=False,
        coloraxis="coloraxis",
        customdata=_details(surface),
    )
    cells.update(hovertemplate=HOVER, hoverongaps=False)
    traces: list[Any] = [cells, *_lines(surface, run.guessing_loss), *_holes(surface)]
    traces += [*_evaluated_points(surface), *_path(run)]
    traces += [_mark(*place) for place in _places(run)]
    layout = go.Layout(
        template=BLANK, coloraxis=COLOUR_AXIS, margin={"l": 60, "r": 10, "t": 30, "b": 90}, showlegend=False
    )
    axis = {"constrain": "domain", "zeroline": False, "showgrid": False}
    layout.update(xaxis={"title": {"text": "first direction"}, "range": limits.x, **axis})
    layout.update(yaxis={"title": {"text": "second direction"}, "range": limits.y, **axis})
    width, height = limits.x[1] - limits.x[0], limits.y[1] - limits.y[0]
    if 1 / 3 <= width / height <= 3:
        layout.yaxis.update(scaleanchor="x")
    return go.Figure(traces, layout)


def epochs_figure(runs: Sequence[RunSummary], quantity: str) -> go.Figure:
    """Training (dashed) and test values of `loss` or `error` over epochs, one colour for each run."""
    figure = go.Figure(layout=_curve_layout("epoch", quantity, logarithmic=quantity == "loss"))
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


def profile_figure(runs: Sequence[RunSummary], quantity: str) -> go.Figure:
    """`loss` with its confidence band, or `error`, along the first direction, one colour for each run that
    has a line.
    """
    figure = go.Figure(layout=_curve_layout("first direction", quantity, logarithmic=quantity == "loss"))
    guessing_losses = set()
    for index, run in enumerate(runs):
        if run.line is not None:
            colour, name = COLOURS[index % len(COLOURS)], escape(run.run, quote=False)
            _add_profile(figure, run.line, quantity, colour, name)
            guessing_losses.add(run.guessing_loss)
    if quantity == "loss":
        for guess in sorted(guess for guess in guessing_losses if guess is not None):
            figure.add_hline(y=guess, line={"dash": "dash", "color": "#888888", "width": 1})
    figure.add_vline(x=0, line={"dash": "dot", "color": "#888888", "width": 1})
    return figure


def _add_profile(figure: go.Figure, line: Surface, quantity: str, colour: str, name: str) -> None:
    finite = line.finite[0]
    half = CONFIDENCE * line.loss_standard_error[0]
    value = np.where(finite, getattr(line, quantity)[0], np.nan)
    if quantity == "loss":
        known = finite & np.isfinite(half)
        low, high = np.maximum(value - half, LOW / 100)[known], (value + half)[known]
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
    hover = "x %{x:.3f}<br>loss %{customdata[0]:.4g} ± %{customdata[1]:.2g}<br>error %{customdata[2]:.2%}"
    figure.add_scatter(
        x=line.x, y=value, name=name, mode="lines+markers", customdata=_details(line)[0], hovertemplate=hover
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


def _curve_layout(across: str, quantity: str, logarithmic: bool) -> go.Layout:
    up = {"title": {"text": quantity}, "type": "log" if logarithmic else "linear", "exponentformat": "none"}
    up |= {"dtick": "D2"} if logarithmic else {"tickformat": ".0%", "rangemode": "tozero"}
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return go.Layout(
        template=BLANK,
        xaxis={"title": {"text": across}},
        yaxis=up,
        legend=legend,
        margin={"l": 60, "r": 12, "t": 30, "b": 50},
        showlegend=False,
    )


def _details(surface: Surface) -> Any:
    """What is told about a point, (Y, X, 3) float32: loss, half the width of its 95 % interval, error."""
    layers = np.stack([surface.loss, CONFIDENCE * surface.loss_standard_error, surface.error], axis=-1)
    return np.where(surface.finite[..., None], layers, np.nan).astype(np.float32)


def _sheet(surface: Surface, height: Array) -> go.Surface:
    """The surface. Plotly looks up its custom data by column and row, unlike its heights: they are handed
    over transposed.
    """
    details = _details(surface).transpose(1, 0, 2)
    sheet = go.Surface(
        x=surface.x,
        y=surface.y,
        z=height,
        surfacecolor=np.log10(height),
        coloraxis="coloraxis",
        customdata=details,
    )
    return sheet.update(
        hovertemplate=HOVER,
        connectgaps=False,
        contours={"z": {"highlight": False}},
        lighting={"ambient": 0.75, "diffuse": 0.5, "specular": 0.05},
    )


def _beads(surface: Surface, height: Array) -> go.Scatter3d:
    """A single row or column of points."""
    x, y = (axis.ravel() for axis in np.meshgrid(surface.x, surface.y))
    marker = {"color": np.log10(height).ravel(), "coloraxis": "coloraxis", "size": 4}
    return go.Scatter3d(
        x=x,
        y=y,
        z=height.ravel(),
        mode="markers",
        marker=marker,
        customdata=_details(surface).reshape(-1, 3),
        hovertemplate=HOVER,
    )


def _lines(surface: Surface, guessing_loss: float | None) -> list[go.Contour]:
    """Losses 1, 2 and 5 times powers of ten, thin, and the loss of guessing where there is one, thick; log
    loss is linear between points.
    """
    if min(surface.loss.shape) < FEWEST_FOR_LINES or not surface.finite.any():
        return []
    change = float(np.log10(READABLE_IN_WHITE)) - 1e-6
    lines = []
    for factor in (1, 2, 5):
        first = float(np.log10(factor * LOW))
        lines.append(_line(surface, (first, change - 0.2), 0.9, "rgba(255,255,255,0.75)"))
        lines.append(
            _line(surface, (first + np.ceil(change - first), DECADES[-1] + 1e-6), 0.9, "rgba(40,40,40,0.75)")
        )
    if guessing_loss is None:
        return lines
    guess = float(np.log10(guessing_loss))
    return [
        *lines,
        _line(surface, (guess, guess), 4.5, "#000000"),
        _line(surface, (guess, guess), 2.5, "#ffffff"),
    ]


def _line(surface: Surface, span: tuple[float, float], width: float, colour: str) -> go.Contour:
    """Lines at the exponents span[0], span[0] + 1, … up to span[1]; plotly adds a tenth of a step to the
    end.
    """
    contour = go.Contour(
        x=surface.x,
        y=surface.y,
        z=exponents(surface).astype(np.float32),
        autocontour=False,
        showscale=False,
        hoverinfo="skip",
    )
    contour.update(
        contours={"start": span[0], "end": span[1], "size": 1.0, "coloring": "none"},
        line={"width": width, "color": colour},
    )
    return contour.update(connectgaps=False)


def _holes(surface: Surface) -> list[go.Scatter]:
    """A cross where the loss is NaN or infinite, a dot where it was not evaluated."""
    kinds = (
        (surface.known & np.isnan(surface.loss), "x-thin", "loss is NaN"),
        (surface.known & np.isinf(surface.loss), "x-thin", "loss is infinite"),
        (~surface.known, "circle", "not evaluated"),
    )
    return [_crosses(surface, mask, symbol, text) for mask, symbol, text in kinds if mask.any()]


def _crosses(surface: Surface, mask: NDArray[np.bool_], symbol: str, text: str) -> go.Scatter:
    rows, columns = np.nonzero(mask)
    marker = {
        "symbol": symbol,
        "size": 5,
        "color": "#888888",
        "line": {"color": "#888888", "width": 1.3},
    }
    return go.Scatter(
        x=surface.x[columns],
        y=surface.y[rows],
        mode="markers",
        marker=marker,
        hovertemplate=f"x %{{x:.3f}}, y %{{y:.3f}}<br>{text}<extra></extra>",
    )


def _evaluated_points(surface: Surface) -> list[go.Scatter]:
    """A speck at every evaluated point of a plane whose other points are interpolated."""
    if not surface.interpolated.any():
        return []
    rows, columns = np.nonzero(surface.evaluated)
    marker = {"size": 2, "color": "rgba(255,255,255,0.55)"}
    return [
        go.Scatter(x=surface.x[columns], y=surface.y[rows], mode="markers", marker=marker, hoverinfo="skip")
    ]


def _path(run: RunSummary) -> list[go.Scatter]:
    """The snapshots' projections onto the plane, joined."""
    snapshots = run.result.trajectory
    if not snapshots:
        return []
    details = [
        [snapshot.position.epoch, snapshot.loss, snapshot.plane_loss, snapshot.position.distance]
        for snapshot in snapshots
    ]
    hover = (
        "epoch %{customdata[0]}<br>loss %{customdata[1]:.4g}, on the plane"
        " %{customdata[2]:.4g}<br>%{customdata[3]:.3g} off the plane<extra></extra>"
    )
    x = [snapshot.position.x for snapshot in snapshots]
    y = [snapshot.position.y for snapshot in snapshots]
    line = {"color": "#ffffff", "width": 1.5}
    return [
        go.Scatter(
            x=x,
            y=y,
            mode="lines+markers",
            line=line,
            marker={"size": 5, "color": "#ee6677"},
            customdata=details,
            hovertemplate=hover,
        )
    ]


def _places(run: RunSummary) -> list[tuple[str, str, float, float, float]]:
    """Marks: text, symbol, x, y, loss. The trained network is marked where the grid holds it."""
    surface, places = run.plane, []
    rows, columns = np.flatnonzero(surface.y == 0), np.flatnonzero(surface.x == 0)
    if len(rows) and len(columns) and surface.finite[rows[0], columns[0]]:
        places.append(("the trained network", "cross", 0.0, 0.0, float(surface.loss[rows[0], columns[0]])))
    if place := lowest(surface):
        places.append(("the lowest point", "circle-open", place.x, place.y, place.loss))
    return places


def _mark(text: str, symbol: str, x: float, y: float, loss: float) -> go.Scatter:
    size, outline = (9, "#000000") if symbol == "cross" else (13, "#ffffff")
    marker = {
        "symbol": symbol,
        "size": size,
        "color": "#ffffff",
        "line": {"color": outline, "width": 1.5},
    }
    return go.Scatter(
        x=[x],
        y=[y],
        mode="markers",
        marker=marker,
        hovertemplate=f"{text}<br>loss {numbers.number(loss)}<extra></extra>",
    )


def _mark3d(text: str, symbol: str, x: float, y: float, loss: float) -> go.Scatter3d:
    height = float(np.clip(loss, LOW, HIGH))
    marker = {"symbol": symbol, "size": 5, "color": "#d81b60", "line": {"color": "#d81b60", "width": 2}}
    return go.Scatter3d(
        x=[x],
        y=[y],
        z=[height],
        mode="markers",
        marker=marker,
        hovertemplate=f"{text}<br>loss {numbers.number(loss)}<extra></extra>",
    )
