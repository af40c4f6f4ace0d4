"""Figures of what a survey found beside the loss: convexity, the trajectory, the spectrum, curvature by
layer.
"""

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from plotly import graph_objects as go

from lossmap.components.core.estimates import Estimate
from lossmap.components.figures.curves import CurveAxis
from lossmap.components.figures.pages import BLANK
from lossmap.components.figures.scale import COLOURS, trail_colour
from lossmap.components.landscape.hessian.lanczos import Density, smoothed_density
from lossmap.components.surveys.result import ConvexityMap, Snapshot, SurveyResult

if TYPE_CHECKING:
    from lossmap.components.landscape.hessian.curvature import CurvatureResult

# of the greatest; between the nodes of the quadrature a smoothed density falls without end
_LEAST_DENSITY = 1e-8
_MOST_PARTS = 24  # of a network that have a bar of their own
_HOVERED = 12  # layers that are named where one points
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


def trajectory_figure(result: SurveyResult) -> go.Figure:
    """Loss of each snapshot, and what the plane pretends it to be at its projection."""
    own, projected = (
        np.array([getattr(each, name) for each in result.trajectory]) for name in ("loss", "plane_loss")
    )
    axis = CurveAxis.of([own, projected])
    curves = {
        "the snapshot itself": lambda each: float(axis.place(np.array([each.loss]))[0]),
        "its projection onto the plane": lambda each: float(axis.place(np.array([each.plane_loss]))[0]),
    }
    layout = _curves(_stage(result), "loss").update(yaxis=axis.layout())
    return go.Figure(_along(result, curves), layout)


def distance_figure(result: SurveyResult) -> go.Figure:
    """How far each snapshot is from the trained network, and how much of that is off the plane."""
    curves = {
        "from the trained network": lambda each: each.position.length,
        "from the plane": lambda each: each.position.distance,
    }
    layout = _curves(_stage(result), "Euclidean distance of the weights")
    return go.Figure(_along(result, curves), layout)


def _stage(result: SurveyResult) -> str:
    """What snapshots are counted by."""
    kinds = {"checkpoint" if trail.checkpoints else "epoch" for trail in result.trails}
    return " or ".join(sorted(kinds))


def _along(result: SurveyResult, curves: Mapping[str, Callable[[Snapshot], float]]) -> list[go.Scatter]:
    """A solid and a dashed curve for each path, over its snapshots."""
    several, lines = len(result.trails) > 1, []
    for number, (trail, snapshots) in enumerate(result.paths):
        for place, (name, value) in enumerate(curves.items()):
            colour = trail_colour(number) if several else COLOURS[place]
            lines.append(
                go.Scatter(
                    x=[each.position.epoch for each in snapshots],
                    y=[value(each) for each in snapshots],
                    name=f"{escape(trail.label)}: {name}" if several else name,
                    text=[escape(trail.name(each.position.epoch)) for each in snapshots],
                    mode="lines+markers",
                    line={"dash": ("solid", "dash")[place], "color": colour},
                )
            )
    return lines


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
    """Traces of the Hessian's blocks, those of one part of the network added up, from the input down."""
    parts = layer_groups(curvature)
    traces = [sum(trace.value for trace in layers.values()) for layers in parts.values()]
    errors = [_margin(layers) for layers in parts.values()]
    hover = [
        "<br>".join(f"{escape(name)}: {trace.value:.3g}" for name, trace in list(layers.items())[:_HOVERED])
        + (f"<br>and {len(layers) - _HOVERED} more" if len(layers) > _HOVERED else "")
        for layers in parts.values()
    ]
    bars = go.Bar(
        x=traces,
        y=[escape(name) for name in parts],
        orientation="h",
        error_x={"type": "data", "array": errors},
        marker={"color": COLOURS[0]},
        text=hover,
        textposition="none",
        hovertemplate="%{y}: %{x:.3g}<br>%{text}<extra></extra>",
    )
    layout = _curves("trace of the part's block", "")
    return go.Figure([bars], layout.update(yaxis={"autorange": "reversed", "type": "category"}))


def layers_height(curvature: "CurvatureResult") -> int:
    """Of that figure, in pixels."""
    return 130 + 24 * len(layer_groups(curvature))


def layer_groups(curvature: "CurvatureResult") -> dict[str, dict[str, Estimate]]:
    """Parameter tensors by the part of the network that they are in, in its order: as many steps of their
    dotted names as leave no more than _MOST_PARTS parts, and the module at least.
    """
    traces = curvature.layer_traces
    depths = range(max((name.count(".") for name in traces), default=0), 0, -1)
    found: dict[str, dict[str, Estimate]] = {}
    for depth in depths:
        found = {}
        for name, trace in traces.items():
            part = ".".join(name.split(".")[: min(depth, name.count("."))]) or name
            found.setdefault(part, {})[name] = trace
        if len(found) <= _MOST_PARTS:
            break
    return found or {name: {name: trace} for name, trace in traces.items()}


def _margin(layers: Mapping[str, Estimate]) -> float | None:
    """Half the interval of the sum: the layers' margins added, which is never too short, since their probes
    are the same.
    """
    margins = [trace.high - trace.value for trace in layers.values() if trace.high is not None]
    return sum(margins) if len(margins) == len(layers) else None


def _curves(across: str, up: str, logarithmic: bool = False) -> go.Layout:
    axis = {"title": {"text": up}, "type": "log" if logarithmic else "linear", "exponentformat": "power"}
    return go.Layout(
        template=BLANK,
        margin=_MARGIN,
        xaxis={"title": {"text": across}},
        yaxis=axis,
        legend={"orientation": "h", "y": 1.12},
    )
