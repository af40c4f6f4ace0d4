"""The page of a connection of two networks: one HTML file that needs no network."""

from typing import Any

import numpy as np
from plotly import graph_objects as go

from lossmap.components.figures.connection import sentences
from lossmap.components.figures.connection.summary import SPLITS, ConnectionPath, ConnectionSummary, Quantity
from lossmap.components.figures.pages import BLANK, render
from lossmap.components.figures.scale import CONFIDENCE


def connection_page(summary: ConnectionSummary) -> str:
    """Profiles along every path, barriers in a table, and what to know when reading them."""
    figures = {
        f"{split}-{quantity}": profile_figure(summary, split, quantity)
        for split, quantity in summary.paths[0].barriers
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
    figure = go.Figure(layout=_layout(quantity, summary.unit))
    for path in summary.paths:
        _add(figure, path, split, quantity, sentences.label(summary, path.name))
    ends = getattr(summary.paths[0].profiles[split], quantity)[[0, -1]]
    chord = {
        "x": [0, 1],
        "y": ends,
        "mode": "lines",
        "line": {"color": "#888888", "dash": "dot", "width": 1.5},
    }
    return figure.add_scatter(**chord, hoverinfo="skip", showlegend=False)


def _add(figure: go.Figure, path: ConnectionPath, split: str, quantity: Quantity, name: str) -> None:
    profile, colour = path.profiles[split], sentences.colour(path.name)
    value = getattr(profile, quantity)
    half = CONFIDENCE * getattr(profile, f"{quantity}_standard_error")
    known = np.isfinite(value) & np.isfinite(half)
    low, high = np.maximum(value - half, 0)[known], (value + half)[known]
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
    number = "%{y:.4g} ± %{customdata:.2g}" if quantity == "loss" else "%{y:.2%} ± %{customdata:.2%}"
    shown = np.where(np.isfinite(value), value, np.nan)
    figure.add_scatter(
        x=profile.t,
        y=shown,
        name=name,
        mode="lines+markers",
        customdata=half,
        hovertemplate=f"t %{{x:.3f}}<br>{quantity} {number}",
    )
    figure.data[-1].update(
        line={"color": colour, "width": 2}, marker={"size": 4}, connectgaps=False, showlegend=False
    )


def _layout(quantity: Quantity, unit: str) -> go.Layout:
    up: dict[str, Any] = {"title": {"text": "error"}, "rangemode": "tozero", "tickformat": ".0%"}
    if quantity == "loss":
        up = {"title": {"text": f"loss, {unit}"}, "rangemode": "tozero"}
    across = {"title": {"text": "t: from the first network (0) to the second (1)"}, "range": [-0.02, 1.02]}
    return go.Layout(template=BLANK, xaxis=across, yaxis=up, margin={"l": 60, "r": 12, "t": 30, "b": 50})
