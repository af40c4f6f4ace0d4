"""Pictures of runs as PNG files: equal runs give equal bytes on one version of matplotlib."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from lossmap.components.config.pictures import Pictures
from lossmap.components.core.errors import LossmapError
from lossmap.components.figures.axis import use_axis
from lossmap.components.figures.curves import CurveAxis
from lossmap.components.figures.frame import Frame, frame
from lossmap.components.figures.pictures import figure_with_caption, house_style, png
from lossmap.components.figures.run import captions
from lossmap.components.figures.run.panels import (
    draw_epochs,
    draw_map,
    draw_profile,
    draw_surface,
    mappable,
)
from lossmap.components.figures.run.summary import RunSummary, profile_axis
from lossmap.components.figures.scale import COLOURS, Scale, label

COLUMNS = 4  # runs side by side before the next row begins


def contour(run: RunSummary) -> bytes:
    """The plane from above."""
    limits = frame([run.plane], run.pictures)
    with house_style():
        figure = figure_with_caption(
            7.2, 5.9, captions.contour_caption(run, limits.scale), captions.title(run)
        )
        axes = figure.add_subplot()
        draw_map(axes, run, limits)
        colour_bar(figure, [axes], limits.scale)
        return png(figure)


def surface(run: RunSummary) -> bytes:
    """The plane in perspective."""
    limits = frame([run.plane], run.pictures)
    with house_style():
        figure = figure_with_caption(
            7.2, 5.2, captions.surface_caption(run, limits.scale), captions.title(run)
        )
        axes = figure.add_subplot(projection="3d")
        draw_surface(axes, run, limits)
        colour_bar(figure, [axes], limits.scale)
        return png(figure)


def learning_curves(run: RunSummary) -> bytes:
    """Loss, error and learning rate over epochs."""
    with house_style():
        figure = figure_with_caption(9.6, 3.4, captions.epochs_caption([run]), captions.title(run))
        loss, error, rate = figure.subplots(1, 3)
        for axes, quantity, text in ((loss, "loss", "loss"), (error, "error", "error, percent")):
            draw_epochs(axes, run, quantity)
            axes.set(xlabel="epoch", ylabel=text)
        loss.legend()
        use_axis(loss, CurveAxis.of([np.array(_curve(run, name)) for name in ("train_loss", "test_loss")]))
        error.set_ylim(bottom=0)
        rate.plot(_curve(run, "epoch"), _curve(run, "learning_rate"), color="#555555")
        rate.set(xlabel="epoch", ylabel="learning rate")
        rate.set_ylim(bottom=0)
        return png(figure)


def _curve(run: RunSummary, name: str) -> list[float]:
    """A metric of every epoch; NaN where it has none."""
    return [entry.get(name, np.nan) for entry in run.epochs]


def line_profile(run: RunSummary) -> bytes:
    """Loss and error along the first direction."""
    if run.line is None:
        raise LossmapError(
            f"run {run.run} has no line, expected one for a profile; set landscape.line in the experiment and"
            " survey again"
        )
    with house_style():
        figure = figure_with_caption(7.2, 5.2, captions.line_caption(run, run.line), captions.title(run))
        heights = (3, 2) if run.line.has_errors else (5,)
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)
        loss, *others = panels[:, 0]
        draw_profile(loss, others[0] if others else None, run.line, COLOURS[0])
        use_axis(loss, profile_axis([run], run.pictures))
        if run.guessing_loss is not None:
            loss.axhline(run.guessing_loss, color="#555555", linestyle="--", linewidth=1)
        for axes in (loss, *others):
            axes.axvline(0, color="#555555", linestyle=":", linewidth=1)
        loss.set(ylabel="loss", xlim=(run.line.x[0], run.line.x[-1]))
        for error in others:
            error.set_ylabel("error, percent")
            error.set_ylim(bottom=0)
        figure.axes[-1].set_xlabel("first direction")
        return png(figure)


def comparison(runs: Sequence[RunSummary], pictures: Pictures | None = None) -> bytes:
    """Surfaces in perspective, and below each its map, for several runs on one scale."""
    if not runs:
        raise LossmapError("no run to compare, expected at least one; name the runs")
    limits = frame([run.plane for run in runs], pictures)
    columns = min(COLUMNS, len(runs))
    rows = -(-len(runs) // columns)
    with house_style():
        figure = figure_with_caption(
            3.6 * columns + 1.2, 6.6 * rows, _comparison_caption(runs, limits.scale), None
        )
        maps = []
        for index, run in enumerate(runs):
            maps += _draw_pair(figure, (2 * rows, columns), index, run, limits)
        colour_bar(figure, maps, limits.scale, shrink=0.5)
        return png(figure)


def _draw_pair(
    figure: Figure, shape: tuple[int, int], index: int, run: RunSummary, limits: Frame
) -> list[Axes]:
    rows, columns = shape
    place = 2 * (index // columns) * columns + index % columns + 1
    above = figure.add_subplot(rows, columns, place, projection="3d")
    below = figure.add_subplot(rows, columns, place + columns)
    draw_surface(above, run, limits)
    draw_map(below, run, limits)
    above.set_title(textwrap.fill(captions.title(run), 32), pad=16)
    above.text2D(
        0.5,
        1.01,
        textwrap.shorten(run.run, 48),
        transform=above.transAxes,
        ha="center",
        fontsize=8,
        color="#555555",
    )
    return [above, below]


def _comparison_caption(runs: Sequence[RunSummary], scale: Scale) -> str:
    """What all runs share is said once, what differs for each run by its name."""
    evaluations = {captions.evaluation(run) for run in runs}
    tallies = [f"{captions.grid(run.plane)}; {captions.tally(run.plane, scale)}" for run in runs]
    guesses = any(run.guessing_loss is not None for run in runs)
    legend = f"{scale.text} {captions.facets(scale)} {captions.map_legend(scale, guesses)}"
    if len(evaluations) == 1:
        first = f"{evaluations.pop()} {legend}"
        rest = [f"{run.run}: {tally}" for run, tally in zip(runs, tallies, strict=True)]
    else:
        first = legend
        rest = [
            f"{run.run}: {captions.evaluation(run)} {tally}" for run, tally in zip(runs, tallies, strict=True)
        ]
    return "\n".join([first, *rest])


def colour_bar(figure: Figure, axes: Sequence[Axes], scale: Scale, shrink: float = 0.72) -> None:
    """A bar of the scale's colours beside some axes."""
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = figure.colorbar(
        mappable(scale), ax=list(axes), extend=extend[scale.beyond], shrink=shrink, aspect=28, pad=0.04
    )
    bar.set_ticks(scale.ticks(), labels=[label(tick) for tick in scale.ticks()])
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.set_label("loss")
    bar.outline.set_visible(False)
