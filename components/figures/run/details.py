"""Figures of what a survey found beside the loss: convexity, the trajectory, the spectrum, curvature by
layer.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from plotly import graph_objects as go

from lossmap.components.figures.curves import CurveAxis
from lossmap.components.figures.pages import BLANK
from lossmap.components.figures.scale import COLOURS
from lossmap.components.landscape.hessian.lanczos import Density, smoothed_density
from lossmap.components.surveys.result import ConvexityMap, Snapshot

if TYPE_CHECKING:
    from lossmap.components.landscape.hessian.curvature import CurvatureResult

# of the greatest; between the nodes of the quadrature a smoothed density falls without end
_LEAST_DENSITY = 1e-8
_MARGIN = {"l": 60, "r": 20, "t": 20, "b": 50}


def convexity_figure(convexity: ConvexityMap) -> go.Figure:
    """|smallest / largest| eigenvalue where the smallest is negative beyond its residual, 0 elsewhere (Li
    et al. 2018, figure 7).
    """
    largest = np.where(convexity.largest == 0, np.nan, convexity.largest)
    ratio = np.where(convexity.convex, 0.0, np.abs(convexity.smallest / largest))
    details = np.stack([convexity.smallest, convexity.largest, convexity.residual], axis=-1)
    hover = (
        "x %{x:.3f}, y %{y:.3f}<br>eigenvalues %{customdata[0]:.4g} to %{customdata[1]:.4g} ±"
        " %{customdata[2]:.2g}<br>ratio %{z:.3g}<extra></extra>"
    )
    scale = {
        "colorscale": "Cividis",
        "zmin": 0.0,
        "zmax": 1.0,
        "colorbar": {
            "title": {"text": "|least / greatest|"},
            "thickness": 10,
            "outlinewidth": 0,
            "tickvals": [0.0, 0.25, 0.5, 0.75, 1.0],
            "ticktext": ["0", "0.25", "0.5", "0.75", "≥ 1" if (ratio > 1).any() else "1"],
        },
    }
    sheet = go.Heatmap(
        x=convexity.x, y=convexity.y, z=ratio, customdata=details, hovertemplate=hover, **scale
    )
    layout = go.Layout(
        template=BLANK,
        margin=_MARGIN,
        xaxis={"title": {"text": "first direction"}},
        yaxis={"title": {"text": "second direction"}},
    )
    return go.Figure([sheet], layout)


def trajectory_figure(snapshots: tuple[Snapshot, ...]) -> go.Figure:
    """Loss of each snapshot, and what the plane pretends it to be at its projection."""
    curves = {
        "the snapshot itself": [snapshot.loss for snapshot in snapshots],
        "its projection onto the plane": [snapshot.plane_loss for snapshot in snapshots],
    }
    axis = CurveAxis.of([np.array(losses) for losses in curves.values()])
    placed = {name: axis.place(np.array(losses)) for name, losses in curves.items()}
    layout = _curves("epoch", "loss").update(yaxis=axis.layout())
    return go.Figure(_over_epochs(snapshots, placed), layout)


def distance_figure(snapshots: tuple[Snapshot, ...]) -> go.Figure:
    """How far each snapshot is from the trained network, and how much of that is off the plane."""
    curves = {
        "from the trained network": [snapshot.position.length for snapshot in snapshots],
        "from the plane": [snapshot.position.distance for snapshot in snapshots],
    }
    return go.Figure(_over_epochs(snapshots, curves), _curves("epoch", "Euclidean distance of the weights"))


def _over_epochs(snapshots: tuple[Snapshot, ...], curves: Mapping[str, ArrayLike]) -> list[go.Scatter]:
    epochs = [snapshot.position.epoch for snapshot in snapshots]
    styles = zip(curves.items(), ("solid", "dash"), COLOURS[:2], strict=True)
    return [
        go.Scatter(x=epochs, y=values, name=name, mode="lines+markers", line={"dash": dash, "color": colour})
        for (name, values), dash, colour in styles
    ]


def spectrum_figure(spectrum: Density) -> go.Figure:
    """Density of the Hessian's eigenvalues, smoothed, with its 95 % interval over the probes."""
    density = smoothed_density(spectrum)
    lowest = float(density.density.max()) * _LEAST_DENSITY
    band = go.Scatter(
        x=np.concatenate([density.eigenvalues, density.eigenvalues[::-1]]),
        y=np.concatenate([density.high, density.low[::-1]]).clip(min=lowest),
        fill="toself",
        fillcolor="rgba(68,119,170,0.25)",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )
    curve = go.Scatter(
        x=density.eigenvalues,
        y=density.density.clip(min=lowest),
        mode="lines",
        line={"color": COLOURS[0]},
        showlegend=False,
    )
    return go.Figure([band, curve], _curves("eigenvalue of the Hessian", "density", logarithmic=True))


def layers_figure(curvature: "CurvatureResult") -> go.Figure:
    """Trace of each layer's block of the Hessian, with its 95 % interval."""
    names, traces = list(curvature.layer_traces), list(curvature.layer_traces.values())
    errors = [None if trace.high is None else trace.high - trace.value for trace in traces]
    bars = go.Bar(
        x=names,
        y=[trace.value for trace in traces],
        error_y={"type": "data", "array": errors},
        marker={"color": COLOURS[0]},
    )
    return go.Figure([bars], _curves("", "trace of the layer's block"))


def _curves(across: str, up: str, logarithmic: bool = False) -> go.Layout:
    axis = {"title": {"text": up}, "type": "log" if logarithmic else "linear", "exponentformat": "power"}
    return go.Layout(
        template=BLANK,
        margin=_MARGIN,
        xaxis={"title": {"text": across}},
        yaxis=axis,
        legend={"orientation": "h", "y": 1.12},
    )
