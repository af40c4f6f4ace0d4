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
from lossmap.components.figures.frame import (
    FEWEST_FOR_LINES,
    Frame,
    clipped_heights,
    clipped_loss,
    lonely,
    lowest,
    true_heights,
)
from lossmap.components.figures.pages import BLANK
from lossmap.components.figures.run.points import point_details, point_text
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.figures.scale import (
    COLOUR_MAP,
    READABLE_IN_WHITE,
    Array,
    Scale,
    label,
    trail_colour,
)
from lossmap.components.landscape.grid import Surface
from lossmap.components.stores.survey_plan import Trail
from lossmap.components.surveys.result import Snapshot

MARGIN = 0.0075  # of the scale: what lies exactly on the wall of the box flickers


def surface_figure(run: RunSummary, limits: Frame) -> go.Figure:
    """The plane in perspective. On a logarithmic scale, heights are losses clipped to it, so that the axis
    can be logarithmic or linear.
    """
    surface, scale = run.plane, limits.scale
    is_sheet = min(surface.loss.shape) >= FEWEST_FOR_LINES
    is_alone = lonely(surface) if is_sheet else surface.finite
    traces = [_sheet(surface, scale)] if is_sheet else []
    if is_alone.any():
        traces.append(_beads(surface, scale, is_alone))
    traces += [_mark3d(*place, scale) for place in _places(run)]
    scene = {
        "xaxis": {"title": {"text": "first direction"}, "range": limits.x},
        "yaxis": {"title": {"text": "second direction"}, "range": limits.y},
        "zaxis": {"title": {"text": "loss"}, **next(iter(height_axis(limits).values()))},
        "aspectmode": "manual",
        "aspectratio": {"x": 1, "y": 1, "z": 0.72},
        "camera": {"eye": {"x": 1.12, "y": -1.38, "z": 1.17}, "center": {"x": 0, "y": 0, "z": -0.12}},
    }
    colours = colour_axis(scale) | {"showscale": False}  # the height axis tells the same
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


def colour_axis(scale: Scale) -> dict[str, Any]:
    """The scale of colours, with a bar that says where losses lie beyond its ends."""
    ticks, (below, above) = scale.ticks(), scale.beyond
    ticks = [scale.low] * (below and scale.low not in ticks) + ticks
    ticks += [scale.high] * (above and scale.high not in ticks)
    texts = [label(tick) for tick in ticks] or [""]
    texts[0] = f"loss {'≤ ' if below else ''}{texts[0]}"
    texts[-1] = f"≥ {texts[-1]}" if above else texts[-1]
    return {
        "colorscale": COLOUR_MAP,
        "cmin": scale.ends[0],
        "cmax": scale.ends[1],
        "colorbar": {
            "tickvals": scale.heights(ticks).tolist(),
            "ticktext": texts,
            "orientation": "h",
            "thickness": 10,
            "len": 0.9,
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "outlinewidth": 0,
        },
    }


def height_axis(limits: Frame) -> dict[str, dict[str, Any]]:
    """The ways to show height, the same for all runs of a page, the scale's own first."""
    scale = limits.scale
    room = MARGIN * (scale.ends[1] - scale.ends[0])
    if scale.kind == "linear":
        return {"linear": {**_linear(scale.low - room, scale.high + room)}}
    labelled = [tick for tick in scale.ticks() if tick > scale.low]  # that would lie on the first direction's
    ticks = {"tickmode": "array", "ticktext": [label(tick) for tick in labelled]}
    ends = [scale.ends[0] - room, scale.ends[1] + room]
    if scale.kind == "symlog":
        places = scale.heights(labelled).tolist()
        return {"symmetric logarithmic": {"type": "linear", "range": ends, "tickvals": places, **ticks}}
    return {
        "logarithmic": {"type": "log", "range": ends, "tickvals": labelled, **ticks},
        "linear": _linear(0.0, 1.02 * limits.ceiling),
    }


def _linear(low: float, high: float) -> dict[str, Any]:
    return {"type": "linear", "range": [low, high], "tickmode": "auto", "exponentformat": "e"}


def map_figure(run: RunSummary, limits: Frame) -> go.Figure:
    """The plane from above: one cell for each point, lines of equal loss over it, marks, the path of
    training, and points without a finite loss.
    """
    surface, scale = run.plane, limits.scale
    cells = go.Heatmap(
        x=surface.x,
        y=surface.y,
        z=clipped_heights(surface, scale),
        zsmooth=False,
        coloraxis="coloraxis",
        customdata=point_details(surface),
    )
    cells.update(hovertemplate=_hover(surface), hoverongaps=False)
    traces: list[Any] = [cells, *_lines(surface, run.guessing_loss, scale), *_holes(surface)]
    traces += [*_evaluated_points(surface), *_path(run)]
    traces += [_mark(*place) for place in _places(run)]
    layout = go.Layout(
        template=BLANK,
        coloraxis=colour_axis(scale),
        margin={"l": 60, "r": 10, "t": 30, "b": 90},
        showlegend=False,
    )
    axis = {"constrain": "domain", "zeroline": False, "showgrid": False}
    layout.update(xaxis={"title": {"text": "first direction"}, "range": limits.x, **axis})
    layout.update(yaxis={"title": {"text": "second direction"}, "range": limits.y, **axis})
    width, height = limits.x[1] - limits.x[0], limits.y[1] - limits.y[0]
    if 1 / 3 <= width / height <= 3:
        layout.yaxis.update(scaleanchor="x")
    return go.Figure(traces, layout)


def _hover(surface: Surface) -> str:
    return f"x %{{x:.3f}}, y %{{y:.3f}}<br>{point_text(surface)}<extra></extra>"


def _raised(surface: Surface, scale: Scale) -> Array:
    """What plotly draws as heights, which itself takes the logarithm."""
    return clipped_heights(surface, scale) if scale.kind == "symlog" else clipped_loss(surface, scale)


def _sheet(surface: Surface, scale: Scale) -> go.Surface:
    """The surface. Plotly looks up its custom data by column and row, unlike its heights: they are handed
    over transposed.
    """
    details = point_details(surface).transpose(1, 0, 2)
    sheet = go.Surface(
        x=surface.x,
        y=surface.y,
        z=_raised(surface, scale),
        surfacecolor=clipped_heights(surface, scale),
        coloraxis="coloraxis",
        customdata=details,
    )
    return sheet.update(
        hovertemplate=_hover(surface),
        connectgaps=False,
        contours={"z": {"highlight": False}},
        lighting={"ambient": 0.75, "diffuse": 0.5, "specular": 0.05},
    )


def _beads(surface: Surface, scale: Scale, shown: NDArray[np.bool_]) -> go.Scatter3d:
    """Points that no facet joins: a single row or column, or what missing ones are around."""
    x, y = (axis[shown] for axis in np.meshgrid(surface.x, surface.y))
    marker = {"color": clipped_heights(surface, scale)[shown], "coloraxis": "coloraxis", "size": 4}
    return go.Scatter3d(
        x=x,
        y=y,
        z=_raised(surface, scale)[shown],
        mode="markers",
        marker=marker,
        customdata=point_details(surface)[shown],
        hovertemplate=_hover(surface),
    )


def _lines(surface: Surface, guessing_loss: float | None, scale: Scale) -> list[go.Contour]:
    """Losses of the scale's levels, thin, and the loss of guessing where there is one, thick; heights are
    linear between points.
    """
    if min(surface.loss.shape) < FEWEST_FOR_LINES or not surface.finite.any():
        return []
    lines = []
    for group in scale.levels():
        heights = scale.heights(group)
        dark = scale.position(heights) >= READABLE_IN_WHITE
        for chosen, colour in ((~dark, "rgba(255,255,255,0.75)"), (dark, "rgba(40,40,40,0.75)")):
            if chosen.any():
                lines.append(_line(surface, scale, heights[chosen], 0.9, colour))
    if guessing_loss is None:
        return lines
    guess = scale.heights([guessing_loss])
    for width, colour in ((4.5, "#000000"), (2.5, "#ffffff")):
        lines.append(_line(surface, scale, guess, width, colour))
    return lines


def _line(surface: Surface, scale: Scale, heights: Array, width: float, colour: str) -> go.Contour:
    """Lines at evenly spaced heights; plotly draws them up to a tenth of a step beyond the last one."""
    contour = go.Contour(
        x=surface.x,
        y=surface.y,
        z=true_heights(surface, scale).astype(np.float32 if scale.kind == "log" else np.float64),
        autocontour=False,
        showscale=False,
        hoverinfo="skip",
    )
    step = float(heights[1] - heights[0]) if len(heights) > 1 else 1.0
    contour.update(
        contours={"start": float(heights[0]), "end": float(heights[-1]), "size": step, "coloring": "none"},
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
    """The snapshots' projections onto the plane, joined; one colour for each path."""
    return [
        _trail(trail, snapshots, trail_colour(number))
        for number, (trail, snapshots) in enumerate(run.result.paths)
    ]


def _trail(trail: Trail, snapshots: Sequence[Snapshot], colour: str) -> go.Scatter:
    details = [
        [
            escape(trail.name(snapshot.position.epoch)),
            snapshot.loss,
            snapshot.plane_loss,
            snapshot.position.distance,
        ]
        for snapshot in snapshots
    ]
    label = f"{escape(trail.label)}, " if trail.label else ""
    hover = (
        f"{label}%{{customdata[0]}}<br>loss %{{customdata[1]:.4g}}, on the plane"
        " %{customdata[2]:.4g}<br>%{customdata[3]:.3g} off the plane<extra></extra>"
    )
    return go.Scatter(
        x=[snapshot.position.x for snapshot in snapshots],
        y=[snapshot.position.y for snapshot in snapshots],
        mode="lines+markers",
        line={"color": "#ffffff" if not trail.label else colour, "width": 1.5},
        marker={"size": 5, "color": colour, "line": {"color": "#000000", "width": 0.5}},
        customdata=details,
        hovertemplate=hover,
    )


def _places(run: RunSummary) -> list[tuple[str, str, float, float, float]]:
    """Marks: text, symbol, x, y, loss. Networks are marked where the grid has evaluated them."""
    surface, places = run.plane, []
    networks = [("the trained network", "cross", 0.0, 0.0)]
    networks += [(f"the network of {escape(name)}", "diamond", x, y) for name, x, y in run.networks]
    for text, symbol, x, y in networks:
        rows, columns = np.flatnonzero(surface.y == y), np.flatnonzero(surface.x == x)
        if len(rows) and len(columns) and surface.finite[rows[0], columns[0]]:
            places.append((text, symbol, x, y, float(surface.loss[rows[0], columns[0]])))
    if place := lowest(surface):
        places.append(("the lowest point", "circle-open", place.x, place.y, place.loss))
    return places


def _mark(text: str, symbol: str, x: float, y: float, loss: float) -> go.Scatter:
    size, outline = (13, "#ffffff") if symbol == "circle-open" else (9, "#000000")
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


def _mark3d(text: str, symbol: str, x: float, y: float, loss: float, scale: Scale) -> go.Scatter3d:
    clipped = scale.clip(loss)
    height = float(scale.heights(clipped) if scale.kind == "symlog" else clipped)
    marker = {"symbol": symbol, "size": 5, "color": "#d81b60", "line": {"color": "#d81b60", "width": 2}}
    return go.Scatter3d(
        x=[x],
        y=[y],
        z=[height],
        mode="markers",
        marker=marker,
        hovertemplate=f"{text}<br>loss {numbers.number(loss)}<extra></extra>",
    )
