"""What is drawn into one pair of axes: a map, a surface, curves over epochs, a profile along a line."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, ListedColormap, LogNorm, Normalize
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d.axes3d import Axes3D

from lossmap.components.figures.frame import (
    FEWEST_FOR_LINES,
    Frame,
    cell_edges,
    clipped_heights,
    clipped_loss,
    edges,
    facets,
    lonely,
    lowest,
    true_heights,
)
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.figures.scale import (
    COLOUR_MAP,
    COLOURS,
    CONFIDENCE,
    READABLE_IN_WHITE,
    Array,
    Scale,
    label,
    trail_colour,
)
from lossmap.components.landscape.grid import Surface

HALO = [withStroke(linewidth=2.6, foreground="black")]


def norm(scale: Scale) -> Normalize:
    """The scale of colours."""
    if scale.kind == "log":
        return LogNorm(scale.low, scale.high, clip=True)
    if scale.kind == "linear":
        return Normalize(scale.low, scale.high, clip=True)
    return FuncNorm((scale.heights, scale.losses), scale.low, scale.high, clip=True)


def mappable(scale: Scale) -> ScalarMappable:
    """The scale, for a colour bar."""
    return ScalarMappable(norm(scale), COLOUR_MAP)


def draw_map(axes: Axes, run: RunSummary, frame: Frame) -> None:
    """The plane from above: one cell of one colour for each evaluated point, lines of equal loss, marks."""
    surface = run.plane
    axes.pcolormesh(
        *cell_edges(surface),
        clipped_loss(surface, frame.scale),
        norm=norm(frame.scale),
        cmap=COLOUR_MAP,
        shading="flat",
        rasterized=True,
    )
    _draw_holes(axes, surface)
    _draw_lines(axes, surface, run.guessing_loss, frame.scale)
    _draw_path(axes, run)
    _draw_marks(axes, surface)
    for _, x, y in run.networks:
        axes.plot([x], [y], "D", color="white", markersize=6, markeredgecolor="black")
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


def _draw_lines(axes: Axes, surface: Surface, guessing_loss: float | None, scale: Scale) -> None:
    """Lines of equal loss through the evaluated points, and a thick one at the loss of guessing."""
    if min(surface.loss.shape) < FEWEST_FOR_LINES or not surface.finite.any():
        return
    heights = np.ma.masked_invalid(true_heights(surface, scale))
    low, high = float(heights.min()), float(heights.max())
    levels = sorted(scale.height(level) for group in scale.levels() for level in group)
    if thin := [level for level in levels if low < level < high]:
        colours = ["white" if scale.position(level) < READABLE_IN_WHITE else "#303030" for level in thin]
        lines = axes.contour(
            surface.x,
            surface.y,
            heights,
            thin,
            colors=colours,
            linewidths=0.7,
            linestyles="solid",
            alpha=0.8,
        )
        axes.clabel(lines, fmt=lambda height: _line_label(scale, height), fontsize=7)
    if guessing_loss is not None and low < scale.height(guessing_loss) < high:
        thick = axes.contour(
            surface.x, surface.y, heights, [scale.height(guessing_loss)], colors="white", linewidths=2.2
        )
        thick.set_path_effects([withStroke(linewidth=3.6, foreground="black")])


def _line_label(scale: Scale, height: float) -> str:
    """The loss of a line; its height's last digits are rounding."""
    return label(float(f"{float(scale.losses(height)):.6g}"))


def _draw_path(axes: Axes, run: RunSummary) -> None:
    """The snapshots' projections onto the plane, joined; several paths have their names beside them."""
    for number, (trail, snapshots) in enumerate(run.result.paths):
        positions = [snapshot.position for snapshot in snapshots]
        axes.plot(
            [position.x for position in positions],
            [position.y for position in positions],
            ".-",
            color=trail_colour(number),
            linewidth=1.2,
            path_effects=HALO,
            label=trail.label,
        )
    if len(run.result.paths) > 1:
        axes.legend(loc="upper right", fontsize=8, frameon=True, facecolor="#ffffff", framealpha=0.85)


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
    """The plane in perspective, as high as the clipped loss is on the scale. A single row is a curve."""
    surface, scale = run.plane, frame.scale
    height, ends = clipped_heights(surface, scale), scale.ends
    x, y = np.meshgrid(surface.x, surface.y)
    if min(height.shape) < FEWEST_FOR_LINES:
        axes.scatter(
            x.ravel(),
            y.ravel(),
            height.ravel(),
            c=height.ravel(),
            cmap=COLOUR_MAP,
            vmin=ends[0],
            vmax=ends[1],
            depthshade=False,
        )
    else:
        _draw_facets(axes, x, y, height, scale.position(facets(surface, scale)))
        alone = lonely(surface)
        _draw_points(axes, x[alone], y[alone], height[alone], scale)
    axes.set(xlim=frame.x, ylim=frame.y, zlim=ends, xlabel="first direction", ylabel="second direction")
    ticks = scale.ticks()
    axes.set_zticks(scale.heights(ticks), [label(tick) for tick in ticks])
    axes.set_zlabel("loss", labelpad=2)
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=5)
    axes.view_init(elev=36, azim=-58)
    axes.set_box_aspect((1, 1, 0.72), zoom=0.95)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color("#f6f6f6")


def _draw_points(axes: Axes3D, x: Array, y: Array, height: Array, scale: Scale) -> None:
    """Those that no facet joins."""
    if len(x):
        colours = matplotlib.colormaps[COLOUR_MAP](scale.position(height))
        axes.scatter(x, y, height, c=colours, s=12, depthshade=False)


def _draw_facets(axes: Axes3D, x: Array, y: Array, height: Array, positions: Array) -> None:
    """Flat facets; those without a place on the scale are left out."""
    colours = matplotlib.colormaps[COLOUR_MAP](positions)
    colours[np.isnan(positions)] = 0
    width = min(0.25, 10 / max(positions.shape))  # the mesh must not darken a fine grid
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


def draw_profile(loss: Axes, error: Axes | None, line: Surface, colour: str, name: str | None = None) -> None:
    """Loss with its confidence band, and error in percent where there is one, along a line. Lengths without a
    finite loss are shaded. On a logarithmic axis what of the band is not positive goes on below it.
    """
    row = np.where(line.finite[0], line.loss[0], np.nan)
    half = CONFIDENCE * line.loss_standard_error[0]
    loss.fill_between(line.x, row - half, row + half, color=colour, alpha=0.25, linewidth=0)
    loss.plot(line.x, row, ".-", color=colour, markersize=3, label=name)
    if error:
        share = np.where(line.finite[0], line.error[0], np.nan)
        error.plot(line.x, 100 * share, ".-", color=colour, markersize=3)
    borders = edges(line.x)
    for index in np.flatnonzero(~line.finite[0]):
        for axes in filter(None, (loss, error)):
            axes.axvspan(borders[index], borders[index + 1], facecolor="#dddddd", linewidth=0)
