"""The page of a connection of two networks: one HTML file that needs no network."""

from typing import Any

import numpy as np
from plotly import graph_objects as go

from lossmap.components.config.connection import PathName
from lossmap.components.figures.connection import sentences
from lossmap.components.figures.connection.summary import SPLITS, ConnectionSummary, Quantity
from lossmap.components.figures.curves import CurveAxis
from lossmap.components.figures.pages import BLANK, render
from lossmap.components.figures.scale import CONFIDENCE
from lossmap.components.landscape.connectivity.barriers import Profile


def connection_page(summary: ConnectionSummary) -> str:
    """Profiles along every path, barriers in a table, and what to know when reading them."""
    figures = {
        f"{split}-{quantity}": profile_figure(summary, split, quantity)
        for split, quantity in summary.paths[0].barriers
        if quantity in summary.quantities
    }
    profiles = summary.paths[0].profiles
    splits = {split: adjective for split, adjective in SPLITS.items() if split in profiles}
    return render(
        "connection.html",
        figures,
        summary=summary,
        sentences=sentences,
        splits=splits,
        settings=summary.connecting.evaluation,
    )


def profile_figure(summary: ConnectionSummary, split: str, quantity: Quantity) -> go.Figure:
    """Loss or error over t with 95 % bands, one colour for each path, and dotted the chord between the
    ends of the straight line.
    """
    axis = summary.axis(split) if quantity == "loss" else None
    figure = go.Figure(layout=_layout(axis, summary.unit))
    for path in summary.paths:
        _add(figure, path.profiles[split], axis, path.name, sentences.label(summary, path.name))
    heights = summary.chord(split, quantity)
    chord = {
        "x": summary.chord_t,
        "y": axis.place(heights) if axis else heights,
        "mode": "lines",
        "line": {"color": "#888888", "dash": "dot", "width": 1.5},
    }
    return figure.add_scatter(**chord, hoverinfo="skip", showlegend=False)


def _add(figure: go.Figure, profile: Profile, axis: CurveAxis | None, path: PathName, name: str) -> None:
    """Of a path: the loss on an axis, or without an axis the error."""
    colour, quantity = sentences.colour(path), "loss" if axis else "error"
    value = getattr(profile, quantity)
    half = CONFIDENCE * getattr(profile, f"{quantity}_standard_error")
    known = np.isfinite(value) & np.isfinite(half)
    low, high = (value - half)[known], (value + half)[known]
    if axis:
        low, high = axis.place(low), axis.place(high)
    band = {
        "x": np.concatenate([profile.t[known], profile.t[known][::-1]]),
        "y": np.concatenate([high, low[::-1]]),
    }
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    faint = f"rgba({red},{green},{blue},0.25)"
    figure.add_scatter(
        **band,
        fill="toself",
        fillcolor=faint,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    digits = (".4g", ".2g") if axis else (".2%", ".2%")
    number = f"%{{customdata[0]:{digits[0]}}} ± %{{customdata[1]:{digits[1]}}}"
    shown = np.where(np.isfinite(value), value, np.nan)
    figure.add_scatter(
        x=profile.t,
        y=axis.place(shown) if axis else shown,
        name=name,
        mode="lines+markers",
        customdata=np.stack([shown, half], axis=-1),
        hovertemplate=f"t %{{x:.3f}}<br>{quantity} {number}",
    )
    figure.data[-1].update(
        line={"color": colour, "width": 2}, marker={"size": 4}, connectgaps=False, showlegend=False
    )


def _layout(axis: CurveAxis | None, unit: str) -> go.Layout:
    up: dict[str, Any] = {"title": {"text": "error"}, "rangemode": "tozero", "tickformat": ".0%"}
    if axis:
        up = {"title": {"text": f"loss, {unit}"}, **axis.layout(), "range": axis.ends()}
    across = {"title": {"text": "t: from the first network (0) to the second (1)"}, "range": [-0.02, 1.02]}
    return go.Layout(template=BLANK, xaxis=across, yaxis=up, margin={"l": 60, "r": 12, "t": 30, "b": 50})
