"""What is drawn into one pair of axes: a map, a surface, curves over epochs, a profile along a line."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d.axes3d import Axes3D

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
    cell_edges,
    clipped_loss,
    edges,
    exponents,
    facets,
    levels,
    lowest,
)
from lossmap.components.landscape.grid import Surface

HALO = [withStroke(linewidth=2.6, foreground="black")]
TICKS = [10.0**power for power in range(-2, 3)]


def norm() -> LogNorm:
    """The one scale of colours."""
    return LogNorm(LOW, HIGH, clip=True)


def mappable() -> ScalarMappable:
    """The scale, for a colour bar."""
    return ScalarMappable(norm(), COLOUR_MAP)


def draw_map(axes: Axes, run: RunSummary, frame: Frame) -> None:
    """The plane from above: one cell of one colour for each evaluated point, lines of equal loss, marks."""
    surface = run.plane
    axes.pcolormesh(
        *cell_edges(surface),
        clipped_loss(surface),
        norm=norm(),
        cmap=COLOUR_MAP,
        shading="flat",
        rasterized=True,
    )
    _draw_holes(axes, surface)
    _draw_lines(axes, surface, run.guessing_loss)
    _draw_path(axes, run)
    _draw_marks(axes, surface)
    axes.set(xlim=frame.x, ylim=frame.y, xlabel="first direction", ylabel="second direction")
    width, height = frame.x[1] - frame.x[0], frame.y[1] - frame.y[0]
    if 1 / 3 <= width / height <= 3:
        axes.set_aspect("equal")


def _draw_holes(axes: Axes, surface: Surface) -> None:
    """Hatched cells where the loss is NaN or infinite, dotted ones where it was not evaluated."""
    for mask, hatch, face in (
        (surface.known & ~surface.finite, "////", "#d9d9d9"),
        (~surface.known, "....", "#ffffff"),
    ):
        if mask.any():
            cells = np.ma.masked_array(np.zeros(mask.shape), ~mask)
            axes.pcolor(
                *cell_edges(surface),
                cells,
                cmap=ListedColormap([face]),
                hatch=hatch,
                edgecolor="#666666",
                linewidth=0,
            )


def _draw_lines(axes: Axes, surface: Surface, guessing_loss: float | None) -> None:
    """Lines of equal loss through the evaluated points, and a thick one at the loss of guessing."""
    if min(surface.loss.shape) < FEWEST_FOR_LINES or not surface.finite.any():
        return
    exponent = np.ma.masked_invalid(exponents(surface))
    low, high = 10.0 ** float(exponent.min()), 10.0 ** float(exponent.max())
    if thin := levels(low, high):
        colours = ["white" if level < READABLE_IN_WHITE else "#303030" for level in thin]
        lines = axes.contour(
            surface.x,
            surface.y,
            exponent,
            np.log10(thin),
            colors=colours,
            linewidths=0.7,
            linestyles="solid",
            alpha=0.8,
        )
        axes.clabel(lines, fmt=lambda value: f"{10**value:g}", fontsize=7)
    if guessing_loss is not None and low < guessing_loss < high:
        thick = axes.contour(
            surface.x, surface.y, exponent, [np.log10(guessing_loss)], colors="white", linewidths=2.2
        )
        thick.set_path_effects([withStroke(linewidth=3.6, foreground="black")])


def _draw_path(axes: Axes, run: RunSummary) -> None:
    """The snapshots' projections onto the plane, joined."""
    if run.result.trajectory:
        positions = [snapshot.position for snapshot in run.result.trajectory]
        axes.plot(
            [position.x for position in positions],
            [position.y for position in positions],
            ".-",
            color="#ee6677",
            linewidth=1.2,
            path_effects=HALO,
        )


def _draw_marks(axes: Axes, surface: Surface) -> None:
    """A plus at the trained network, a ring at the lowest point."""
    if surface.x[0] <= 0 <= surface.x[-1] and surface.y[0] <= 0 <= surface.y[-1]:
        axes.plot([0], [0], "+", color="white", markersize=11, markeredgewidth=1.8, path_effects=HALO)
    if place := lowest(surface):
        axes.plot(
            [place.x],
            [place.y],
            "o",
            color="white",
            markerfacecolor="none",
            markersize=9,
            markeredgewidth=1.5,
            path_effects=HALO,
        )


def draw_surface(axes: Axes3D, run: RunSummary, frame: Frame) -> None:
    """The plane in perspective; height is log10 of the clipped loss. A single row is a curve."""
    surface = run.plane
    height = np.log10(clipped_loss(surface))
    x, y = np.meshgrid(surface.x, surface.y)
    if min(height.shape) < FEWEST_FOR_LINES:
        axes.scatter(
            x.ravel(),
            y.ravel(),
            height.ravel(),
            c=height.ravel(),
            cmap=COLOUR_MAP,
            vmin=np.log10(LOW),
            vmax=np.log10(HIGH),
            depthshade=False,
        )
    else:
        _draw_facets(axes, x, y, height, facets(surface))
    axes.set(
        xlim=frame.x,
        ylim=frame.y,
        zlim=(np.log10(LOW), np.log10(HIGH)),
        xlabel="first direction",
        ylabel="second direction",
    )
    axes.set_zticks(np.log10(TICKS), [f"{tick:g}" for tick in TICKS])
    axes.set_zlabel("loss", labelpad=2)
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=5)
    axes.view_init(elev=36, azim=-58)
    axes.set_box_aspect((1, 1, 0.72), zoom=0.95)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color("#f6f6f6")


def _draw_facets(axes: Axes3D, x: Array, y: Array, height: Array, values: Array) -> None:
    """Flat facets; those without a colour are left out."""
    colours = matplotlib.colormaps[COLOUR_MAP]((values - np.log10(LOW)) / np.log10(HIGH / LOW))
    colours[np.isnan(values)] = 0
    width = min(0.25, 10 / max(values.shape))  # the mesh must not darken a fine grid
    axes.plot_surface(
        x,
        y,
        height,
        facecolors=colours,
        rstride=1,
        cstride=1,
        shade=False,
        linewidth=width,
        edgecolor=(0, 0, 0, 0.25),
        antialiased=True,
    )


def draw_epochs(
    axes: Axes, run: RunSummary, quantity: str, colour: str | None = None, name: str = ""
) -> None:
    """Training (dashed) and test (solid) values of a quantity, `loss` or `error` (in percent), over
    epochs.
    """
    factor = 100 if quantity == "error" else 1
    epochs = [entry["epoch"] for entry in run.epochs]
    curves = (("train", "training", "--"), ("test", "test", "-"))
    for (split, adjective, style), default_colour in zip(curves, COLOURS[:2], strict=True):
        axes.plot(
            epochs,
            [factor * entry.get(f"{split}_{quantity}", np.nan) for entry in run.epochs],
            style,
            color=colour or default_colour,
            label=f"{name} {adjective}".strip(),
            marker="." if len(epochs) < 40 else None,
        )


def draw_profile(loss: Axes, error: Axes, line: Surface, colour: str, name: str | None = None) -> None:
    """Loss with its confidence band, and error in percent, along a line. Lengths without a finite loss are
    shaded.
    """
    row = np.where(line.finite[0], line.loss[0], np.nan)
    half = CONFIDENCE * line.loss_standard_error[0]
    loss.fill_between(
        line.x, np.maximum(row - half, LOW / 100), row + half, color=colour, alpha=0.25, linewidth=0
    )
    loss.plot(line.x, row, ".-", color=colour, markersize=3, label=name)
    error.plot(
        line.x, 100 * np.where(line.finite[0], line.error[0], np.nan), ".-", color=colour, markersize=3
    )
    borders = edges(line.x)
    for index in np.flatnonzero(~line.finite[0]):
        for axes in (loss, error):
            axes.axvspan(borders[index], borders[index + 1], facecolor="#dddddd", linewidth=0)


def use_log_scale(axes: Axes, *values: Any) -> None:
    """A logarithmic axis where something positive and finite is on it; a linear one would be empty
    otherwise.
    """
    arrays = [np.asarray(value, dtype=float).ravel() for value in values]
    everything = np.concatenate([np.array([]), *arrays])
    if (np.isfinite(everything) & (everything > 0)).any():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: _minor_label(axes, value))


def _minor_label(axes: Axes, value: float) -> str:
    """Label of a tick that is no power of ten: all on a short axis, 2 and 5 on a longer one, none where
    there are decades enough.
    """
    low, high = axes.get_ylim()
    digit = round(value / 10 ** np.floor(np.log10(value)), 6)
    is_labelled = high < 4 * low or (high < 20 * low and digit in (2, 5))
    return f"{value:g}" if is_labelled else ""
