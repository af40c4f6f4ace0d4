"""The picture of a connection of two networks."""

import numpy as np
from matplotlib.axes import Axes

from lossmap.components.figures.axis import use_axis
from lossmap.components.figures.connection.sentences import colour, label, statistics, title, verdict
from lossmap.components.figures.connection.summary import (
    SPLITS,
    ConnectionSummary,
    Quantity,
)
from lossmap.components.figures.pictures import figure_with_caption, house_style, png
from lossmap.components.figures.scale import CONFIDENCE


def connection(summary: ConnectionSummary) -> bytes:
    """Loss and error along every path: one row for each split, as a PNG file."""
    splits = list(summary.paths[0].profiles)
    with house_style():
        figure = figure_with_caption(9.6, 0.5 + 2.9 * len(splits), _caption(summary), title(summary))
        axes = figure.subplots(len(splits), len(summary.quantities), squeeze=False, sharex=True)
        for row, split in zip(axes, splits, strict=True):
            for panel, quantity in zip(row, summary.quantities, strict=True):
                _draw(panel, summary, split, quantity)
        for panel in axes[-1]:
            panel.set_xlabel("t")
        axes[0][0].legend(fontsize=8)
        return png(figure)


def _draw(axes: Axes, summary: ConnectionSummary, split: str, quantity: Quantity) -> None:
    factor, unit = (1, f"loss, {summary.unit}") if quantity == "loss" else (100, "error, percent")
    for path in summary.paths:
        profile, shade = path.profiles[split], colour(path.name)
        value = factor * getattr(profile, quantity)
        half = factor * CONFIDENCE * getattr(profile, f"{quantity}_standard_error")
        shown = np.where(np.isfinite(value), value, np.nan)
        axes.fill_between(profile.t, shown - half, shown + half, color=shade, alpha=0.25, linewidth=0)
        axes.plot(profile.t, shown, ".-", color=shade, markersize=3, label=label(summary, path.name))
    axes.plot(summary.chord_t, factor * summary.chord(split, quantity), ":", color="#555555", linewidth=1.2)
    axes.set(xlim=(0, 1), ylabel=f"{SPLITS[split]} {unit}")
    if quantity == "error":
        axes.set_ylim(bottom=0)
    else:
        use_axis(axes, summary.axis(split))


def _caption(summary: ConnectionSummary) -> str:
    samples = " and ".join(f"{summary.samples(split)} {SPLITS[split]}" for split in summary.paths[0].profiles)
    return (
        f"From {summary.runs[0]} (t = 0) to {summary.runs[1]} (t = 1). {verdict(summary)} Mean over {samples}"
        f" samples at {summary.connecting.evaluation.points} points of each path; bands: 1.96 standard errors"
        " on either side. Dotted: the chord between the ends; a barrier is the greatest height above it."
        f" {statistics(summary)}"
    )
